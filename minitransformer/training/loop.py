"""The training loop of the package: draw batches, set the learning rate, take a step, report it.

A Run (run.py) adds a folder, metrics, checkpoints and resumption to this loop. The experiments call it directly.
"""

from collections.abc import Callable, Iterable

from minitransformer.training.step import TrainingDiverged, descend, losses_of_batches


def fit(
    model,
    batches: Iterable[list],
    optimizer,
    steps: int,
    on_step: Callable[[int, float, float], object] | None = None,
    *,
    first: int = 0,
    lr: Callable[[int], float] | None = None,
    clip: float | None = None,
    rng=None,
    losses: Callable = losses_of_batches,
) -> None:
    """Take the training steps `first` to `steps` − 1, or fewer if `batches` ends earlier.

    batches   an iterable with the list of batches of each step, usually one pair (inputs, targets). A batch is drawn
              when its step begins, so a generator may share a random generator with the training
    on_step   called as on_step(number of steps taken, loss, norm of the gradient) after each step
    lr        function that returns the learning rate of a step (default: that of the optimizer). It is the rate of the
              first group of parameters. The others keep their ratios to it
    clip      largest norm of the gradient, or None for no limit
    rng       a numpy Generator for dropout, or None for no dropout
    losses    function losses(model, batches, rng) that yields the weighted losses of a step, as `descend` needs them

    Raises TrainingDiverged, with the number of the step, before the weights would become invalid.
    """
    first_lr = optimizer.param_groups[0]["lr"]
    ratios = [group["lr"] / first_lr for group in optimizer.param_groups] if lr is not None else []
    for step, drawn in zip(range(first, steps), batches, strict=False):
        if lr is not None:
            rate = lr(step)
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = rate * ratio
        try:
            loss, norm = descend(model, optimizer, losses(model, drawn, rng), clip=clip)
        except TrainingDiverged as error:
            raise error.with_message(f"step {step + 1}: {error}") from None
        if on_step is not None:
            on_step(step + 1, loss, norm)
