"""What goes wrong in the elementwise functions: half of a product rule, a factor of the chain rule, the wrong place."""

import inspect
import math

import numpy as np

from minitransformer.learn.catalogue.sums import with_arguments

ROOT = math.sqrt(2 / math.pi)


def slopes(rules):
    """Return {sentence: rule} for dx = dy · slope, of rules that give a slope of some of the function's names."""
    return {sentence: times_dy(rule) for sentence, rule in rules.items()}


def times_dy(rule):
    """Return the rule that multiplies what another gives by dy."""
    return with_arguments(["dy", *inspect.signature(rule).parameters], lambda dy, *values: dy * rule(*values))


ANY = {
    "dx": {
        "dy is not in it: it is the slope alone": lambda dx, dy: dx / dy,
        "it is dy itself: the slope is 1": lambda dy: dy,
        "it is multiplied by dy once more": lambda dx, dy: dx * dy,
        "it is divided by the slope, not multiplied": lambda dx, dy: dy * (dy / dx),
        "the slope is squared": lambda dx, dy: dx * dx / dy,
        "y is multiplied in: the slope is that of y² / 2": lambda dx, y: dx * y,
        "x is multiplied in": lambda dx, x: dx * x,
        "y stands in place of the slope": lambda dy, y: dy * y,
        "x stands in place of the slope": lambda dy, x: dy * x,
        "y stands in place of dy": lambda dx, dy, y: dx / dy * y,
        "dy is added": lambda dx, dy: dx + dy,
        "it is divided by the number of entries": lambda dx: dx / dx.size,
        "it is divided by the size of the batch": lambda dx: dx / len(dx),
    }
}

RELU = {
    "dx": {
        "the gradient is not stopped where x ≤ 0": lambda dy: dy,
        "it is stopped where x > 0, and not where x ≤ 0": lambda dy, off: dy * off,
        "dy is not in it: it is 1 or 0": lambda off: np.where(off, 0.0, 1.0),
        "it is stopped where dy ≤ 0, not where x ≤ 0": lambda dy: dy * (dy > 0),
        "it is stopped where dy ≤ 0 as well as where x ≤ 0": lambda dx, dy: dx * (dy > 0),
        "it is multiplied by x": lambda dx, x: dx * x,
        "x stands in place of dy where x > 0: it is y": lambda y: y,
        "it is multiplied by x, and not stopped": lambda dy, x: dy * x,
        "it is −dy where x ≤ 0": lambda dy, off: np.where(off, -dy, dy),
        "it is 0.01 · dy where x ≤ 0, as in a leaky ReLU": lambda dy, off: np.where(off, 0.01 * dy, dy),
        "it is 0.1 · dy where x ≤ 0, as in a leaky ReLU": lambda dy, off: np.where(off, 0.1 * dy, dy),
        "it is x where x ≤ 0": lambda dy, off, x: np.where(off, x, dy),
        "it is 1 where x > 0 and dy where x ≤ 0": lambda dy, off: np.where(off, dy, 1.0),
        "it is 1 where x ≤ 0": lambda dy, off: np.where(off, 1.0, dy),
        "it is stopped where x ≤ 1, not where x ≤ 0": lambda dy, x: dy * (x > 1),
        "it is stopped where x > 1 as well, as in a ReLU cut at 1": lambda dx, x: dx * (x < 1),
        "it has the wrong sign": lambda dx: -dx,
        "it counts twice": lambda dx: 2 * dx,
        "it is multiplied by dy once more": lambda dx, dy: dx * dy,
        "it is stopped in a whole row where its first x ≤ 0": lambda dy, off: dy * ~off[..., :1],
        "it is divided by the size of the batch": lambda dx: dx / len(dx),
        "it is divided by the number of entries": lambda dx: dx / dx.size,
        "dy is added": lambda dx, dy: dx + dy,
    }
}

