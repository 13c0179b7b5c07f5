"""What a wrong gradient is a sum of: one or two products of what the textbook's function has at hand.

A derivation is a sum of products, and so is a mistake in one. All products of a few arrays are worked out; if the
learner's gradient is one of them, or a combination of two, at every entry, that is what it is. With dozens of entries
and two coefficients this does not happen by chance.
"""

import itertools

import numpy as np

from minitransformer.layers.linear import rows
from minitransformer.layers.positions import joined, pairs
from minitransformer.learn.catalogue.textbook import name_of_dy

MOST = 1500  # terms
OWN = {  # what a gradient's own equation is made of, beside what comes with dy
    "layer_norm": ("r", "x_hat", "gamma", "x"),
    "rms_norm": ("r", "x_hat", "gamma", "x"),
    "softmax": ("y",),
    "silu": ("x", "sigma"),
    "gelu_exact": ("x", "Phi", "phi"),
    "gelu_tanh": ("x", "Phi", "u_slope"),
    "relu": ("x",),
}
SUMS = {  # with what dy may be multiplied in a sum
    "layer_norm": ("x_hat", "x"),
    "rms_norm": ("x_hat", "x"),
    "softmax": ("y",),
}
FIRST = 16  # terms, of which one is in a sum of three
NEARLY = 1e-9  # of the square that two terms may leave, before they are compared entry by entry


def as_a_sum(search, name):
    """Return words about what a wrong gradient is, or is off by; or None."""
    given, truth = search.given[name].astype(np.float64), search.truth[name]
    if given.size < 6 or not np.isfinite(given).all():
        return None
    terms = terms_for(search.textbook, name)
    found = combination(given, terms, lambda value: search.same(name, value), 2)
    found = found or polynomial(given, search.textbook, lambda value: search.same(name, value))
    if found:
        return f"it is {found}, and nothing else"
    off = combination(given - truth, terms, lambda value: search.same(name, truth + value), 1)
    return off and f"it is off by a term with {off.split(' × ')[-1].replace(' · ', ', ')} in it, missing or wrong"


def terms_for(textbook, name):
    """Return {how it is written: array} of the products that have the shape of a gradient, the simplest first."""
    shape, dy = textbook.truth[name].shape, textbook.dy
    known = arrays_at_hand(textbook)
    if textbook.component == "attention":
        terms = of_attention(textbook, name)
    elif textbook.component == "turned":
        terms = of_pairs(textbook)
    elif shape == dy.shape or name.endswith("_new"):
        axis = textbook.values.get("axis", -1)
        fitting = {n: np.broadcast_to(x, shape) for n, x in known.items() if broadcasts(x, shape)}
        terms = itertools.chain([("1", np.ones(shape))], products(fitting, axis))
    elif dy.shape[-len(shape) :] == shape:
        wide = {n: np.broadcast_to(x, dy.shape) for n, x in known.items() if broadcasts(x, dy.shape)}
        terms = ((f"Σ {n}", x.reshape(-1, *shape).sum(axis=0)) for n, x in products(wide, None))
    else:
        terms = of_matrices(known, shape) if len(shape) == 2 else ()
    return dict(itertools.islice(terms, MOST))


def arrays_at_hand(textbook):
    """Return {name: array} of what a run has at hand, without the gradients themselves; True counts as 1."""
    arrays = {n: x for n, x in textbook.values.items() if isinstance(x, np.ndarray) and x.dtype.kind in "fb"}
    hidden = {*textbook.truth, name_of_dy(textbook.function), "slope"} - {"dy"}
    arrays = {n: x.astype(np.float64) for n, x in arrays.items() if n not in hidden}
    return {n: x for n, x in arrays.items() if np.isfinite(x).all() and x.size > 1}


