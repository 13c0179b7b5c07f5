"""A GPT of one block and its training step on one page.

    python -m minitransformer.one_page

The model adds a row of a table for the token and one for its position, because attention alone does not see the order:
the sum over the keys is the same if keys are exchanged. A block follows, with attention and feed_forward, then a last
norm and the product with the table of the tokens, whose results are the logits (transformer.py). The forward pass has
the lines 1 to 31. The backward pass mirrors them from 31 to 2, and AdamW follows. The model is Transformer with
`n_layers=1, bias=False, feed_forward="gelu_tanh"`. The derivations, with nearly the same names, are in layers/,
losses.py and optim.py. Here E is the table of the embedding, P that of the positions, and the rows of X and Y are the
one-hot vectors of ids and targets. g and b are γ and β, which the norms have also without `bias`, W1 and W2 are W_up
and W_down, and h is the x of GELU. A digit numbers the three norms: r1 is the r of layer_norm.py, while r alone is the
stream in the middle of block.py. The N = B·T positions are rows, so that every linear map is a product of two matrices.
The comment after each line gives its number and the shape of its result. In backward, the numbers after ← are those of
the mirrored lines.
"""

import argparse
import math
import sys
from functools import partial

import numpy as np

from minitransformer.system.tuning import tune_process
from minitransformer.text import default_corpus

EPS, ROOT, CUBE = 1e-5, math.sqrt(2 / math.pi), 0.044715


def mean(x):
    """Return the mean of each row, with an axis of length 1 in place of the last axis."""
    return x.mean(axis=1, keepdims=True)


