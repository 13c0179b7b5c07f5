"""AdamW, gradient clipping and the learning-rate schedule.

A model learns by moving every parameter against its gradient, in steps. Each step has the gradient of another batch, a
small sample of the texts. Gradient descent subtracts lr times the gradient, where lr, the learning rate, is a small
number. But one lr does not suit large and small gradients alike. The steps of AdamW do not depend on the scale of the
gradient. Clipping limits the effect of a single batch with a very large gradient. The schedule begins and ends with
small learning rates.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minitransformer.layers.embedding import Embedding
from minitransformer.layers.modern.balancing_bias import ChoiceBias
from minitransformer.module import Array, Arrays, Module, Parameter, faster
from minitransformer.system.validation import number
from minitransformer.transformer import Transformer

PART = 262144  # entries


def adamw(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    t: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Arrays:
    """Return θ′, m′ and v′ after step t = 1, 2, … of AdamW. The decay is multiplied by lr, as in PyTorch.

    AdamW is Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019). Weight decay (1)
    draws the parameter θ towards 0 in each step. The factors of a linear map then stay small, and with them the change
    of an output for a change of its input. The gradient of θ is g. The moving averages m and v are those after the
    previous step, and begin at 0. The four arrays have the same shape, and all operations are entry by entry. `betas`
    are β₁ and β₂, `weight_decay` is λ, and `eps` is ε, which keeps the divisor in (6) from zero.

        decayed = θ − lr · λ · θ                        (1)
        m′ = β₁ m + (1 − β₁) g                          (2)
        v′ = β₂ v + (1 − β₂) g²                         (3)
        m̂ = m′ / (1 − β₁ᵗ)                              (4)
        v̂ = v′ / (1 − β₂ᵗ)                              (5)
        θ′ = decayed − lr · m̂ / (√v̂ + ε)                (6)

    m follows the gradient and v its square. Each step multiplies the weight of every earlier gradient by β, and the
    newest has the weight 1 − β, as in an even average over 1/(1 − β) steps. (6) moves θ against m̂, which varies less
    from batch to batch than g, and divides by √v̂, the typical size of g.

    Why (4) and (5), the bias correction. With g_k the gradient of step k, (2) inserted into itself down to m = 0 is

        m′ = (1 − β₁) Σ_k β₁^(t−k) g_k,   k = 1 … t

    By the geometric series, the weights in this sum add up to (1 − β₁) Σ_k β₁^(t−k) = 1 − β₁ᵗ, which is less than 1 and
    smallest at the first step, so that m′ is too small at first. Divided by 1 − β₁ᵗ they are the weights of an average,
    m̂ = Σ_k a_k g_k with a_k = (1 − β₁) β₁^(t−k) / (1 − β₁ᵗ). If the gradients of all steps have the same expectation
    over the batches, m̂ has it too. Likewise v̂ = Σ_k b_k g_k², where b_k is a_k with β₂ in place of β₁. At t = 1, m̂
    and v̂ are g and g².

    How far an entry moves. The scale of the gradient cancels in m̂ / √v̂, unless it is as small as ε. An entry moves by
    about lr in each step while g keeps its sign and size, and by less if only the sign changes from step to step. It
    moves by more if a large g follows many small ones, because m̂ forgets faster than v̂. But the distance is bounded:
    by the inequality of Cauchy and Schwarz

        m̂² = (Σ_k (a_k/√b_k) · √b_k g_k)² ≤ Σ_k a_k²/b_k · Σ_k b_k g_k² = Σ_k a_k²/b_k · v̂

    The terms a_k²/b_k of the first sum are powers of the number β₁²/β₂, which is called q here, times a factor without
    k. For q below 1, the sum of this geometric series tends to the limit (1 − β₁)² / ((1 − β₂)(1 − q)). At step t it is
    the limit times (1 − β₂ᵗ)(1 − qᵗ)/(1 − β₁ᵗ)², which is at most 1: multiplied out, the numerator is 1 − β₂ᵗ − qᵗ +
    β₁²ᵗ, and the arithmetic mean of β₂ᵗ and qᵗ is at least their geometric mean β₁ᵗ. With the defaults of AdamW, 0.9
    for β₁ and 0.999 for β₂, the limit is 52.86, whose root is 7.27. So m̂ / √v̂, and with it a step in units of lr,
    never exceeds 7.28 (plus the decay).

    The decay (1) is decoupled from the gradient. If λθ were added to g instead, (6) would also divide it by √v̂, and
    entries with large gradients would decay least.
    """
    beta1, beta2 = betas
    decayed = theta - lr * weight_decay * theta  # (1)
    m_new = beta1 * m + (1 - beta1) * g  # (2)
    v_new = beta2 * v + (1 - beta2) * g**2  # (3)
    m_hat = m_new / (1 - beta1**t)  # (4)
    v_hat = v_new / (1 - beta2**t)  # (5)
    theta_new = decayed - lr * m_hat / (np.sqrt(v_hat) + eps)  # (6)
    return theta_new, m_new, v_new


def adamw_in_place(moves, gradient_scale=1.0):
    """Take a step of AdamW for every tuple (theta, g, m, v, settings) in `moves`, changing θ, m and v in place.

    The arrays have at least one axis. `settings` are the options of adamw. Each g is multiplied by gradient_scale.
    """
    for theta, g, m, v, settings in moves:
        theta[...], m[...], v[...] = adamw(theta, gradient_scale * g, m, v, **settings)


def some_rows_at_a_time(shape):
    """Yield indices that divide an array of this shape along its first axis into parts of about PART (262,144) entries.

    The update of an entry does not depend on other entries. Updating one part at a time keeps the temporary arrays
    small.
    """
    if not shape:
        yield np.newaxis
        return
    rows = max(1, PART // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


class Optimizer:
    """The parameter groups and the state of an optimizer, which AdamW and Muon have in common.

    A subclass defines `averages`, the names of the arrays in the state of a parameter, and the methods step and
    check_group.
    """

    averages: tuple[str, ...] = ()
    is_clipped = True  # False if the gradients do not count in the norm that clipping limits

    def __init__(self, parameters: Iterable[Parameter] | Iterable[dict[str, Any]], defaults: dict[str, Any]):
        name = type(self).__name__
        if isinstance(parameters, (Module, Parameter)):
            raise TypeError(
                f"{name}: parameters must be a list of Parameters, such as model.parameters(), not {parameters!r}"
            )
        entries: list[Any] = list(parameters)
        groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
        if not all(isinstance(group, dict) and "params" in group for group in groups):
            raise ValueError(f"{name}: each parameter group must be a dictionary with 'params'")
        self.defaults = defaults
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        for group in self.param_groups:
            if unknown := set(group) - set(defaults) - {"params"}:
                known = ", ".join(defaults)
                raise ValueError(f"{name}: unknown setting {min(unknown)!r} in a group; choose from {known}")
            if not all(isinstance(parameter, Parameter) for parameter in group["params"]):
                raise TypeError(f"{name}: params must be a list of Parameters, such as model.parameters()")
            self.check_group(group)
        every = self.parameters()
        if not every:
            raise ValueError(f"{name}: parameters must contain at least one Parameter, but it is empty")
        if len({id(parameter) for parameter in every}) < len(every):
            raise ValueError(f"{name}: parameters must contain each Parameter once, but one occurs twice")
        # [t, *averages] for each parameter, in order, or None if it has not had a gradient yet.
        self.state: list[Any] = [None] * len(every)

    @property
    def parts(self) -> tuple["Optimizer", ...]:
        """Return the optimizers that take each step together (see Together in muon.py): this one alone."""
        return (self,)

    def parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def check_group(self, group: dict[str, Any]) -> None:
        """Convert the settings of a parameter group to plain numbers. Raises the exceptions of the subclass."""
        raise NotImplementedError

    def step(self, gradient_scale: float = 1.0) -> None:
        """Update in place every parameter that has a gradient. The gradients are multiplied by `gradient_scale`."""
        raise NotImplementedError

    def moving(self) -> Iterator[tuple[Array, Array, list[Any], dict[str, Any]]]:
        """Yield the data and the gradient, if any, of each parameter, its state and the settings of its group."""
        index = 0
        for group in self.param_groups:
            settings = {name: group[name] for name in self.defaults}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if self.state[index] is None:
                        self.state[index] = [0, *(np.zeros_like(parameter.data) for _ in self.averages)]
                    self.state[index][0] += 1
                    yield parameter.data, parameter.grad, self.state[index], settings
                index += 1

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters():
            parameter.grad = None


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    `parameters` is a list of Parameters, or of groups as in PyTorch. A group is a dictionary with the entry "params".
    It may also have the entries "lr", "betas", "eps" and "weight_decay", which replace the arguments of the same name.
    The groups are stored in `param_groups` and may be changed between steps.

    Raises TypeError if a parameter is not a Parameter or a setting is not a number. Raises ValueError if there are no
    parameters, if one is given twice, or if a setting is out of range.
    """

    averages = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check_group(self, group: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            group[name] = number(f"AdamW: {name}", group[name], minimum=0)
        group["betas"] = averaging_rates("AdamW: betas", group["betas"])

    def step(self, gradient_scale: float = 1.0) -> None:
        """Update in place every parameter that has a gradient.

        The gradients are multiplied by `gradient_scale` first. Pass the result of clipping_scale to clip them.
        """
        moves = []
        for theta, g, (t, m, v), settings in self.moving():
            for part in some_rows_at_a_time(theta.shape):
                moves.append((*(array[part] for array in (theta, g, m, v)), settings | {"t": t}))
        faster(adamw_in_place)(moves, gradient_scale)


def averaging_rates(name: str, betas) -> tuple[float, float]:
    """Return β₁ and β₂ as a tuple. A list is accepted, because JSON has no tuples.

    Raises TypeError if `betas` is not a pair of numbers, and ValueError unless both are at least 0 and less than 1. The
    messages contain `name`.
    """
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"{name} must be two numbers, not {betas!r}")
    beta1, beta2 = (number(name, beta, minimum=0, below=1) for beta in betas)
    return beta1, beta2