SILU = {
    "dx": {
        **ANY["dx"],
        **slopes(
            {
                "the path through σ is missing: x is multiplied by σ alone": lambda sigma: sigma,
                "the direct path is missing: only the slope of σ is there": lambda x, sigma: x * sigma * (1 - sigma),
                "it is the slope of σ alone: x is not in it": lambda sigma: sigma * (1 - sigma),
                "it is 1 − σ": lambda sigma: 1 - sigma,
                "the slope of σ is not multiplied by x": lambda sigma: sigma + sigma * (1 - sigma),
                "the slope of σ is taken as σ": lambda x, sigma: sigma + x * sigma,
                "the slope of σ is taken as 1 − σ": lambda x, sigma: sigma + x * (1 - sigma),
                "the slope of σ is taken as σ²": lambda x, sigma: sigma + x * sigma**2,
                "the slope of σ is taken as σ (1 + σ)": lambda x, sigma: sigma + x * sigma * (1 + sigma),
                "the slope of σ is taken as −σ (1 − σ)": lambda x, sigma: sigma - x * sigma * (1 - sigma),
                "the slope of σ is taken as that of tanh, 1 − σ²": lambda x, sigma: sigma + x * (1 - sigma**2),
                "the slope of σ counts half": lambda x, sigma: sigma + x * sigma * (1 - sigma) / 2,
                "the slope of σ counts twice": lambda x, sigma: sigma + 2 * x * sigma * (1 - sigma),
                "the slope of σ is taken at y: y (1 − y)": lambda x, y, sigma: sigma + x * y * (1 - y),
                "it is y (1 − y), the logistic function's at its own output": lambda y: y * (1 - y),
                "y stands in place of x on the path through σ": lambda y, sigma: sigma + y * sigma * (1 - sigma),
                "y stands in place of σ: y (1 + x (1 − y))": lambda x, y: y * (1 + x * (1 - y)),
                "parentheses: (1 + x) multiplies 1 − σ as well": lambda x, sigma: sigma * (1 + x) * (1 - sigma),
                "σ is missing before the bracket": lambda x, sigma: 1 + x * (1 - sigma),
                "the bracket has 1 + x − σ": lambda x, sigma: sigma * (1 + x - sigma),
                "σ is multiplied by 1 − y, not y by 1 − σ, and y is not added": lambda y, sigma: sigma * (1 - y),
                "σ is taken at −x": lambda x, sigma: (1 - sigma) * (1 + x * sigma),
                "σ is taken at x / 2": lambda x: silu_slope(0.5 * (1 + np.tanh(0.25 * x)), x),
                "σ is taken at 2 x": lambda x: silu_slope(0.5 * (1 + np.tanh(x)), x),
                "the slope is taken at y, not at x": lambda y: silu_slope(0.5 * (1 + np.tanh(0.5 * y)), y),
                "σ is taken at σ: it is applied twice": lambda x, sigma: silu_slope(
                    0.5 * (1 + np.tanh(0.5 * sigma)), x
                ),
                "tanh(x/2) stands in place of σ": lambda x: silu_slope(np.tanh(0.5 * x), x),
                "it is the slope of x · tanh(x)": lambda x: np.tanh(x) + x * (1 - np.tanh(x) ** 2),
                "the slope is that of ReLU": lambda x: 1.0 * (x > 0),
                "it is the slope of GELU's quick form, σ(1.702 x)": lambda x: quick_slope(x),
            }
        ),
    }
}

