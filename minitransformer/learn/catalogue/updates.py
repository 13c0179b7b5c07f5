"""What goes wrong in AdamW's update: the correction of the bias, the place of ε, the decay, the moments."""

import numpy as np

from minitransformer.optim import adamw


def both(m_hat, v_hat):
    """Return a mistake that is made in two statements alike."""
    return {"m_hat": m_hat, "v_hat": v_hat}


ADAMW = {
    "decayed": {
        "the decay is missing": lambda theta: theta,
        "the decay is not multiplied by lr": lambda theta, weight_decay: theta * (1 - weight_decay),
        "the decay is multiplied by lr twice": lambda theta, lr, weight_decay: theta * (1 - lr * lr * weight_decay),
        "the decay is of the gradient, not of θ": lambda theta, g, lr, weight_decay: theta - lr * weight_decay * g,
        "the decay is of m, not of θ": lambda theta, m_new, lr, weight_decay: theta - lr * weight_decay * m_new,
        "the decay is lr, not lr · λ": lambda theta, lr: theta * (1 - lr),
        "the decay is twice what it should be": lambda theta, lr, weight_decay: theta * (1 - 2 * lr * weight_decay),
        "the decay is half of what it should be": lambda theta, lr, weight_decay: theta * (1 - lr * weight_decay / 2),
        "the decay has the wrong sign: it makes θ larger": lambda theta, lr, weight_decay: (
            theta * (1 + lr * weight_decay)
        ),
        "the decay is the same for every entry: θ is not in it": lambda theta, lr, weight_decay: (
            theta - lr * weight_decay
        ),
        "θ is multiplied by lr · λ, not by what is left": lambda theta, lr, weight_decay: theta * lr * weight_decay,
        "θ itself is left out: it is the decay alone": lambda theta, lr, weight_decay: -theta * lr * weight_decay,
        "the decay is of |θ| / θ: its sign alone": lambda theta, lr, weight_decay: (
            theta - lr * weight_decay * np.sign(theta)
        ),
        "the decay is of θ²": lambda theta, lr, weight_decay: theta - lr * weight_decay * theta**2,
        "the decay is exp(−lr λ), not 1 − lr λ": lambda theta, lr, weight_decay: theta * np.exp(-lr * weight_decay),
        "θ is divided by 1 + lr λ, not multiplied by 1 − lr λ": lambda theta, lr, weight_decay: (
            theta / (1 + lr * weight_decay)
        ),
    },
    "beta1, beta2": {
        "β₁ and β₂ are exchanged, everywhere": lambda betas: betas[::-1],
        "β₁ stands in place of β₂, everywhere": lambda betas: (betas[0], betas[0]),
        "β₂ stands in place of β₁, everywhere": lambda betas: (betas[1], betas[1]),
    },
    "m_new": {
        "m is not kept: it is (1 − β₁) g alone": lambda g, beta1: (1 - beta1) * g,
        "m is g alone": lambda g: g,
        "g is left out": lambda m, beta1: beta1 * m,
        "g is not multiplied by 1 − β₁": lambda m, g, beta1: beta1 * m + g,
        "m is not multiplied by β₁": lambda m, g, beta1: m + (1 - beta1) * g,
        "β₁ and 1 − β₁ are exchanged": lambda m, g, beta1: (1 - beta1) * m + beta1 * g,
        "β₂ stands in place of β₁": lambda m, g, beta2: beta2 * m + (1 - beta2) * g,
        "g is subtracted": lambda m, g, beta1: beta1 * m - (1 - beta1) * g,
        "g is squared": lambda m, g, beta1: beta1 * m + (1 - beta1) * g**2,
        "v stands in place of m": lambda v, g, beta1: beta1 * v + (1 - beta1) * g,
        "g is multiplied by 1 + β₁": lambda m, g, beta1: beta1 * m + (1 + beta1) * g,
        "g is multiplied by β₁ too": lambda m, g, beta1: beta1 * (m + g),
        "g is multiplied by lr": lambda m, g, beta1, lr: beta1 * m + (1 - beta1) * lr * g,
        "it is the mean of m and g": lambda m, g: (m + g) / 2,
        "θ stands in place of g": lambda m, theta, beta1: beta1 * m + (1 - beta1) * theta,
        "the old m is kept": lambda m: m,
        "g is multiplied by 1 − β₁, and m by 1 − β₁ too": lambda m, g, beta1: (1 - beta1) * (m + g),
    },
    "v_new": {
        "v is not kept: it is (1 − β₂) g² alone": lambda g, beta2: (1 - beta2) * g**2,
        "v is g² alone": lambda g: g**2,
        "g² is left out": lambda v, beta2: beta2 * v,
        "g² is not multiplied by 1 − β₂": lambda v, g, beta2: beta2 * v + g**2,
        "v is not multiplied by β₂": lambda v, g, beta2: v + (1 - beta2) * g**2,
        "β₂ and 1 − β₂ are exchanged": lambda v, g, beta2: (1 - beta2) * v + beta2 * g**2,
        "β₁ stands in place of β₂": lambda v, g, beta1: beta1 * v + (1 - beta1) * g**2,
        "g is not squared": lambda v, g, beta2: beta2 * v + (1 - beta2) * g,
        "|g| stands in place of g²": lambda v, g, beta2: beta2 * v + (1 - beta2) * abs(g),
        "1 − β₂ is squared together with g": lambda v, g, beta2: beta2 * v + ((1 - beta2) * g) ** 2,
        "the whole is squared": lambda v, g, beta2: (beta2 * v + (1 - beta2) * g) ** 2,
        "v is squared too": lambda v, g, beta2: beta2 * v**2 + (1 - beta2) * g**2,
        "m′ stands in place of g": lambda v, m_new, beta2: beta2 * v + (1 - beta2) * m_new**2,
        "m stands in place of g": lambda v, m, beta2: beta2 * v + (1 - beta2) * m**2,
        "m stands in place of v": lambda m, g, beta2: beta2 * m + (1 - beta2) * g**2,
        "g − m′ stands in place of g: the variance about the mean, as in AdaBelief": lambda v, g, m_new, beta2: (
            beta2 * v + (1 - beta2) * (g - m_new) ** 2
        ),
        "g² is subtracted": lambda v, g, beta2: beta2 * v - (1 - beta2) * g**2,
        "the mean of g² over all entries stands in place of each g²": lambda v, g, beta2: (
            beta2 * v + (1 - beta2) * (g**2).mean()
        ),
        "the sum of g² over all entries stands in place of each g²": lambda v, g, beta2: (
            beta2 * v + (1 - beta2) * (g**2).sum()
        ),
        "it is the largest v so far, as in AMSGrad": lambda v, v_new: np.maximum(v, v_new),
        "g is cubed": lambda v, g, beta2: beta2 * v + (1 - beta2) * g**3,
        "the old v is kept": lambda v: v,
    },
    "m_hat": {
        "the bias of m is not corrected": lambda m_new: m_new,
        "the bias of m is corrected with t + 1 in place of t": lambda m_new, beta1, t: m_new / (1 - beta1 ** (t + 1)),
        "the bias of m is corrected with t − 1 in place of t": lambda m_new, beta1, t: m_new / (1 - beta1 ** (t - 1)),
        "the bias of m is corrected with β₁ in place of β₁ᵗ": lambda m_new, beta1: m_new / (1 - beta1),
        "the bias of m is corrected with β₁ · t in place of β₁ᵗ": lambda m_new, beta1, t: m_new / (1 - beta1 * t),
        "the bias of m is corrected with β₂": lambda m_new, beta2, t: m_new / (1 - beta2**t),
        "m is multiplied by 1 − β₁ᵗ, not divided": lambda m_new, beta1, t: m_new * (1 - beta1**t),
        "m is divided by β₁ᵗ, not by 1 − β₁ᵗ": lambda m_new, beta1, t: m_new / beta1**t,
        "m is divided by 1 + β₁ᵗ": lambda m_new, beta1, t: m_new / (1 + beta1**t),
        "m is divided by (1 − β₁)ᵗ": lambda m_new, beta1, t: m_new / (1 - beta1) ** t,
        "the old m is corrected, not the new": lambda m, beta1, t: m / (1 - beta1**t),
        "it is g": lambda g: g,
        "v′ stands in place of m′": lambda v_new, beta1, t: v_new / (1 - beta1**t),
        "it looks ahead, as in NAdam": lambda m_new, g, beta1, t: (beta1 * m_new + (1 - beta1) * g) / (1 - beta1**t),
        "λθ is added to it: the decay counts twice": lambda m_hat, theta, weight_decay: m_hat + weight_decay * theta,
    },
    "v_hat": {
        "the bias of v is not corrected": lambda v_new: v_new,
        "the bias of v is corrected with t + 1 in place of t": lambda v_new, beta2, t: v_new / (1 - beta2 ** (t + 1)),
        "the bias of v is corrected with t − 1 in place of t": lambda v_new, beta2, t: v_new / (1 - beta2 ** (t - 1)),
        "the bias of v is corrected with β₂ in place of β₂ᵗ": lambda v_new, beta2: v_new / (1 - beta2),
        "the bias of v is corrected with β₂ · t in place of β₂ᵗ": lambda v_new, beta2, t: v_new / (1 - beta2 * t),
        "the bias of v is corrected with β₁": lambda v_new, beta1, t: v_new / (1 - beta1**t),
        "v is multiplied by 1 − β₂ᵗ, not divided": lambda v_new, beta2, t: v_new * (1 - beta2**t),
        "v is divided by β₂ᵗ, not by 1 − β₂ᵗ": lambda v_new, beta2, t: v_new / beta2**t,
        "v is divided by 1 + β₂ᵗ": lambda v_new, beta2, t: v_new / (1 + beta2**t),
        "v is divided by (1 − β₂)ᵗ": lambda v_new, beta2, t: v_new / (1 - beta2) ** t,
        "the root of v is divided by 1 − β₂ᵗ, not v": lambda v_new, beta2, t: v_new / (1 - beta2**t) ** 2,
        "v is divided by √(1 − β₂ᵗ)": lambda v_new, beta2, t: v_new / (1 - beta2**t) ** 0.5,
        "the old v is corrected, not the new": lambda v, beta2, t: v / (1 - beta2**t),
        "it is g²": lambda g: g**2,
        "it is the largest v so far, as in AMSGrad": lambda v, v_new, beta2, t: np.maximum(v, v_new) / (1 - beta2**t),
        "m′ stands in place of v′": lambda m_new, beta2, t: m_new / (1 - beta2**t),
        "m̂² stands in place of v̂": lambda m_hat: m_hat**2,
    },
    "theta_new": {
        "ε is inside the root: √(v̂ + ε) in place of √v̂ + ε": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * m_hat / np.sqrt(v_hat + eps)
        ),
        "ε² is inside the root: √(v̂ + ε²) in place of √v̂ + ε": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * m_hat / np.sqrt(v_hat + eps**2)
        ),
        "ε is missing": lambda decayed, lr, m_hat, v_hat: decayed - lr * m_hat / np.sqrt(v_hat),
        "ε stands there before the bias of v is corrected": lambda decayed, lr, m_hat, v_hat, eps, beta2, t: (
            decayed - lr * m_hat / (np.sqrt(v_hat) + eps / np.sqrt(1 - beta2**t))
        ),
        "ε is added to the quotient, not to √v̂: there are no parentheses": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * (m_hat / np.sqrt(v_hat) + eps)
        ),
        "ε is added to θ, or to the step, not to √v̂": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * m_hat / np.sqrt(v_hat) + eps
        ),
        "ε is subtracted from √v̂": lambda decayed, lr, m_hat, v_hat, eps: decayed - lr * m_hat / (np.sqrt(v_hat) - eps),
        "the root is missing: v̂ + ε in place of √v̂ + ε": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * m_hat / (v_hat + eps)
        ),
        "the step is multiplied by √v̂ + ε, not divided": lambda decayed, lr, m_hat, v_hat, eps: (
            decayed - lr * m_hat * (np.sqrt(v_hat) + eps)
        ),
        "m̂ is divided by nothing": lambda decayed, lr, m_hat: decayed - lr * m_hat,
        "the step has the wrong sign: it goes uphill": lambda decayed, theta_new: 2 * decayed - theta_new,
        "the step is not multiplied by lr": lambda decayed, theta_new, lr: decayed + (theta_new - decayed) / lr,
        "the step is multiplied by lr twice": lambda decayed, theta_new, lr: decayed + (theta_new - decayed) * lr,
        "it is the plain step, lr · g": lambda decayed, lr, g: decayed - lr * g,
        "v̂ and m̂ are exchanged": lambda decayed, lr, m_hat, v_hat, eps: decayed - lr * v_hat / (np.sqrt(m_hat) + eps),
        "the step is the sign of m̂ alone": lambda decayed, lr, m_hat: decayed - lr * np.sign(m_hat),
        "it is the step alone, without θ": lambda decayed, theta_new: theta_new - decayed,
        "it is minus the step alone, without θ": lambda decayed, theta_new: decayed - theta_new,
        "θ stays as it is, but for the decay": lambda decayed: decayed,
        "the step is multiplied by √(1 − β₂ᵗ) once more": lambda decayed, theta_new, beta2, t: (
            decayed + (theta_new - decayed) * np.sqrt(1 - beta2**t)
        ),
        "the step is multiplied by 1 − β₁ once more": lambda decayed, theta_new, beta1: (
            decayed + (theta_new - decayed) * (1 - beta1)
        ),
        "the step is divided by t": lambda decayed, theta_new, t: decayed + (theta_new - decayed) / t,
        "the step is divided by √t": lambda decayed, theta_new, t: decayed + (theta_new - decayed) / t**0.5,
        "the decay is taken of θ after the step": lambda theta, theta_new, decayed, lr, weight_decay: (
            (theta + theta_new - decayed) * (1 - lr * weight_decay)
        ),
        "the decay is taken of θ after the step, and not multiplied by lr": (
            lambda theta, theta_new, decayed, weight_decay: (theta + theta_new - decayed) * (1 - weight_decay)
        ),
        "the decay is divided by √v̂ + ε: λθ is added to m̂": lambda theta, lr, m_hat, v_hat, eps, weight_decay: (
            theta - lr * (m_hat + weight_decay * theta) / (np.sqrt(v_hat) + eps)
        ),
    },
    "several": {
        "m and v are corrected with t + 1 in place of t": both(
            lambda m_new, beta1, t: m_new / (1 - beta1 ** (t + 1)),
            lambda v_new, beta2, t: v_new / (1 - beta2 ** (t + 1)),
        ),
        "m and v are corrected with t − 1 in place of t": both(
            lambda m_new, beta1, t: m_new / (1 - beta1 ** (t - 1)),
            lambda v_new, beta2, t: v_new / (1 - beta2 ** (t - 1)),
        ),
        "m and v are corrected with t = 1, whatever t is": both(
            lambda m_new, beta1: m_new / (1 - beta1), lambda v_new, beta2: v_new / (1 - beta2)
        ),
        "the bias is not corrected: m̂ and v̂ are missing": both(lambda m_new: m_new, lambda v_new: v_new),
        "m and v are multiplied by 1 − βᵗ, not divided": both(
            lambda m_new, beta1, t: m_new * (1 - beta1**t), lambda v_new, beta2, t: v_new * (1 - beta2**t)
        ),
        "the old m and v are corrected, not the new": both(
            lambda m, beta1, t: m / (1 - beta1**t), lambda v, beta2, t: v / (1 - beta2**t)
        ),
        "the old m and v stand in place of m̂ and v̂": both(lambda m: m, lambda v: v),
        "g and g² stand in place of m̂ and v̂": both(lambda g: g, lambda g: g**2),
        "m and v are corrected with each other's β": both(
            lambda m_new, beta2, t: m_new / (1 - beta2**t), lambda v_new, beta1, t: v_new / (1 - beta1**t)
        ),
    },
    "return": {
        "the decay is coupled: λθ is added to g, as L2 regularisation is": lambda known: coupled(
            known, lambda g, decay: g + decay
        ),
        "lr · λθ is added to g: the decay is coupled": lambda theta, g, m, v, options, weight_decay, lr: adamw(
            theta, g + lr * weight_decay * theta, m, v, **options | {"weight_decay": 0.0}
        ),
        "λθ is added to g, and θ decays by itself as well": lambda theta, g, m, v, options, weight_decay: adamw(
            theta, g + weight_decay * theta, m, v, **options
        ),
        "λθ is subtracted from g: the decay is coupled, and has the wrong sign": lambda known: coupled(
            known, lambda g, decay: g - decay
        ),
        "m̂ and v̂ are kept in place of m′ and v′": lambda theta_new, m_hat, v_hat: (theta_new, m_hat, v_hat),
        "m̂ is kept in place of m′": lambda theta_new, m_hat, v_new: (theta_new, m_hat, v_new),
        "v̂ is kept in place of v′": lambda theta_new, m_new, v_hat: (theta_new, m_new, v_hat),
        "m and v are not updated": lambda theta_new, m, v: (theta_new, m, v),
        "m is not updated": lambda theta_new, m, v_new: (theta_new, m, v_new),
        "v is not updated": lambda theta_new, m_new, v: (theta_new, m_new, v),
        "m and v are exchanged": lambda theta_new, m_new, v_new: (theta_new, v_new, m_new),
        "θ is not updated: it is as it was": lambda theta, m_new, v_new: (theta, m_new, v_new),
        "g is clipped to a norm of 1 first, or divided by its norm": lambda theta, g, m, v, options: adamw(
            theta, g / max(1.0, np.linalg.norm(g)), m, v, **options
        ),
        "the entries of g are clipped to ±1 first": lambda theta, g, m, v, options: adamw(
            theta, g.clip(-1, 1), m, v, **options
        ),
        "g is divided by the number of entries first": lambda theta, g, m, v, options: adamw(
            theta, g / g.size, m, v, **options
        ),
    },
}


def coupled(known, change):
    """Return an update whose decay λθ is a part of the gradient: what `change` makes of both."""
    g = change(known["g"], known["weight_decay"] * known["theta"])
    return adamw(known["theta"], g, known["m"], known["v"], **known["options"] | {"weight_decay": 0.0})


MISTAKES = {"adamw": ADAMW}
