"""Training: sums of gradients, adapters, optimizers."""

import numpy as np

from gradcheck.identities.identity import same_as


def gradient_of_a_batch(x, target, weight):
    y = np.tanh(x @ weight)
    return x.T @ ((y - target) * (1 - y * y)) / len(x)


@same_as(gradient_of_a_batch, (4, 3), (4, 2), (3, 2), near_miss=("half, 4", "half, 3"))
def gradient_of_two_halves(x, target, weight):
    """The gradient of a batch is the mean of the gradients of its halves.

    ∇L = ½ (∇L₁ + ∇L₂), where each L is a mean over its examples

    Near miss: the second half lacks an example.
    """
    half = 2
    halves = slice(0, half), slice(half, 4)
    return sum(gradient_of_a_batch(x[half], target[half], weight) for half in halves) / 2


def two_layers(x, w_1, w_2, dy):
    h = np.tanh(x @ w_1)
    dh = (dy @ w_2.T) * (1 - h * h)
    return dh @ w_1.T, x.T @ dh, h.T @ dy


@same_as(two_layers, (2, 3), (3, 4), (4, 2), (2, 2), near_miss=("np.tanh(x @ w_1)\n", "x @ w_1\n"))
def two_layers_with_recomputation(x, w_1, w_2, dy):
    """Activations that are computed again give the same gradients (Chen et al., 2016).

    backward keeps x and computes h = tanh(x W₁) a second time

    Near miss: it computes h without the tanh.
    """
    dh = (dy @ w_2.T) / np.cosh(x @ w_1) ** 2
    h = np.tanh(x @ w_1)
    return dh @ w_1.T, x.T @ dh, h.T @ dy


def adapted(x, weight, a, b, scale):
    return x @ weight + scale * (x @ a) @ b


@same_as(adapted, (2, 3), (3, 4), (3, 2), (2, 4), (), near_miss=("scale * a @ b", "a @ b"))
def merged(x, weight, a, b, scale):
    """A low-rank adapter can be merged into its weight (Hu et al., 2021).

    x W + s (x A) B = x (W + s A B)

    Near miss: the scale is left out.
    """
    return x @ (weight + scale * a @ b)


def gradients_of_an_adapter(x, a, b, scale, dy):
    return scale * x.T @ (dy @ b.T), scale * (x @ a).T @ dy


@same_as(gradients_of_an_adapter, (4, 3), (3, 2), (2, 5), (), (4, 5), near_miss=("dweight @ b.T", "a @ b @ b.T"))
def projected_gradients(x, a, b, scale, dy):
    """The gradients of an adapter are projections of the gradient of the full weight (Hu et al., 2021).

    dA = s dW Bᵀ    dB = s Aᵀ dW    with dW = xᵀ dy

    Near miss: A B stands in place of dW.
    """
    dweight = x.T @ dy
    return scale * dweight @ b.T, scale * a.T @ dweight


def gradient_through_one_tied_weight(one_hot, weight, dlogits):
    return one_hot.T @ (dlogits @ weight) + dlogits.T @ (one_hot @ weight)


@same_as(gradient_through_one_tied_weight, (2, 4), (4, 3), (2, 4), near_miss=("+ dlogits.T @ h", ""))
def gradient_through_embedding_and_unembedding(one_hot, weight, dlogits):
    """The gradient of a tied weight is the sum of two gradients (Press and Wolf, 2017).

    h = onehot(ids) W    logits = h Wᵀ    dW = onehot(ids)ᵀ dh + dlogitsᵀ h

    Near miss: only the embedding has a gradient.
    """
    h, dh = one_hot @ weight, dlogits @ weight
    return one_hot.T @ dh + dlogits.T @ h


def adam(theta, gradient, m, v, lr, b_1, b_2, eps):
    m, v = b_1 * m + (1 - b_1) * gradient, b_2 * v + (1 - b_2) * gradient**2
    return theta - lr * (m / (1 - b_1**3)) / (np.sqrt(v / (1 - b_2**3)) + eps)


@same_as(adam, (3,), (3,), (3,), (3,), (), (), (), (), near_miss=("eps * root", "eps"))
def adam_with_corrected_rate(theta, gradient, m, v, lr, b_1, b_2, eps):
    """The corrections of Adam's moments can be folded into the rate (Kingma and Ba, 2015, section 2).

    lr m̂ / (√v̂ + ε) = lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε √(1 − β₂ᵗ)), here with t = 3

    Near miss: the same ε in both forms.
    """
    m, v = b_1 * m + (1 - b_1) * gradient, b_2 * v + (1 - b_2) * gradient**2
    root = np.sqrt(1 - b_2**3)
    return theta - lr * root / (1 - b_1**3) * m / (np.sqrt(v) + eps * root)


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s]), np.stack([s, c])])


def iterated(g):
    return 3.4445 * g - 4.7750 * g @ g.T @ g + 2.0315 * g @ g.T @ g @ g.T @ g


def step_of_muon(alpha, singular_values, beta):
    return iterated(rotation(alpha) * singular_values @ rotation(beta).T)


@same_as(step_of_muon, (), (2,), (), near_miss=("s**5", "s**4"))
def step_on_singular_values(alpha, s, beta):
    """An iteration of Muon keeps the singular vectors (Jordan et al., 2024).

    a G + b G Gᵀ G + c (G Gᵀ)² G = U (a s + b s³ + c s⁵) Vᵀ for G = U s Vᵀ

    Near miss: the fourth power in place of the fifth.
    """
    return rotation(alpha) * (3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5) @ rotation(beta).T


def weight_decay(theta, gradient, lr, decay):
    return (1 - lr * decay) * theta - lr * gradient


@same_as(weight_decay, (3,), (3,), (), (), near_miss=("decay / 2", "decay"))
def penalty(theta, gradient, lr, decay):
    """For plain gradient descent, weight decay is an L² penalty (Loshchilov and Hutter, 2019).

    (1 − lr λ) θ − lr ∇L = θ − lr ∇(L + ½ λ |θ|²)

    Near miss: the penalty λ |θ|².
    """
    return theta - lr * (gradient + decay / 2 * (2 * theta))


def momentum_as_a_loop(g_1, g_2, g_3, lr, beta):
    velocity, theta = 0, 0
    for g in (g_1, g_2, g_3):
        velocity = beta * velocity + g
        theta = theta - lr * velocity
    return theta


@same_as(momentum_as_a_loop, (2,), (2,), (2,), (), (), near_miss=("beta + beta**2", "beta"))
def momentum_as_a_sum(g_1, g_2, g_3, lr, beta):
    """Momentum gives each gradient a larger rate, up to lr / (1 − β).

    θ₃ = −lr ((1 + β + β²) g₁ + (1 + β) g₂ + g₃)

    Near miss: one power is left out.
    """
    return -lr * ((1 + beta + beta**2) * g_1 + (1 + beta) * g_2 + g_3)