GELU_EXACT = {
    "dx": {
        **ANY["dx"],
        **slopes(
            {
                "the path through Φ is missing: x is multiplied by Φ alone": lambda Phi: Phi,
                "the direct path is missing: only x · φ is there": lambda x, phi: x * phi,
                "it is φ alone": lambda phi: phi,
                "φ is not multiplied by x": lambda Phi, phi: Phi + phi,
                "the sign of x · φ is wrong": lambda x, Phi, phi: Phi - x * phi,
                "x · φ counts half": lambda x, Phi, phi: Phi + x * phi / 2,
                "x · φ counts twice: the ½ of Φ is missing": lambda x, Phi, phi: Phi + 2 * x * phi,
                "1/√(2π) is missing in φ": lambda x, Phi, phi: Phi + x * phi * math.sqrt(2 * math.pi),
                "φ has 1/√π, not 1/√(2π): the 1/√2 within erf is forgotten": lambda x, Phi, phi: (
                    Phi + x * phi * math.sqrt(2)
                ),
                "φ has 1/(2√π), not 1/√(2π)": lambda x, Phi, phi: Phi + x * phi / math.sqrt(2),
                "φ has 1/(2π), not 1/√(2π)": lambda x, Phi, phi: Phi + x * phi / math.sqrt(2 * math.pi),
                "φ has √(2π), not 1/√(2π)": lambda x, Phi, phi: Phi + x * phi * 2 * math.pi,
                "φ has 2/√π: the derivative of erf, without its factors": lambda x, Phi, phi: (
                    Phi + x * phi * 2 * math.sqrt(2)
                ),
                "φ has exp(−x²), not exp(−x²/2)": lambda x, Phi: Phi + x * np.exp(-x * x) * ROOT / 2,
                "φ has exp(−x²), and 1/√π": lambda x, Phi: Phi + x * np.exp(-x * x) / math.sqrt(math.pi),
                "φ has exp(−x²), and 2/√π: it is the derivative of erf at x": lambda x, Phi: (
                    Phi + x * np.exp(-x * x) * 2 / math.sqrt(math.pi)
                ),
                "φ has exp(x²/2): the sign in the exponent is wrong": lambda x, Phi: (
                    Phi + x * np.exp(x * x / 2) * ROOT / 2
                ),
                "φ has exp(−x/2): x is not squared": lambda x, Phi: Phi + x * np.exp(-x / 2) * ROOT / 2,
                "x · φ is multiplied by x once more": lambda x, Phi, phi: Phi + x * x * phi,
                "y · φ stands in place of x · φ": lambda y, Phi, phi: Phi + y * phi,
                "φ is taken as Φ (1 − Φ), as if Φ were logistic": lambda x, Phi: Phi + x * Phi * (1 - Phi),
                "φ is taken as 1 − Φ²": lambda x, Phi: Phi + x * (1 - Phi**2),
                "φ is taken as 1 − Φ": lambda x, Phi: Phi + x * (1 - Phi),
                "Φ is multiplied by x · φ, not added": lambda x, Phi, phi: Phi * x * phi,
                "erf(x/√2) stands in place of Φ": lambda x, Phi, phi: 2 * Phi - 1 + x * phi,
                "1 + erf(x/√2) stands in place of Φ: ½ is missing": lambda x, Phi, phi: 2 * Phi + x * phi,
                "½ erf(x/√2) stands in place of Φ: 1 is missing": lambda x, Phi, phi: Phi - 0.5 + x * phi,
                "Φ is that of −x": lambda x, Phi, phi: 1 - Phi + x * phi,
                "Φ is taken at √2 x: erf(x) in place of erf(x/√2)": lambda x, phi: normal(math.sqrt(2) * x) + x * phi,
                "Φ is taken at 2 x: erf(√2 x) in place of erf(x/√2)": lambda x, phi: normal(2 * x) + x * phi,
                "Φ is taken at x/√2: erf(x/2) in place of erf(x/√2)": lambda x, phi: normal(x / math.sqrt(2)) + x * phi,
                "φ has exp(−2x²), not exp(−x²/2)": lambda x, Phi: Phi + x * np.exp(-2 * x * x) * ROOT / 2,
                "Φ is taken at y": lambda y, x, phi: normal(y) + x * phi,
                "the slope is taken at y, not at x": lambda y: normal(y) + y * density(y),
                "the slope is that of the tanh form": lambda x: tanh_slope(x),
                "the slope is that of the form σ(1.702 x)": lambda x: quick_slope(x),
                "Φ is that of the tanh form, φ is exact": lambda x, phi: tanh_normal(x) + x * phi,
                "the slope is that of SiLU": lambda x: silu_slope(0.5 * (1 + np.tanh(0.5 * x)), x),
                "the slope is that of ReLU": lambda x: 1.0 * (x > 0),
            }
        ),
    }
}

