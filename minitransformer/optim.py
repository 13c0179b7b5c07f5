"""AdamW, gradient clipping and the learning-rate schedule.

**AdamW** (Kingma and Ba, 2015; Loshchilov and Hutter, 2019). For each parameter θ with gradient g, at step t = 1, 2, …

    θ ← θ − lr · λ · θ                              (1)
    m ← β₁ m + (1 − β₁) g                           (2)
    v ← β₂ v + (1 − β₂) g²                          (3)
    θ ← θ − lr · m̂ / (√v̂ + ε),   m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)      (4)

m follows the gradient and v its square, both averaged over about 1/(1 − β) steps; each entry moves about lr per
step, whatever the scale of its gradient. Both start at 0 and are too small at first, which m̂ and v̂ correct: at t
= 1 they are g and g². The decay (1) is decoupled: were λθ added to g instead, (4) would divide it by √v̂ as well,
and entries with large gradients would decay least. (4) is worked out as

    θ ← θ − lr √c₂ / c₁ · m / (√v + ε √c₂),   c₁ = 1 − β₁ᵗ,  c₂ = 1 − β₂ᵗ      (5)

which is the same with fewer operations for each entry (Kingma and Ba, end of section 2).

**Clipping** (Pascanu et al., 2013) scales all gradients together, so that their direction stays:

    g ← g · min(1, max_norm / ‖g‖),   ‖g‖² over all parameters        (6)

**Schedule** (Loshchilov and Hutter, 2017): linear warm-up for w steps, while m and v are poor estimates, then half
a cosine from lr down to min_lr at step S:

    lr_t = lr · (t + 1) / (w + 1)                             for t < w           (7)
    lr_t = min_lr + (lr − min_lr) · (1 + cos(π (t − w)/(S − w))) / 2              (8)
"""

import math
import numbers

import numpy as np

from minitransformer.cores import ENOUGH_FOR_THREADS, side_by_side
from minitransformer.module import Module, Parameter

BLOCK = 262144  # elements


class AdamW:
    """Adam with decoupled weight decay.

    `parameters` is a list of Parameters, or of groups as in PyTorch: dictionaries with "params" and, where they
    differ from the defaults, "lr", "betas", "eps", "weight_decay". The groups, in `param_groups`, may be changed
    between steps. Raises ValueError for no parameters, one given twice, or a setting out of range.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        if isinstance(parameters, (Module, Parameter)):
            raise TypeError("AdamW: give a list of Parameters, such as model.parameters()")
        entries = list(parameters)
        groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
        if not all(isinstance(group, dict) and "params" in group for group in groups):
            raise ValueError("AdamW: each parameter group must be a dictionary with 'params'")
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        for group in self.param_groups:
            check_group(group, defaults)
        every = [parameter for group in self.param_groups for parameter in group["params"]]
        if not every:
            raise ValueError("AdamW: there are no parameters to optimise")
        if len({id(parameter) for parameter in every}) < len(every):
            raise ValueError("AdamW: a parameter is given twice; a tied one belongs in one group, once")
        self.state = [None] * len(every)  # for each parameter, in order: [t, m, v] once it has had a gradient

    def step(self, gradient_scale: float = 1.0):
        """Move every parameter that has a gradient, in place, as if all gradients were gradient_scale times as large.

        With clipping_scale, gradients are clipped on the way. To multiply them beforehand, as clip_grad_norm does,
        takes a third of the time of this step.
        """
        index, parts = 0, []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if self.state[index] is None:
                        self.state[index] = [0, np.zeros_like(parameter.data), np.zeros_like(parameter.data)]
                    parts += self.parts(parameter, self.state[index], group)
                index += 1

        def update(part):
            update_part(*part, gradient_scale)

        if sum(part[0].size for part in parts) < ENOUGH_FOR_THREADS:
            for part in parts:
                update(part)
        else:
            side_by_side(update, parts)

    @staticmethod
    def parts(parameter, state, group):
        """Yield what update_part needs for each block of a parameter; t in `state` is one more from now on."""
        state[0] += 1
        t, m, v = state
        for part in blocks_of_rows(parameter.data.shape):
            yield parameter.data[part], parameter.grad[part], m[part], v[part], t, group

    def zero_grad(self):
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def update_part(theta, g, m, v, t, group, gradient_scale=1.0):
    """Step t for some of a parameter's entries: changes θ, m and v in place. `g` counts gradient_scale times."""
    lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
    root_c2 = math.sqrt(1 - beta2**t)
    theta *= 1 - lr * group["weight_decay"]  # (1)
    new = g * ((1 - beta1) * gradient_scale)
    m *= beta1
    m += new  # (2)
    new *= new
    new *= (1 - beta2) / (1 - beta1) ** 2
    v *= beta2
    v += new  # (3)
    move = np.sqrt(v, out=new)
    move += eps * root_c2
    np.divide(m, move, out=move)
    move *= lr * root_c2 / (1 - beta1**t)
    theta -= move  # (4) (5)


