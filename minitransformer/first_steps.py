"""First steps: gradients derived by hand, from three numbers to attention for one query.

A language model is a long formula with many numbers in it, its weights. The loss is one number that says how badly the
formula predicts a text. Training needs one answer for every weight: if it grows a little, how much does the loss grow?
This ratio is the *gradient* of the loss with respect to the weight. If it is −24, the loss falls by about 0.024 when
the weight grows by 0.001.

One way is to try: change a weight, and evaluate the formula again. That takes one evaluation per weight, and GPT-2 has
124 million weights. The other way is to walk back through the formula, and to derive at each step how much the loss
depends on the step's inputs. All gradients then cost about twice as much as the formula, but a derivation is easily
wrong. So this package derives the gradients, and checks them the first way: `python -m minitransformer.first_steps`.

Each function returns its value y and a function `backward`. A name that begins with d is the growth of the loss for
each unit that the named number grows: da belongs to a. If a grows by a small h, y grows by the slope times h, and the
loss by dy times that. So da is the slope times dy. `backward` takes dy and returns the gradients of the inputs. Behind
a line, a comment such as `# (4) ← s² (3)` names the equation that it computes, and the part of the formula that it
mirrors.
"""

import math

import numpy as np


def expression(a, b, c):
    """Compute L = (a b + c)², one step on each line.

        u = a · b       (1)
        s = u + c       (2)
        L = s²          (3)

    For a = 2, b = −3 and c = 10, u is −6, s is 4 and L is 16.
    """
    u = a * b  # (1)
    s = u + c  # (2)
    L = s**2  # (3)

    def backward(dL=1.0):
        """If s grows by a small h, s² grows by 2 s h. If u or c grows by h, so does s. If a grows, u grows by b h:

            ds = 2 s · dL                      (4)
            du = ds    dc = ds                 (5)
            da = b · du    db = a · du         (6)

        With the numbers above, ds = du = dc = 8, da = −24 and db = 16. Try it: for a = 2.001, L is (−6.003 + 10)² =
        15.976009. It fell by 24 · 0.001, up to the square of the step of u, (b h)² = 0.000009.
        """
        ds = 2 * s * dL  # (4) ← s² (3)
        du = dc = ds  # (5) ← u + c (2)
        da, db = b * du, a * du  # (6) ← a · b (1)
        return da, db, dc

    return L, backward


def fork(x):
    """Compute y = x · sin(x) for one number x.

        s = sin(x)                                      (7)
        y = s · x                                       (8)

    Both lines read x.
    """
    s = np.sin(x)  # (7)
    y = s * x  # (8)

    def backward(dy):
        """x reaches y along two paths, through s and directly, and their contributions add.

        From (8) ∂y/∂s = x, and the x that stands in (8) has the slope s. From (7) ∂s/∂x = cos(x):

            ds = x · dy                                     (9)
            dx = s · dy + cos(x) · ds                       (10)
        """
        ds = x * dy  # (9) ← s · x (8)
        dx = s * dy + np.cos(x) * ds  # (10) ← sin(x) (7), s · x (8)
        return dx

    return y, backward


def sum_and_share(x):
    """Multiply each entry of x by the sum of its row. The shape (..., C) means any number of rows of C entries.

        S = Σ_i x_i                                     (11)
        y_i = S x_i                                     (12)

    Every entry reaches every output.
    """
    S = x.sum(axis=-1, keepdims=True)  # (11)
    y = S * x  # (12)

    def backward(dy):
        """Every y_i reads S, so all of them contribute to dS. Every x_i is a term of S, so each receives all of dS.

        From (12) ∂y_i/∂S = x_i, and from (11) ∂S/∂x_i = 1:

            dS = Σ_i x_i dy_i                               (13)
            dx_i = S dy_i + dS                              (14)
        """
        dS = (x * dy).sum(axis=-1, keepdims=True)  # (13) ← S x_i (12)
        dx = S * dy + dS  # (14) ← Σ_i x_i (11), S x_i (12)
        return dx

    return y, backward