GELU_TANH = {
    "dx": {
        **ANY["dx"],
        **slopes(
            {
                "the path through Φ is missing: x is multiplied by Φ alone": lambda Phi: Phi,
                "the direct path is missing: Φ itself is not added": lambda x, Phi, u_slope: (
                    2 * x * Phi * (1 - Phi) * u_slope
                ),
                "the slope of Φ is not multiplied by x": lambda Phi, u_slope: Phi + 2 * Phi * (1 - Phi) * u_slope,
                "it is the slope of Φ alone": lambda Phi, u_slope: 2 * Phi * (1 - Phi) * u_slope,
                "the sign of the path through Φ is wrong": lambda x, Phi, u_slope: (
                    Phi - 2 * x * Phi * (1 - Phi) * u_slope
                ),
                "the path through Φ counts half: a factor 2 is missing": lambda x, Phi, u_slope: (
                    Phi + x * Phi * (1 - Phi) * u_slope
                ),
                "the path through Φ counts twice: a factor ½ is missing": lambda x, Phi, u_slope: (
                    Phi + 4 * x * Phi * (1 - Phi) * u_slope
                ),
                "the slope of tanh is taken as 1 − tanh, not squared": lambda x, Phi, u_slope: (
                    Phi + 0.5 * x * (2 - 2 * Phi) * u_slope
                ),
                "the slope of tanh is taken as 1 − Φ²": lambda x, Phi, u_slope: Phi + 0.5 * x * (1 - Phi**2) * u_slope,
                "the slope of tanh is taken as 1 + tanh²": lambda x, Phi, u_slope: (
                    Phi + 0.5 * x * (1 + (2 * Phi - 1) ** 2) * u_slope
                ),
                "the slope of tanh is taken as tanh²": lambda x, Phi, u_slope: (
                    Phi + 0.5 * x * (2 * Phi - 1) ** 2 * u_slope
                ),
                "the slope of tanh is missing: it is taken as 1": lambda x, Phi, u_slope: Phi + 0.5 * x * u_slope,
                "u′ is missing: the chain rule ends at u": lambda x, Phi: Phi + 2 * x * Phi * (1 - Phi),
                "u stands in place of u′": lambda x, Phi, u: Phi + 2 * x * Phi * (1 - Phi) * u,
                "y stands in place of x on the path through Φ": lambda y, Phi, u_slope: (
                    Phi + 2 * y * Phi * (1 - Phi) * u_slope
                ),
                "x² stands in place of x on the path through Φ": lambda x, Phi, u_slope: (
                    Phi + 2 * x * x * Phi * (1 - Phi) * u_slope
                ),
                "tanh u stands in place of Φ": lambda x, Phi, u_slope: 2 * Phi - 1 + 2 * x * Phi * (1 - Phi) * u_slope,
                "1 + tanh u stands in place of Φ: ½ is missing": lambda x, Phi, u_slope: (
                    2 * Phi + 2 * x * Phi * (1 - Phi) * u_slope
                ),
                "½ tanh u stands in place of Φ: its ½ is missing": lambda x, Phi, u_slope: (
                    Phi - 0.5 + 2 * x * Phi * (1 - Phi) * u_slope
                ),
                "½ and 1 are missing: it is the slope of x · tanh u": lambda x, Phi, u_slope: (
                    2 * Phi - 1 + 4 * x * Phi * (1 - Phi) * u_slope
                ),
                "½ is missing throughout": lambda x, Phi, u_slope: 2 * Phi + 4 * x * Phi * (1 - Phi) * u_slope,
                "tanh is taken at u without its cube": lambda x, u_slope: with_tanh(np.tanh(ROOT * x), x, u_slope),
                "tanh is taken at u without its √(2/π)": lambda x, u, u_slope: with_tanh(np.tanh(u / ROOT), x, u_slope),
                "tanh is taken at u with the wrong sign of the cube": lambda x, u_slope: with_tanh(
                    np.tanh(ROOT * (x - 0.044715 * x**3)), x, u_slope
                ),
                "tanh is taken at u with x² in place of the cube": lambda x, u_slope: with_tanh(
                    np.tanh(ROOT * (x + 0.044715 * x**2)), x, u_slope
                ),
                "tanh is taken at u without its 0.044715": lambda x, u_slope: with_tanh(
                    np.tanh(ROOT * (x + x**3)), x, u_slope
                ),
                "tanh is taken at x": lambda x, u_slope: with_tanh(np.tanh(x), x, u_slope),
                "u stands in place of tanh u": lambda x, u, u_slope: with_tanh(u, x, u_slope),
                "½ stands in place of Φ": lambda x, Phi, u_slope: 0.5 + 2 * x * Phi * (1 - Phi) * u_slope,
                "the slope is that of the exact form": lambda x: normal(x) + x * density(x),
                "the density of the normal distribution stands in place of the slope of Φ": lambda x, Phi: (
                    Phi + x * density(x)
                ),
                "the slope is that of the form σ(1.702 x)": lambda x: quick_slope(x),
                "the slope is taken at y, not at x": lambda y: tanh_slope(y),
                "the slope is that of SiLU": lambda x: silu_slope(0.5 * (1 + np.tanh(0.5 * x)), x),
                "the slope is that of ReLU": lambda x: 1.0 * (x > 0),
            }
        ),
    },
    "u_slope": {
        "√(2/π) is missing": lambda u_slope: u_slope / ROOT,
        "√(2/π) is taken as 2/π, or stands there twice": lambda u_slope: u_slope * ROOT,
        "√(2/π) is taken as √2/π": lambda u_slope: u_slope / math.sqrt(math.pi),
        "√(2/π) is taken as √(π/2)": lambda u_slope: u_slope / ROOT**2,
        "the 3 of the cube's derivative is missing": lambda x: ROOT * (1 + 0.044715 * x * x),
        "2 stands in place of the 3 of the cube's derivative": lambda x: ROOT * (1 + 2 * 0.044715 * x * x),
        "x stands in place of x²": lambda x: ROOT * (1 + 3 * 0.044715 * x),
        "x³ stands in place of x²": lambda x: ROOT * (1 + 3 * 0.044715 * x**3),
        "the cube is taken for a constant": lambda x: ROOT * np.ones_like(x),
        "1 is missing: only the cube is derived": lambda x: ROOT * 3 * 0.044715 * x * x,
        "0.044715 is missing": lambda x: ROOT * (1 + 3 * x * x),
        "0.044715 is mistyped as 0.0044715": lambda x: ROOT * (1 + 3 * 0.0044715 * x * x),
        "0.044715 is mistyped as 0.44715": lambda x: ROOT * (1 + 3 * 0.44715 * x * x),
        "0.044715 is mistyped as 0.044175": lambda x: ROOT * (1 + 3 * 0.044175 * x * x),
        "0.044715 is rounded to 0.0447": lambda x: ROOT * (1 + 3 * 0.0447 * x * x),
        "0.044715 is rounded to 0.045": lambda x: ROOT * (1 + 3 * 0.045 * x * x),
        "the sign of the cube's derivative is wrong": lambda x: ROOT * (1 - 3 * 0.044715 * x * x),
        "√(2/π) multiplies the 1 alone, not the cube's derivative": lambda x: ROOT + 3 * 0.044715 * x * x,
        "√(2/π) multiplies the cube's derivative alone, not the 1": lambda x: 1 + ROOT * 3 * 0.044715 * x * x,
        "y stands in place of x": lambda y: ROOT * (1 + 3 * 0.044715 * y * y),
        "√(2/π) is rounded to 0.8": lambda u_slope: u_slope * 0.8 / ROOT,
    },
}