def blocks_of_rows(shape):
    """Yield indexes that cut an array of this shape into blocks along its first axis, of BLOCK elements if rows allow.

    What one entry becomes depends on no other, so the step can be taken block by block, each in the processor's cache
    from its first line to its last: for a large matrix that takes half the time, and 0.6 of that on two cores, which
    share the blocks of all parameters, unless these are too few to wake a thread for.
    """
    if not shape:
        yield np.newaxis
        return
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


def check_group(group, defaults):
    """Raise ValueError for a parameter group with an unknown key or a setting out of range."""
    unknown = set(group) - set(defaults) - {"params"}
    if unknown:
        raise ValueError(
            f"AdamW: unknown setting {sorted(unknown)[0]!r} in a parameter group; known are {', '.join(defaults)}"
        )
    if not all(isinstance(parameter, Parameter) for parameter in group["params"]):
        raise TypeError("AdamW: params must be Parameters, such as model.parameters()")
    for name in ("lr", "eps", "weight_decay"):
        if not isinstance(group[name], numbers.Real):
            raise TypeError(f"AdamW: {name} must be a number, not {group[name]!r}")
        if not group[name] >= 0:
            raise ValueError(f"AdamW: {name} must not be negative, and is {group[name]}")
        group[name] = float(group[name])
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ValueError(f"AdamW: betas must be two numbers, not {betas!r}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"AdamW: betas must be at least 0 and less than 1, and are {betas}")
    group["betas"] = tuple(float(beta) for beta in betas)


def decay_groups(model: Module, weight_decay: float) -> list[dict]:
    """Return two parameter groups: matrices with weight decay; gains, biases and embeddings without.

    Decay limits how far an output can grow with its input. A gain or bias has no such product to limit, and a rare
    token's row of the embedding gets a gradient seldom, but would decay at every step.
    """
    tables = {id(model.embedding.weight)}
    if hasattr(model.positional_embedding, "weight"):
        tables.add(id(model.positional_embedding.weight))
    decayed, kept = [], []
    for parameter in model.parameters():
        is_matrix = parameter.data.ndim >= 2 and id(parameter) not in tables
        (decayed if is_matrix else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def clip_grad_norm(parameters, max_norm: float) -> float:
    """Scale all gradients so that their common Euclidean norm is at most max_norm. Returns the norm before.

    Replaces each `.grad`, never writes into it. A norm that is not finite is returned and nothing is changed: the
    caller decides. Raises ValueError unless max_norm is positive.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    scale = clipping_scale(norm, max_norm)
    if scale < 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * scale  # (6)
    return norm


def grad_norm(parameters) -> float:
    """Return the common Euclidean norm of all gradients."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return math.sqrt(sum(map(squared_norm, gradients)))


def clipping_scale(norm: float, max_norm: float) -> float:
    """Return what brings a gradient of this norm down to max_norm; 1 for a smaller one, or one that is not finite.

    Raises ValueError unless max_norm is positive.
    """
    if not max_norm > 0:
        raise ValueError(f"the norm to clip at must be positive, not {max_norm}")
    return float(max_norm) / norm if max_norm < norm < math.inf else 1.0  # (6)


def squared_norm(x) -> float:
    """Return the sum of the squares of x; in float64 where float32 cannot hold it."""
    total = float(np.vdot(x, x))
    return total if math.isfinite(total) else float(np.vdot(x.astype(np.float64), x.astype(np.float64)))


def cosine_schedule(step: int, *, lr: float, min_lr: float, warmup: int, steps: int) -> float:
    """Return the learning rate of step 0, 1, … `steps` − 1; min_lr from there on."""
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)  # (7)
    if step >= steps:
        return min_lr
    progress = (step - warmup) / (steps - warmup)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * progress))  # (8)