def split(x, B, H):
    """Reshape rows (B·T, H·D) to heads (B, H, T, D)."""
    return x.reshape(B, -1, H, x.shape[1] // H).swapaxes(1, 2)


def merge(x):
    """Reshape heads (B, H, T, D) to rows (B·T, H·D)."""
    return x.swapaxes(1, 2).reshape(x.shape[0] * x.shape[2], -1)


# fmt: off
def gpt(E, P, g1, b1, Wq, Wk, Wv, Wo, g2, b2, W1, W2, g3, b3, *, ids, targets, H):
    """Return the loss of ids and targets (B, T), the logits (N, V), and backward(dloss=1.0).

    The shapes are E (V, C), P (T, C), g and b (C,), Wq, Wk, Wv and Wo (C, C), W1 (C, F) and W2 (F, C). There are H
    heads of D = C/H channels.
    """
    (B, T), (V, C), N, s = ids.shape, E.shape, ids.size, 1 / math.sqrt(E.shape[1] // H)
    one = np.eye(V, dtype=E.real.dtype)
    X, Y = one[ids.ravel()], one[targets.ravel()]                                          #  1  (N, V) each
    x = X @ E + np.tile(P, (B, 1))                                                         #  2  (N, C)

    mu1 = mean(x)                                                                          #  3  (N, 1)
    r1 = 1 / np.sqrt(mean((x - mu1) ** 2) + EPS)                                           #  4  (N, 1)
    x1_hat = (x - mu1) * r1                                                                #  5  (N, C)
    n1 = g1 * x1_hat + b1                                                                  #  6  (N, C)
    xq, xk, xv = n1 @ Wq, n1 @ Wk, n1 @ Wv                                                 #  7  (N, C) each
    q, k, v = split(xq, B, H), split(xk, B, H), split(xv, B, H)                            #  8  (B, H, T, D) each
    scores = s * q @ k.swapaxes(2, 3)                                                      #  9  (B, H, T, T)
    masked = np.where(np.tri(T, dtype=bool), scores, -np.inf)                              # 10  (B, H, T, T)
    e = np.exp(masked - masked.real.max(axis=3, keepdims=True))                            # 11  (B, H, T, T)
    weights = e / e.sum(axis=3, keepdims=True)                                             # 12  (B, H, T, T)
    heads = weights @ v                                                                    # 13  (B, H, T, D)
    merged = merge(heads)                                                                  # 14  (N, C)
    r = x + merged @ Wo                                                                    # 15  (N, C)

    mu2 = mean(r)                                                                          # 16  (N, 1)
    r2 = 1 / np.sqrt(mean((r - mu2) ** 2) + EPS)                                           # 17  (N, 1)
    x2_hat = (r - mu2) * r2                                                                # 18  (N, C)
    n2 = g2 * x2_hat + b2                                                                  # 19  (N, C)
    h = n2 @ W1                                                                            # 20  (N, F)
    Phi = 0.5 + 0.5 * np.tanh(ROOT * h * (1 + CUBE * h**2))                                # 21  (N, F)
    a = h * Phi                                                                            # 22  (N, F)
    y = r + a @ W2                                                                         # 23  (N, C)

    mu3 = mean(y)                                                                          # 24  (N, 1)
    r3 = 1 / np.sqrt(mean((y - mu3) ** 2) + EPS)                                           # 25  (N, 1)
    x3_hat = (y - mu3) * r3                                                                # 26  (N, C)
    n3 = g3 * x3_hat + b3                                                                  # 27  (N, C)
    logits = n3 @ E.T                                                                      # 28  (N, V)
    shifted = logits - logits.real.max(axis=1, keepdims=True)                              # 29  (N, V)
    z = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))                       # 30  (N, V)
    loss = -(Y * z).sum() / N                                                              # 31  ()

    def backward(dloss=1.0):
        """Return the gradients of all weights, in the order of gpt."""
        dlogits = (np.exp(z) - Y) * (dloss / N)                                            # ← 31, 30, 29  (N, V)
        dn3 = dlogits @ E                                                                  # ← 28  (N, C)
        dg3, db3 = (dn3 * x3_hat).sum(axis=0), dn3.sum(axis=0)                             # ← 27  (C,) each
        dx3_hat = dn3 * g3                                                                 # ← 27  (N, C)
        dy = r3 * (dx3_hat - mean(dx3_hat) - x3_hat * mean(dx3_hat * x3_hat))              # ← 26, 25, 24  (N, C)

        da = dy @ W2.T                                                                     # ← 23  (N, F)
        dW2 = a.T @ dy                                                                     # ← 23  (F, C)
        dPhi = da * h                                                                      # ← 22  (N, F)
        dh = da * Phi + dPhi * 2 * Phi * (1 - Phi) * ROOT * (1 + 3 * CUBE * h**2)          # ← 22, 21  (N, F)
        dn2 = dh @ W1.T                                                                    # ← 20  (N, C)
        dW1 = n2.T @ dh                                                                    # ← 20  (C, F)
        dg2, db2 = (dn2 * x2_hat).sum(axis=0), dn2.sum(axis=0)                             # ← 19  (C,) each
        dx2_hat = dn2 * g2                                                                 # ← 19  (N, C)
        dr = dy + r2 * (dx2_hat - mean(dx2_hat) - x2_hat * mean(dx2_hat * x2_hat))         # ← 23, 18, 17, 16  (N, C)

        dmerged = dr @ Wo.T                                                                # ← 15  (N, C)
        dWo = merged.T @ dr                                                                # ← 15  (C, C)
        dheads = split(dmerged, B, H)                                                      # ← 14  (B, H, T, D)
        dweights = dheads @ v.swapaxes(2, 3)                                               # ← 13  (B, H, T, T)
        dv = weights.swapaxes(2, 3) @ dheads                                               # ← 13  (B, H, T, D)
        dscores = weights * (dweights - (weights * dweights).sum(axis=3, keepdims=True))   # ← 12, 11, 10  (B, H, T, T)
        dq = s * dscores @ k                                                               # ← 9  (B, H, T, D)
        dk = s * dscores.swapaxes(2, 3) @ q                                                # ← 9  (B, H, T, D)
        dxq, dxk, dxv = merge(dq), merge(dk), merge(dv)                                    # ← 8  (N, C) each
        dWq, dWk, dWv = n1.T @ dxq, n1.T @ dxk, n1.T @ dxv                                 # ← 7  (C, C) each
        dn1 = dxq @ Wq.T + dxk @ Wk.T + dxv @ Wv.T                                         # ← 7  (N, C)
        dg1, db1 = (dn1 * x1_hat).sum(axis=0), dn1.sum(axis=0)                             # ← 6  (C,) each
        dx1_hat = dn1 * g1                                                                 # ← 6  (N, C)
        dx = dr + r1 * (dx1_hat - mean(dx1_hat) - x1_hat * mean(dx1_hat * x1_hat))         # ← 15, 5, 4, 3  (N, C)

        dE = X.T @ dx + dlogits.T @ n3                                                     # ← 2, 28  (V, C)
        dP = dx.reshape(B, T, C).sum(axis=0)                                               # ← 2  (T, C)
        return dE, dP, dg1, db1, dWq, dWk, dWv, dWo, dg2, db2, dW1, dW2, dg3, db3

    return loss, logits, backward