SWIGLU = {
    "dg": {
        "a stands in place of u: it is multiplied by silu(g)": lambda dp, a, g: dp * a * silu_of(g),
        "u is missing": lambda dg, u: dg / u,
        "the slope of silu is missing: it is da": lambda da: da,
        "u is squared": lambda dg, u: dg * u,
        "the slope of silu is taken as σ": lambda da, g: da * logistic(g),
        "the slope of silu is taken as σ (1 − σ)": lambda da, g: da * logistic(g) * (1 - logistic(g)),
        "the slope of silu is taken as g · σ (1 − σ)": lambda da, g: da * g * logistic(g) * (1 - logistic(g)),
        "the slope of silu is taken as silu(g)": lambda da, a: da * a,
        "the slope of silu is taken at a = silu(g), not at g": lambda da, a: da * silu_of(a),
        "the slope of silu is taken at u, not at g": lambda da, u: da * silu_of(u),
        "p stands in place of u": lambda dp, p, g: dp * p * silu_of(g),
        "σ(g) stands in place of u": lambda dp, g: dp * logistic(g) * silu_of(g),
        "g stands in place of u": lambda dp, g: dp * g * silu_of(g),
        "dp is not in it": lambda dg, dp: dg / dp,
        "it has the wrong sign": lambda dg: -dg,
    },
    "du": {
        "g stands in place of silu(g)": lambda dp, g: dp * g,
        "σ(g) stands in place of silu(g)": lambda dp, g: dp * logistic(g),
        "the slope of silu stands in place of silu(g)": lambda dp, g: dp * silu_of(g),
        "it is dp: silu(g) is missing": lambda dp: dp,
        "u stands in place of silu(g)": lambda dp, u: dp * u,
        "silu(u) stands in place of silu(g)": lambda dp, u: dp * u * logistic(u),
        "p stands in place of silu(g)": lambda dp, p: dp * p,
        "dp is not in it: it is silu(g)": lambda a: a,
        "it has the wrong sign": lambda du: -du,
    },
}

