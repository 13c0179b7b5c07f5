"""The scaling law: the loss as a function of parameters N and tokens D, and the best use of a computing budget.

**The law** (Hoffmann et al., 2022, equation 2) writes the loss as a sum of three terms. The first is the loss that no
model can avoid. The second is due to the limited number N of parameters, and the third to the limited number D of
tokens.

    L(N, D) = E + A/N^α + B/D^β                     (1)

**The fit** (their Approach 3) determines log E, log A, log B, α and β. With z the logarithms of the three terms, the
logarithm of the law is their log-sum-exp. The fit minimises the sum of the Huber losses of the errors r. Huber's loss
is quadratic within δ and linear beyond, so an outlier has no more influence than a point at distance δ.

    z = (log A − α log N, log B − β log D, log E)         (2)
    r = log Σ exp(z) − log L                        (3)
    ∂r = Σ softmax(z) ∂z                            (4)

δ is 0.01, because small runs differ by about this much between seeds. There are local minima, so a least-squares
optimiser starts at many points and the best result is kept. It must run to convergence: the original fit stopped early,
and its intervals were too narrow (Besiroglu et al., 2024). log N and log D are centred, because otherwise log A and α
are nearly collinear.

**The compute-optimal choice.** Training takes about 6 operations per parameter and token, C = 6 N D. Insert D = C/(6N)
into (1). A larger N lowers the second term and, through D, raises the third. At the best N, the derivative

    −α A N^(−α−1) + β B (6/C)^β N^(β−1)

is zero:

    N* = (α A / (β B))^(1/(α+β)) · (C/6)^(β/(α+β))        (5)
    D* = C / (6 N*)                                 (6)
"""

from dataclasses import dataclass

import numpy as np

DELTA = 0.01
EXPONENTS = (0.01, 3.0)  # bounds of α and β
REFITS = 300  # number of refits from which the intervals are computed


@dataclass(frozen=True)
class ScalingLaw:
    """The constants E, A, B, α and β of the law (1). E has the unit of the loss."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, N, D):
        """Return L(N, D) for numbers, or for arrays that broadcast with each other."""
        return self.E + self.A / np.asarray(N, float) ** self.alpha + self.B / np.asarray(D, float) ** self.beta  # (1)

    def optimal(self, C):
        """Return the numbers of parameters N* and tokens D* with the lowest loss for a budget of C operations."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        N = ratio ** (1 / (self.alpha + self.beta)) * (C / 6) ** (self.beta / (self.alpha + self.beta))  # (5)
        D = C / (6 * N)  # (6)
        return N, D


def fit_scaling_law(N, D, L, starts=None) -> ScalingLaw:
    """Fit a law to M losses of models of different sizes and training lengths.

    N (M,) are the numbers of parameters, D (M,) the numbers of tokens, and L (M,) the losses. `starts` is a list of
    laws at which the optimiser starts (default: a grid of points). Raises ValueError if there are fewer than 3
    different N or D, or if a number is not positive and finite.
    """
    from scipy.optimize import least_squares

    N, D, L = (np.asarray(x, float) for x in (N, D, L))
    for name, values, least in (("N", N, 3), ("D", D, 3), ("L", L, 1)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"every {name} must be positive and finite, not {values.min()} to {values.max()}")
        if (different := len(np.unique(values))) < least:
            raise ValueError(f"there must be at least {least} different {name}, not {different}")
    centres = np.log(N).mean(), np.log(D).mean()
    measured = np.log(N) - centres[0], np.log(D) - centres[1], np.log(L)
    lowest = np.log(L).min()
    bounds = np.array([[lowest - 12, lowest + 12]] * 2 + [[lowest - 12, lowest + 1]] + [EXPONENTS] * 2).T
    options = {"loss": "huber", "f_scale": DELTA, "ftol": 1e-10, "xtol": 1e-9, "gtol": 1e-10, "max_nfev": 500}
    points = grid(L) if starts is None else [point(law, centres) for law in starts]
    options |= {"jac": jacobian, "bounds": bounds, "args": measured}
    ends = [least_squares(errors, np.clip(start, *bounds), **options) for start in points]
    a, b, e, alpha, beta = min(ends, key=lambda end: end.cost).x
    a, b = a + alpha * centres[0], b + beta * centres[1]
    return ScalingLaw(*(float(x) for x in (np.exp(e), np.exp(a), np.exp(b), alpha, beta)))


def log_terms(parameters, log_n, log_d):
    a, b, e, alpha, beta = parameters
    return np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])  # (2)


def errors(parameters, log_n, log_d, log_l):
    """Return the errors r (M,) at the parameters (log A, log B, log E, α, β)."""
    z = log_terms(parameters, log_n, log_d)
    highest = z.max(axis=0)
    return highest + np.log(np.exp(z - highest).sum(axis=0)) - log_l  # (3)


def jacobian(parameters, log_n, log_d, log_l):
    """Return the derivatives ∂r (M, 5) of the errors with respect to the parameters."""
    z = log_terms(parameters, log_n, log_d)
    terms = np.exp(z - z.max(axis=0))
    terms /= terms.sum(axis=0)
    return np.stack([*terms, -terms[0] * log_n, -terms[1] * log_d], axis=1)  # (4)


def grid(L):
    """Return starting points with different exponents and different values of E, given the losses L."""
    size = np.log(max(np.median(L) - L.min(), 0.01 * L.min()))
    return [
        np.array([size, size, np.log(L.min() * share), alpha, beta])
        for share in (0.95, 0.7, 0.2)
        for alpha in (0.2, 0.5, 1.0)
        for beta in (0.2, 0.5, 1.0)
    ]


def point(law: ScalingLaw, centres):
    """Convert a law to the parameters of `errors`, for log N and log D centred at `centres`."""
    a, b = np.log(law.A) - law.alpha * centres[0], np.log(law.B) - law.beta * centres[1]
    return np.array([a, b, np.log(law.E), law.alpha, law.beta])


def refits(law: ScalingLaw, groups, rng) -> list[ScalingLaw]:
    """Fit a law, starting at `law`, to each of REFITS resamples of the runs.

    `groups` contains a list of runs for each size. A run is an array (lengths, 3) of N, D and L.
    """
    laws = []
    for _ in range(REFITS):
        drawn = [runs[i] for runs in groups for i in rng.integers(len(runs), size=len(runs))]
        laws.append(fit_scaling_law(*np.concatenate(drawn).T, starts=[law]))
    return laws