def decay_groups(model: Transformer, weight_decay: float, *, embeddings: bool = False) -> list[dict[str, Any]]:
    """Return two parameter groups, with and without weight decay.

    Matrices decay. Biases, gains (the factors γ of a norm, see layer_norm.py) and, by default, embeddings do not.

    Decay limits how much an output can grow with its input, because it keeps the factors of the input small. A bias
    multiplies nothing. A gain multiplies normalized values, and decay would draw it to 0, not to its initial value 1.
    The embedding of a rare token seldom receives a gradient, but would decay at every step. A tied table, which is both
    embedding and unembedding, has no decay either, although it receives a gradient as the unembedding at every step.
    With `embeddings=True`, all arrays with two axes decay, including positions, as in nanoGPT. The biases of choices
    are in neither group, because no gradient of the loss reaches them (see modern/balancing_bias.py).
    """
    tables = {id(model.embedding.weight)}
    positions = model.positional_embedding
    if isinstance(positions, Embedding):
        tables.add(id(positions.weight))
    decayed, kept = [], []
    for parameter in model.parameters():
        if isinstance(parameter, ChoiceBias):
            continue
        decays = parameter.data.ndim >= 2 and (embeddings or id(parameter) not in tables)
        (decayed if decays else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by the same factor (Pascanu et al., 2013). Return the norm before scaling.

        g′ = g · min(1, max_norm / ‖g‖),   ‖g‖² over all parameters        (7)

    With all gradients as one vector, ‖g‖ is its length. Clipping shortens it to max_norm and keeps its direction.
    Otherwise a single large gradient would dominate the averages m and v for many steps.

    Each `.grad` is replaced with a new array. If the norm is not finite, it is returned and the gradients are not
    changed, so that the caller can decide whether to skip the step. Raises ValueError unless max_norm is positive.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    scale = clipping_scale(norm, max_norm)
    if scale < 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * scale  # (7)
    return norm


def grad_norm(parameters: Iterable[Parameter]) -> float:
    """Return the Euclidean norm of all gradients together."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return math.sqrt(sum(map(squared_norm, gradients)))


def clipping_scale(norm: float, max_norm: float) -> float:
    """Return the factor that scales a gradient of this norm to max_norm, or 1 if the norm is smaller or not finite.

    Raises ValueError unless max_norm is positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, not {max_norm}")
    return float(max_norm) / norm if max_norm < norm < math.inf else 1.0  # (7)


def squared_norm(x) -> float:
    """Return the sum of the squares of x. If it overflows, compute it again in float64."""
    total = float(np.vdot(x, x))
    return total if math.isfinite(total) else float(np.vdot(x.astype(np.float64), x.astype(np.float64)))


def cosine_schedule(step: int, *, lr: float, min_lr: float, warmup: int, steps: int) -> float:
    """Return the learning rate of step t = 0, 1, …, `steps` − 1 (here counted from 0), and min_lr for later steps.

    The rate first rises linearly for w steps (`warmup`), in which m and v average few gradients and are poor estimates.
    Then it follows half a cosine from lr at step w down to min_lr at step S (`steps`; Loshchilov and Hutter, 2017). At
    the end it is small, so that the parameters do not depend much on the last few batches. `warmup` must not exceed
    `steps`.

        lr_t = lr · (t + 1) / (w + 1)                             for t < w           (8)
        lr_t = min_lr + (lr − min_lr) · (1 + cos(π (t − w)/(S − w))) / 2              (9)
    """
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)  # (8)
    if step >= steps:
        return min_lr
    progress = (step - warmup) / (steps - warmup)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * progress))  # (9)