DROPOUT = {
    "dx": {
        "the mask is forgotten, and the division by 1 − p": lambda dy: dy,
        "the division by 1 − p is forgotten": lambda dy, keep: dy * keep,
        "the mask is forgotten: every entry is divided by 1 − p": lambda dy, scale: dy * scale,
        "it is multiplied by 1 − p, not divided": lambda dy, keep, scale: dy * keep / scale,
        "it is multiplied by 1 − p, and the mask is forgotten": lambda dy, scale: dy / scale,
        "it is divided by p, not by 1 − p": lambda dy, keep, p: dy * keep / p,
        "it is multiplied by p": lambda dy, keep, p: dy * keep * p,
        "it is divided by p, and the mask is forgotten": lambda dy, p: dy / p,
        "the mask is inverted: it passes where x was dropped": lambda dy, keep, scale: dy * ~keep * scale,
        "the mask is inverted, and nothing is divided": lambda dy, keep: dy * ~keep,
        "the mask is inverted, and it is divided by p": lambda dy, keep, p: dy * ~keep / p,
        "it is divided by 1 − p twice": lambda dy, keep, scale: dy * keep * scale**2,
        "it is divided by √(1 − p)": lambda dy, keep, scale: dy * keep * scale**0.5,
        "it is divided by 1 + p": lambda dy, keep, p: dy * keep / (1 + p),
        "it is divided by the share that was kept, not by 1 − p": lambda dy, keep: dy * keep / keep.mean(),
        "it is divided where x was kept, and dy elsewhere": lambda dy, keep, scale: np.where(keep, dy * scale, dy),
        "it is divided where x was dropped as well, and kept entries are not": lambda dy, keep, scale: np.where(
            keep, dy, dy * scale
        ),
        "it is multiplied by x": lambda dx, x: dx * x,
        "it is multiplied by y": lambda dx, y: dx * y,
        "x stands in place of dy: it is y": lambda y: y,
        "dy is not in it: it is the mask, divided by 1 − p": lambda keep, scale: keep * scale,
        "dy is not in it: it is the mask": lambda keep: 1.0 * keep,
        "it is stopped where x ≤ 0 as well": lambda dx, x: dx * (x > 0),
        "it is multiplied by 1 − p and divided by p": lambda dy, keep, p: dy * keep * (1 - p) / p,
        "the mask is that of the first of the batch for all": lambda dy, keep, scale: dy * keep[:1] * scale,
        "the mask is that of the first position for all": lambda dy, keep, scale: dy * keep[..., :1, :] * scale,
        "the mask is that of the first feature for all": lambda dy, keep, scale: dy * keep[..., :1] * scale,
        "the mask is reversed along the batch": lambda dy, keep, scale: dy * keep[::-1] * scale,
        "dropped entries pass p / (1 − p)": lambda dy, keep, p: np.where(keep, dy / (1 - p), dy * p / (1 - p)),
        "kept entries are 1 − p, dropped ones p": lambda dy, keep, p: np.where(keep, (1 - p) * dy, p * dy),
        "dy is added": lambda dx, dy: dx + dy,
        "it has the wrong sign": lambda dx: -dx,
        "it is divided by the number of entries": lambda dx: dx / dx.size,
        "it is divided by the size of the batch": lambda dx: dx / len(dx),
        "it counts twice": lambda dx: 2 * dx,
        "it is centred: its mean is subtracted": lambda dx: dx - dx.mean(),
    }
}


def logistic(x):
    """Return 1 / (1 + exp(−x))."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def silu_slope(sigma, x):
    """Return the slope of x · σ with a σ that is as it is given."""
    return sigma * (1 + x * (1 - sigma))


def silu_of(x):
    """Return the slope of silu at x."""
    return silu_slope(logistic(x), x)


def quick_slope(x):
    """Return the slope of x · σ(1.702 x)."""
    sigma = logistic(1.702 * x)
    return sigma * (1 + 1.702 * x * (1 - sigma))


def normal(x):
    """Return the normal distribution function."""
    from scipy.special import erf

    return 0.5 * (1 + erf(x / math.sqrt(2)))


def density(x):
    """Return the density of the normal distribution."""
    return np.exp(-x * x / 2) * ROOT / 2


def tanh_normal(x):
    """Return the normal distribution function by a hyperbolic tangent."""
    return 0.5 * (1 + np.tanh(ROOT * x * (1 + 0.044715 * x * x)))


def with_tanh(t, x, u_slope):
    """Return that slope with t in place of tanh u."""
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * u_slope


def tanh_slope(x):
    """Return the slope of GELU's tanh form at x."""
    phi = tanh_normal(x)
    return phi + 2 * x * phi * (1 - phi) * ROOT * (1 + 3 * 0.044715 * x * x)


MISTAKES = {
    "relu": RELU,
    "silu": SILU,
    "gelu_exact": GELU_EXACT,
    "gelu_tanh": GELU_TANH,
    "swiglu": SWIGLU,
    "dropout": DROPOUT,
}