def neuron(x, w, b):
    """Compute a neuron: a weighted sum of the inputs x (n,), plus a bias b, bent by tanh to lie between −1 and 1.

        z = Σ_i w_i x_i + b       (15)
        y = tanh(z)               (16)

    A network has many neurons, and the outputs of some are the inputs of others.
    """
    z = sum(w[i] * x[i] for i in range(len(x))) + b  # (15)
    y = np.tanh(z)  # (16)

    def backward(dy):
        """Multiply by the slope of tanh, which is 1 − tanh², then by the other factor of each product.

            dz = (1 − y²) · dy                                  (17)
            dx_i = w_i dz    dw_i = x_i dz    db = dz           (18)

        A weight whose input is 0 does not learn from this example. A neuron with y close to 1 or −1 hardly learns.
        """
        dz = (1 - y**2) * dy  # (17) ← tanh(z) (16)
        dx, dw, db = w * dz, x * dz, dz  # (18) ← Σ_i w_i x_i + b (15)
        return dx, dw, db

    return y, backward


def check(function, *inputs, h=1e-6):
    """Move each entry up and down. Return the largest error of the gradients of L = Σ y · dy, with a random dy.

    The gradient of this L with respect to y is dy, so dx is backward(dy). The result is NaN if an entry of a gradient
    is NaN, and infinite if a gradient does not have the shape of its input.

    `function(*inputs)` returns y and backward, and backward(dy) the gradient of the only input, or a tuple with one for
    each input. The inputs are arrays; np.array(0.7) is one of a single number.
    """
    y, backward = function(*inputs)
    dy = np.random.default_rng(0).normal(size=np.shape(y))
    gradients, worst = backward(dy), 0.0
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)  # a tuple in any case
    for x, dx in zip(inputs, gradients, strict=True):
        if np.shape(dx) != x.shape:
            return np.inf
        for i in np.ndindex(x.shape):
            kept, losses = x[i], []
            for moved in (kept + h, kept - h):
                x[i] = moved
                losses.append(np.sum(function(*inputs)[0] * dy))  # collect L of the moved input
            x[i] = kept
            error = abs(np.asarray(dx)[i] - (losses[0] - losses[1]) / (2 * h))
            worst = error if np.isnan(error) else max(worst, error)
    return worst


def wrong_neuron(x, w, b):
    """Compute a neuron with the wrong sign in (17). A model may still learn while y is near 0."""
    y, _ = neuron(x, w, b)

    def backward(dy):
        dz = (1 + y**2) * dy
        return w * dz, x * dz, dz

    return y, backward


def shares(x1, x2):
    """Turn two numbers into two positive shares that sum to 1: a softmax of two entries.

        e1 = exp(x1)    e2 = exp(x2)                         (19)
        y1 = e1/(e1 + e2)    y2 = e2/(e1 + e2)               (20)

    If x1 = x2, both are ½.
    """
    e1, e2 = np.exp(x1), np.exp(x2)  # (19)
    y1, y2 = e1 / (e1 + e2), e2 / (e1 + e2)  # (20)

    def backward(dy):
        """Every output depends on every input. By the quotient rule, and with 1 − y1 = y2, the four slopes are

            ∂y1/∂x1 = y1 · y2     ∂y1/∂x2 = −y1 · y2          (21)
            ∂y2/∂x1 = −y1 · y2    ∂y2/∂x2 = y1 · y2           (22)

        They form a matrix J, the Jacobian, with a row for each output and a column for each input. If x1 grows, y1
        grows and y2 falls by as much, because the sum stays 1. With dy1 and dy2 for the entries of dy, both changes
        reach the loss, and they add:

            dx1 = dy1 · ∂y1/∂x1 + dy2 · ∂y2/∂x1 = y1 · y2 · (dy1 − dy2)      (23)
            dx2 = dy1 · ∂y1/∂x2 + dy2 · ∂y2/∂x2 = y1 · y2 · (dy2 − dy1)      (24)

        Each sum goes down one column of J, so dx = Jᵀ dy. Chapter zero, `module.py`, begins with this rule. dx1 and dx2
        are 0 for dy1 = dy2. A check with dy = 1 would accept a backward pass of zeros, so `check` draws dy at random.
        """
        dy1, dy2 = dy
        J = [[y1 * y2, -y1 * y2], [-y1 * y2, y1 * y2]]  # (21) (22) ← exp(x1) (19), y1 = e1/(e1 + e2) (20)
        dx1 = J[0][0] * dy1 + J[1][0] * dy2  # (23) ← exp(x1) (19)
        dx2 = J[0][1] * dy1 + J[1][1] * dy2  # (24) ← exp(x2) (19)
        return dx1, dx2

    return np.array([y1, y2]), backward