def polynomial(given, textbook, same):
    """Return how `given` is written as a sum of products of what stands in its own equation; or None.

    First of up to three such terms; then of as many as there may be, the simplest, with three entries to each.
    """
    terms = own_terms(textbook, given.shape)
    if not terms:
        return None
    found = combination(given, terms, same, 3)
    if found:
        return found
    names = list(terms)[: given.size // 3]
    columns = np.array([terms[n].ravel() for n in names])
    coefficients = np.linalg.lstsq(columns.T, given.ravel(), rcond=None)[0]
    if not same((coefficients @ columns).reshape(given.shape)):
        return None
    shares = np.abs(coefficients) * np.abs(columns).max(axis=1)
    chosen = np.flatnonzero(shares > 1e-4 * shares.max())
    return fitted(given, chosen, names, columns, same) if len(chosen) < 6 else None


def own_terms(textbook, shape):
    """Return {how it is written: array} of what comes with dy times powers of what else its equation is made of."""
    factors = [n for n in OWN.get(textbook.component, ()) if n in textbook.values]
    if shape != textbook.dy.shape or not factors:
        return {}
    values = {n: np.broadcast_to(textbook.values[n], shape) for n in factors}
    upstream = {n: textbook.values[n] for n in ("dy", "dx_hat") if n in textbook.values}
    if textbook.component in SUMS:
        axis = textbook.values.get("axis", -1)
        beside = {"": 1.0} | {f" · {n}": textbook.values[n] for n in SUMS[textbook.component]}
        sums = {(n, b): upstream[n] * beside[b] for n in upstream for b in beside}
        upstream |= {f"Σ({n}{b})": x.sum(axis=axis, keepdims=True) for (n, b), x in sums.items()}
    else:
        upstream["1"] = np.ones(shape)
    terms = {}
    for count in range(4):
        for names in itertools.combinations_with_replacement(factors, count):
            for n, d in upstream.items():
                terms[written((n, *names))] = d * np.prod([values[m] for m in names], axis=0) * np.ones(shape)
    return terms


def products(arrays, axis):
    """Yield (how it is written, array) of products of up to three arrays, and of two with a sum along an axis."""
    for count in (1, 2, 3):
        for names in itertools.combinations_with_replacement(arrays, count):
            yield written(names), np.prod([arrays[n] for n in names], axis=0)
    if axis is None:
        return
    for count in (1, 2):
        for names in itertools.combinations_with_replacement(arrays, count):
            total = np.prod([arrays[n] for n in names], axis=0).sum(axis=axis, keepdims=True)
            total = np.broadcast_to(total, next(iter(arrays.values())).shape)
            yield f"Σ({written(names)})", total
            for outside in (1, 2) if len(arrays) < 8 else (1,):
                for others in itertools.combinations_with_replacement(arrays, outside):
                    yield (
                        f"{written(others)} · Σ({written(names)})",
                        total * np.prod([arrays[n] for n in others], axis=0),
                    )


def of_matrices(known, shape):
    """Yield (how it is written, array) of products aᵀ b, summed over positions, of a (..., I) and b (..., O).

    Each is an array, or a product of two of one shape.
    """
    left, right = (
        [
            (written(names), known[names[0]] * known[names[1]] if len(names) > 1 else known[names[0]])
            for count in (1, 2)
            for names in itertools.combinations_with_replacement(known, count)
            if all(known[n].ndim > 1 and known[n].shape[-1] == width for n in names)
            and len({known[n].shape for n in names}) == 1
        ]
        for width in shape
    )
    for (n, a), (m, b) in itertools.product(left, right):
        if a.shape[:-1] == b.shape[:-1]:
            yield f"({n})ᵀ ({m})", rows(a).T @ rows(b)


def of_pairs(textbook):
    """Yield (how it is written, array) of the products of each pair (a, b) of dy with its angle's sine and cosine."""
    layout, cos, sin = (textbook.values[n] for n in ("layout", "cos", "sin"))
    a, b = pairs(textbook.dy, layout)
    one = np.ones(a.shape)
    for factor, value in (("", one), (" · cos", cos), (" · sin", sin), (" / cos", 1 / cos), (" · cos²", cos * cos)):
        yield f"(a, b){factor}", joined(a * value, b * value, layout)
        yield f"(b, −a){factor}", joined(b * value, -a * value, layout)
        yield f"(b, a){factor}", joined(b * value, a * value, layout)
        yield f"(a, −b){factor}", joined(a * value, -b * value, layout)
        yield f"(a, 0){factor}", joined(a * value, 0 * a, layout)
        yield f"(0, b){factor}", joined(0 * a, b * value, layout)
        yield f"(b, 0){factor}", joined(b * value, 0 * a, layout)
        yield f"(0, a){factor}", joined(0 * a, a * value, layout)
    for text, value in (("cos", cos), ("sin", sin)):
        yield f"({text}, {text})", joined(value + 0 * a, value + 0 * a, layout)
        yield f"({text}, −{text})", joined(value + 0 * a, -value + 0 * a, layout)


def of_attention(textbook, name):
    """Yield (how it is written, array) of products of the scores' kind with what they multiply, group by group."""
    values, K = textbook.values, textbook.values["K"]
    G = values["H"] // K
    kinds = {n: values[n] for n in ("weights", "used", "dused", "dweights", "dscores", "scores")}
    kinds = {n: x for n, x in kinds.items() if np.isfinite(x).all()}
    q, k, v, y, dy = values["q"], *(np.repeat(values[n], G, axis=-3) for n in "kv"), values["y"], textbook.dy
    for written_as, kind in products(kinds, -1):
        if name == "dq":
            for n, x in (("k", k), ("v", v)):
                if x.shape[-1] == q.shape[-1]:
                    yield f"({written_as}) {n}", kind @ x
        else:
            for n, x in (("q", q), ("dy", dy), ("y", y), ("(dy · y)", dy * y)):
                if x.shape[-1] == values[name[1]].shape[-1]:
                    each = kind.swapaxes(-1, -2) @ x
                    yield f"({written_as})ᵀ {n}", each.reshape(*each.shape[:-3], K, G, *each.shape[-2:]).sum(axis=-3)


def combination(given, terms, same, most):
    """Return how `given` is written as a multiple of one term, or a sum of up to `most`; None where it is not."""
    names, columns = list(terms), np.array([term.ravel() for term in terms.values()])
    if not names or not given.any():
        return None
    lengths = np.sqrt((columns**2).sum(axis=1))
    kept = np.flatnonzero(np.isfinite(lengths) & (lengths > 1e-12))
    unit = columns[kept] / lengths[kept, None]
    target = given.ravel() / np.sqrt((given**2).sum())
    along = unit @ target
    for i in np.flatnonzero(along**2 > 1 - NEARLY)[:5]:
        text = fitted(given, [kept[i]], names, columns, same)
        if text:
            return text
    if most > 1:
        for i, j in pairs_that_explain(unit, target):
            text = fitted(given, [kept[i], kept[j]], names, columns, same)
            if text:
                return text
    for first in range(min(FIRST, len(kept)) if most > 2 else 0):
        rest = unit - np.outer(unit @ unit[first], unit[first])
        sizes = np.sqrt((rest**2).sum(axis=1))
        rest = np.where(sizes[:, None] > 1e-6, rest / np.maximum(sizes, 1e-6)[:, None], 0.0)
        left = target - along[first] * unit[first]
        for i, j in pairs_that_explain(rest, left / np.sqrt((left**2).sum())):
            text = fitted(given, [kept[k] for k in sorted({first, i, j})], names, columns, same)
            if text:
                return text
    return None


def pairs_that_explain(unit, target):
    """Return pairs (i, j) of rows of length 1 of which a combination is nearly a target of length 1, a few of them."""
    along, gram = unit @ target, unit @ unit.T
    different = np.triu(gram**2 < 1 - 1e-6, 1)
    with np.errstate(all="ignore"):
        explained = (along[:, None] ** 2 + along**2 - 2 * along[:, None] * along * gram) / (1 - gram**2)
    return sorted(np.argwhere(different & (explained > 1 - NEARLY)).tolist(), key=sum)[:5]


def fitted(given, chosen, names, columns, same):
    """Return how the combination of some terms that is nearest is written, if it is the same."""
    a = columns[chosen].T
    coefficients = np.linalg.lstsq(a, given.ravel(), rcond=None)[0]
    if not same((a @ coefficients).reshape(given.shape)):
        return None
    text = ""
    for c, i in zip(coefficients, chosen, strict=True):
        sign = ("− " if c < 0 else "+ ") if text else ("−" if c < 0 else "")
        text += f"{' ' if text else ''}{sign}" + ("" if abs(abs(c) - 1) < 1e-6 else f"{abs(c):.5g} × ") + names[i]
    return text


def written(names):
    """Return a product as it is written: `r · x_hat²`."""
    powers = {n: names.count(n) for n in names}
    return " · ".join(n + {1: "", 2: "²", 3: "³"}[count] for n, count in powers.items())


def broadcasts(x, shape):
    """Whether an array can be broadcast to a shape."""
    try:
        return np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        return False
