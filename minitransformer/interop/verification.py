"""Verify the gradient of every parameter of a trained model at its own weights, part by part.

The tests check each component on small random inputs. This module checks a trained model with its actual sizes and
weights. It requires one forward pass for each part of the model, regardless of the number of parameters.

Let L(θ) be the loss on a text, g_p the gradient from backward for each parameter tensor p of a part, and v a
direction in the space of these parameters. If the gradient is right, the following two numbers are equal:

    claimed  = Σ ⟨g_p, v_p⟩                         (1)
    measured = Im L(θ + ihv) / h                    (2)

(2) is the complex step with h = 1e-30 (gradcheck/complex_step.py). It is exact up to rounding and uses no backward
pass. The direction is

    v_p = n_p / max(‖g_p‖, f ‖g‖),   n_p from N(0, 1)         (3)

where ‖g‖ is the norm over the part. Each tensor then contributes about 1 to (1), even if its gradient is small compared
with the others. If the gradient of one tensor has an error of relative size e, claimed and measured differ by about e.
The floor f = 1e-4 is for gradients that are zero up to rounding, such as that of a key bias without rotary positions.

Only the perturbed part is complex, and the rest is float64. A model of 135 million parameters takes 3.7 GB and half a
minute on one core. The method has two limits. An error whose size relative to its tensor is below the tolerance is not
detected. The result is valid only for the given text and weights, because another text reads other embedding rows.
"""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck import borrowed, to_float64
from gradcheck.complex_step import perturbed, slope
from minitransformer.losses import cross_entropy
from minitransformer.module import apply

FLOOR = 1e-4  # f
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Part:
    """The result for one part of the model. `claimed` is (1), `measured` is (2), and `norm` is ‖g‖."""

    name: str
    parameters: int
    norm: float
    claimed: float
    measured: float

    @property
    def miss(self) -> float:
        """Return |claimed − measured|, which is about the relative error of the part's gradient."""
        return abs(self.claimed - self.measured)

    @property
    def is_right(self) -> bool:
        """Return True if the difference `miss` is within the tolerance. NaN gives False."""
        return self.miss <= TOLERANCE

    def __str__(self):
        numbers = f"{self.norm:.3e}", f"{self.claimed:.13f}", f"{self.measured:.13f}", f"{self.miss:.1e}"
        verdict = "" if self.is_right else "WRONG"
        return COLUMNS.format(self.name, f"{self.parameters:,}", *numbers, verdict).rstrip()


COLUMNS = "{:<22}  {:>13}  {:>10}  {:>16}  {:>16}  {:>7}  {}"  # fixed widths, because lines are printed one at a time
HEADER = COLUMNS.format("part", "parameters", "‖gradient‖", "claimed", "measured", "apart", "").rstrip()


@dataclass(frozen=True)
class Verification:
    """The result for a model: the loss in nats, the number of predicted tokens, all parts, and the wrong tensors."""

    loss: float
    tokens: int
    parts: tuple[Part, ...]
    wrong: tuple[Part, ...]

    @property
    def is_right(self) -> bool:
        return all(part.is_right for part in self.parts)

    def summary(self) -> str:
        numbers = sum(part.parameters for part in self.parts)
        worst = max(part.miss for part in self.parts)
        if self.is_right:
            return (
                f"the gradient of all {numbers:,} parameters is right: loss {self.loss:.6f} on {self.tokens} tokens, "
                f"{len(self.parts)} parts, none further apart than {worst:.1e} (allowed: {TOLERANCE:.0e})"
            )
        count = sum(not part.is_right for part in self.parts)
        outcome = f"the gradient is wrong in {count} of {len(self.parts)} parts; the tensors that are wrong alone:"
        return "\n".join([outcome, HEADER, *map(str, self.wrong)])

    def __str__(self):
        return "\n".join([HEADER, *map(str, self.parts), "", self.summary()])


def verify_gradient(model, ids, seed: int = 0, on_part=lambda part: None) -> Verification:
    """Verify the gradient of the mean cross-entropy of ids (T,), each predicted from the ids before it.

    `seed` determines the directions. `on_part` is called with each Part as soon as it is measured. If a part is wrong,
    each of its tensors is tested separately. The model's parameters and gradients are restored. Raises ValueError if
    there are fewer than two ids, and the exceptions of model.loss.
    """
    if len(ids) < 2:
        raise ValueError(f"ids must have at least 2 tokens, not {len(ids)}")
    inputs, targets = ids[None, :-1], ids[None, 1:]
    rng = np.random.default_rng(seed)
    with borrowed(model):
        to_float64(model)
        for parameter in model.parameters():
            parameter.grad = None
        loss, backward = model.loss(inputs, targets)
        backward()
        parts, wrong = [], []
        for name, tensors in parts_of(model).items():
            parts.append(examine(name, tensors, tensors, model, inputs, targets, rng))
            on_part(parts[-1])
            if not parts[-1].is_right:
                each = [examine(n, {n: p}, tensors, model, inputs, targets, rng) for n, p in tensors.items()]
                wrong += [tensor for tensor in each if not tensor.is_right]
        return Verification(float(loss), len(ids) - 1, tuple(parts), tuple(wrong))


def parts_of(model) -> dict:
    """Group the Parameters of a model by part. Each block, and each module outside of the blocks, is a part."""
    parts = {}
    for name, parameter in model.named_parameters():
        words = name.split(".")
        part = ".".join(words[: 2 if words[0] == "blocks" else 1])
        parts.setdefault(part, {})[name] = parameter
    return parts


def examine(name, moved: dict, part: dict, model, inputs, targets, rng) -> Part:
    """Compute (1) and (2) for the tensors `moved`, which are all tensors of `part` or a single one of them.

    Both are dictionaries of Parameters. All tensors of the part become complex, because a complex bias cannot be added
    in place to a real product.
    """
    gradients = {n: np.zeros(()) if p.grad is None else p.grad for n, p in part.items()}
    norms = {n: float(np.linalg.norm(gradient)) for n, gradient in gradients.items()}
    floor = FLOOR * math.hypot(*norms.values())
    claimed = 0.0
    real = {n: p.data for n, p in part.items()}
    try:
        for n, parameter in part.items():
            v = np.zeros(parameter.data.shape)
            if n in moved:
                v = rng.standard_normal(parameter.data.shape) / (max(norms[n], floor) or 1.0)  # (3)
                claimed += float((gradients[n] * v).sum())  # (1)
            parameter.data = perturbed(parameter.data.astype(np.float64), v)
        loss = apply(cross_entropy, model.predict(inputs), targets)[0]
        measured = float(slope(loss))  # (2)
    finally:
        for n, parameter in part.items():
            parameter.data = real[n]
    size, norm = sum(real[n].size for n in moved), math.hypot(*(norms[n] for n in moved))
    return Part(name, size, norm, claimed, measured)