def attend(q, k, v):
    """Let one query q (D,) read T values v (T, D). The better a value's key in k (T, D) fits, the more it counts.

    A text is a row of tokens (words or parts of words), each at a position, and a model keeps a vector of numbers, its
    channels, for each position. A query is a vector that says what its position looks for, a key one that says what a
    position has to offer, and a value one that it passes on. A model makes all three from the vectors of the positions,
    by three matrices. The score of a key is its product with the query, times s = 1/√D. A softmax of the scores gives
    the weights:

        scores_t = s Σ_c q_c k_tc                               (25)
        weights_t = exp(scores_t) / Σ_j exp(scores_j)           (26)
        y_c = Σ_t weights_t v_tc                                (27)
    """
    (T, D), s = k.shape, 1 / math.sqrt(k.shape[1])
    scores = np.array([s * sum(q[c] * k[t, c] for c in range(D)) for t in range(T)])  # (25)
    weights = np.exp(scores) / sum(np.exp(scores[j]) for j in range(T))  # (26)
    y = np.array([sum(weights[t] * v[t, c] for t in range(T)) for c in range(D)])  # (27)

    def backward(dy):
        """Reverse the three steps. From (27), where a value and its weight are factors of the same product,

            dv_tc = weights_t dy_c                                                (28)
            dweights_t = Σ_c dy_c v_tc                                            (29)

        From (26), by the quotient rule as in `shares`, where y1 · y2 is y1 − y1²: the slope of a weight w by its own
        score is w − w², and by another score it is minus the product of the two weights. So dscores_t is weights_t
        dweights_t, minus weights_t weights_j dweights_j for every j, its own among them:

            dscores_t = weights_t (dweights_t − Σ_j weights_j dweights_j)         (30)

        From (25), where the query is a factor of every score, and each key is a factor of only one score,

            dq_c = s Σ_t dscores_t k_tc                                           (31)
            dk_tc = s dscores_t q_c                                               (32)
        """
        dv = np.array([[weights[t] * dy[c] for c in range(D)] for t in range(T)])  # (28) ← Σ_t weights_t v_tc (27)
        dweights = np.array([sum(dy[c] * v[t, c] for c in range(D)) for t in range(T)])  # (29) ← weights_t v_tc (27)
        total = sum(weights[j] * dweights[j] for j in range(T))
        dscores = np.array([weights[t] * (dweights[t] - total) for t in range(T)])  # (30) ← exp(scores_t) (26)
        dq = np.array([s * sum(dscores[t] * k[t, c] for t in range(T)) for c in range(D)])  # (31) ← q_c k_tc (25)
        dk = np.array([[s * dscores[t] * q[c] for c in range(D)] for t in range(T)])  # (32) ← q_c k_tc (25)
        return dq, dk, dv

    return y, backward


if __name__ == "__main__":
    number, row = (), (3,)
    shapes = {
        expression: (number, number, number),
        fork: (number,),
        sum_and_share: (row,),
        neuron: (row, row, number),
        wrong_neuron: (row, row, number),
        shares: (number, number),
        attend: (4, (5, 4), (5, 4)),
    }
    for function, its_shapes in shapes.items():
        rng = np.random.default_rng(0)
        inputs = [np.array(rng.normal(size=shape)) for shape in its_shapes]
        print(f"{function.__name__}: largest error {check(function, *inputs):.0e}")