# fmt: on


def adamw(theta, g, m, v, *, t, lr=2e-3, beta1=0.9, beta2=0.99, eps=1e-8, decay=0.1):
    """Return the new theta, m and v after step t = 1, 2, … with gradient g.

    m and v are the moving averages of the gradient and of its square. Weight decay applies to matrices, here also to E
    and P.
    """
    decayed = theta - lr * decay * theta if theta.ndim > 1 else theta
    m_new = beta1 * m + (1 - beta1) * g
    v_new = beta2 * v + (1 - beta2) * g**2
    m_hat = m_new / (1 - beta1**t)
    v_hat = v_new / (1 - beta2**t)
    return decayed - lr * m_hat / (np.sqrt(v_hat) + eps), m_new, v_new


def initial(V, rng, *, T=64, C=64, F=256):
    """Return float32 weights for gpt.

    The gains g are 1 and the biases b are 0. Matrices are drawn from N(0, 0.02²), Wo and W2 with half the variance,
    because the products with both are added to the stream.
    """
    E, P, Wq, Wk, Wv, W1 = (rng.normal(0, 0.02, shape) for shape in [(V, C), (T, C), *[(C, C)] * 3, (C, F)])
    Wo, W2 = (rng.normal(0, 0.02 / math.sqrt(2), shape) for shape in [(C, C), (F, C)])
    g, b = np.ones(C), np.zeros(C)
    return [w.astype(np.float32) for w in (E, P, g, b, Wq, Wk, Wv, Wo, g, b, W1, W2, g, b)]


def sample(weights, ids, n, rng, *, H, temperature=0.8):
    """Return `ids` followed by n more ids, each drawn from the model's prediction for the last T ids.

    A temperature below 1 favours the likelier ids (generation.py).
    """
    E, P, *others = weights
    for _ in range(n):
        seen = np.array([ids[-len(P) :]])
        # The loss of these targets is not used.
        logits = gpt(E, P[: seen.size], *others, ids=seen, targets=seen, H=H)[1][-1].astype(float)
        p = np.exp((logits - logits.max()) / temperature)
        ids = [*ids, rng.choice(logits.size, p=p / p.sum())]
    return ids


def main(argv=None):
    """Train on the characters of the Python manual for about a minute, then print text that the model generates."""
    parser = argparse.ArgumentParser(prog="python -m minitransformer.one_page", description=main.__doc__)
    parser.add_argument(
        "--steps",
        type=int,
        default=5000,
        help="training steps, each on 12 windows of 64 characters (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the weights, the windows and the sample (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if min(options.steps, options.seed) < 0:
        parser.error(f"--steps and --seed must be at least 0, not {options.steps} and {options.seed}")
    tune_process(threads=1)  # the products are too small to be divided among the cores
    text, rng = default_corpus(), np.random.default_rng(options.seed)
    letters = sorted(set(text))
    ids = np.searchsorted(letters, list(text))
    weights = initial(len(letters), rng)
    m = v = [np.zeros_like(theta) for theta in weights]  # shared, because adamw writes into neither
    try:
        for t in range(1, options.steps + 1):
            windows = rng.integers(ids.size - 64, size=(12, 1)) + np.arange(64)
            loss, _, backward = gpt(*weights, ids=ids[windows], targets=ids[windows + 1], H=4)
            weights, m, v = zip(*map(partial(adamw, t=t), weights, backward(), m, v), strict=True)
            if t in (1, options.steps) or t % 500 == 0:
                print(f"step {t} of {options.steps}: loss {loss:.3f}", flush=True)
    except KeyboardInterrupt:
        print("stopped; the model now writes:")
    print("".join(letters[i] for i in sample(weights, list(ids[:1]), 400, rng, H=4)))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # replaces characters that the terminal cannot print
    main()
