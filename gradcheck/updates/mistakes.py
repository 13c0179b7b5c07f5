"""The usual mistakes in an update rule, as edits of a formula's text or as changes in the code around it.

A mistake of the first kind is a list of edits (correct text, wrong text). It applies to each formula that contains all
the correct texts. A mistake of the second kind is outside a formula of scalars: the state is not kept, begins at 1 or
is shared by all parameters, the steps are miscounted, or the gradients are clipped in the wrong way.
"""

import ast
import functools
import inspect
import re
from pathlib import Path

from gradcheck.mistakes import Student
from gradcheck.mistakes.planting import planted
from gradcheck.mistakes.repairing import exchanged
from gradcheck.mistakes.sources import find_closures
from gradcheck.mistakes.table import KINDS
from gradcheck.updates import formulas
from gradcheck.updates.following import (
    Habits,
    by_the_common_norm,
    each_by_its_norm,
    each_entry,
    not_at_all,
    read_formula,
    small_ones_too,
)

MEAN_M, MEAN_V, MEAN_RHO = "beta1 * m + (1 - beta1) * g", "beta2 * v + (1 - beta2) * g", "rho * v + (1 - rho) * g"
M_HAT, V_HAT = "m_new / (1 - beta1**t)", "v_new / (1 - beta2**t)"
L2, DECAY = "g = g + weight_decay * theta", "theta = theta - lr * weight_decay * theta"
T1, T2 = "beta1**t", "beta2**t"
VELOCITY, AHEAD = "momentum * velocity + g", "(g + momentum * velocity_new)"

NOBODY = Student("", {})  # a reader to whom no code is quoted, because the checked code has other names
T_FROM_0 = "the bias is corrected with t − 1 in place of t = 1, 2, …"

# Mistakes are tried in this order, and the first that gives the update's numbers is named.
IN_A_FORMULA = (
    # Bias
    ("the bias of m and v is not corrected: m̂ and v̂ are missing", (M_HAT, "m_new"), (V_HAT, "v_new")),
    ("the bias of m is not corrected: m̂ = m′ / (1 − β₁ᵗ) is missing", (M_HAT, "m_new")),
    ("the bias of v is not corrected: v̂ = v′ / (1 − β₂ᵗ) is missing", (V_HAT, "v_new")),
    ("the bias is corrected with t + 1 in place of t = 1, 2, …", (T1, "beta1**(t + 1)"), (T2, "beta2**(t + 1)")),
    (T_FROM_0, (T1, "beta1**(t - 1)"), (T2, "beta2**(t - 1)")),
    ("the bias of m is corrected with t + 1 in place of t", (T1, "beta1**(t + 1)")),
    ("the bias of v is corrected with t + 1 in place of t", (T2, "beta2**(t + 1)")),
    ("the bias is corrected with β in place of βᵗ: t is missing, or stays 1", (T1, "beta1"), (T2, "beta2")),
    ("the bias is corrected with β² in place of βᵗ", (T1, "beta1**2"), (T2, "beta2**2")),
    ("the bias of v is corrected with β₂² in place of β₂ᵗ", (T2, "beta2**2")),
    ("the bias of m is corrected with β₁² in place of β₁ᵗ", (T1, "beta1**2")),
    ("the bias of m is corrected with β₁ in place of β₁ᵗ", (T1, "beta1")),
    ("the bias of v is corrected with β₂ in place of β₂ᵗ", (T2, "beta2")),
    ("m′ and v′ are multiplied by 1 − βᵗ, not divided", ("m_new / ", "m_new * "), ("v_new / ", "v_new * ")),
    ("m′ is multiplied by 1 − β₁ᵗ, not divided", ("m_new / ", "m_new * ")),
    ("v′ is multiplied by 1 − β₂ᵗ, not divided", ("v_new / ", "v_new * ")),
    ("the root of v is corrected by 1 − β₂ᵗ, not v", ("sqrt(v_hat)", "sqrt(v_new) / (1 - beta2**t)")),
    ("m̂ and v̂ are kept in place of m′ and v′", ("m_new, v_new", "m_hat, v_hat")),
    ("m̂ is kept in place of m′", ("m_new, v_new", "m_hat, v_new")),
    ("v̂ is kept in place of v′", ("m_new, v_new", "m_new, v_hat")),
    # β₁ and β₂
    (
        "β₁ and β₂ are exchanged",
        (MEAN_M, "beta2 * m + (1 - beta2) * g"),
        (MEAN_V, "beta1 * v + (1 - beta1) * g"),
        (T1, "beta2**t"),
        (T2, "beta1**t"),
    ),
    (
        "β₁ and β₂ are exchanged in m′ and v′, though not where their bias is corrected",
        (MEAN_M, "beta2 * m + (1 - beta2) * g"),
        (MEAN_V, "beta1 * v + (1 - beta1) * g"),
    ),
    ("β₁ and β₂ are exchanged where the bias is corrected", (T1, "beta2**t"), (T2, "beta1**t")),
    ("β₂ stands in place of β₁ in m′", (MEAN_M, "beta2 * m + (1 - beta2) * g")),
    ("β₁ stands in place of β₂ in v′", (MEAN_V, "beta1 * v + (1 - beta1) * g")),
    ("β₂ stands in place of β₁ where the bias of m is corrected", (T1, "beta2**t")),
    ("β₁ stands in place of β₂ where the bias of v is corrected", (T2, "beta1**t")),
    (
        "β and 1 − β are exchanged in m′ and v′",
        (MEAN_M, "(1 - beta1) * m + beta1 * g"),
        (MEAN_V, "(1 - beta2) * v + beta2 * g"),
    ),
    ("β₁ and 1 − β₁ are exchanged in m′", (MEAN_M, "(1 - beta1) * m + beta1 * g")),
    ("β₂ and 1 − β₂ are exchanged in v′", (MEAN_V, "(1 - beta2) * v + beta2 * g")),
    ("ρ and 1 − ρ are exchanged", (MEAN_RHO, "(1 - rho) * v + rho * g")),
    ("g and g² are not multiplied by 1 − β in m′ and v′", ("(1 - beta1) * g", "g"), ("(1 - beta2) * g", "g")),
    ("g is not multiplied by 1 − β₁ in m′", ("(1 - beta1) * g", "g")),
    ("g² is not multiplied by 1 − β₂ in v′", ("(1 - beta2) * g", "g")),
    ("g² is not multiplied by 1 − ρ in v′", ("(1 - rho) * g", "g")),
    # m and v
    ("v′ is made of g in place of g²: it is not squared", ("g**2", "g")),
    ("v′ is made of |g| in place of g²", ("g**2", "abs(g)")),
    ("v′ is made of g⁴ in place of g²: it is squared twice", ("g**2", "g**4")),
    ("1 − β₂ is squared together with g in v′", ("(1 - beta2) * g**2", "((1 - beta2) * g) ** 2")),
    ("1 − ρ is squared together with g in v′", ("(1 - rho) * g**2", "((1 - rho) * g) ** 2")),
    ("v is squared together with g in v′", (f"{MEAN_V}**2", f"({MEAN_V}) ** 2")),
    ("v′ is made of m′ in place of g", ("(1 - beta2) * g**2", "(1 - beta2) * m_new**2")),
    ("m and v are taken for each other: v̂ / (√m̂ + ε)", ("lr * m_hat", "lr * v_hat"), ("sqrt(v_hat)", "sqrt(m_hat)")),
    ("m and v are exchanged for the next step", ("m_new, v_new", "v_new, m_new")),
    ("g stands in place of m̂ in the step", ("lr * m_hat", "lr * g")),
    (
        "the step is made with m and v as they were before it",
        (M_HAT, "m / (1 - beta1**t)"),
        (V_HAT, "v / (1 - beta2**t)"),
    ),
    ("the step is made with m as it was before it", (M_HAT, "m / (1 - beta1**t)")),
    ("the step is made with v as it was before it", (V_HAT, "v / (1 - beta2**t)")),
    ("the step is made with v as it was before it", ("sqrt(v_new)", "sqrt(v)")),
    # The quotient
    ("ε is inside the root: √(v + ε) in place of √v + ε", ("(root + eps)", "sqrt(root**2 + eps)")),
    ("ε² is inside the root: √(v + ε²) in place of √v + ε", ("(root + eps)", "sqrt(root**2 + eps**2)")),
    (
        "ε is added before the bias of v is corrected, as in section 2 of the paper",
        ("m_hat / (root + eps)", "m_hat / (root + eps / sqrt(1 - beta2**t))"),
    ),
    ("ε is missing", ("(root + eps)", "root")),
    ("ε is added to θ, not to √v: there are no parentheses", ("(root + eps)", "root - eps")),
    ("ε is added to the step, not to √v: there are no parentheses", ("(root + eps)", "root + eps")),
    ("ε is added to m̂ / √v̂, not to √v̂", ("lr * m_hat / (root + eps)", "lr * (m_hat / root + eps)")),
    ("the root is missing: v + ε in place of √v + ε", ("(root + eps)", "(root**2 + eps)")),
    # Decoupled weight decay
    ("the decay is missing", (DECAY, "pass")),
    ("the decay is coupled: λθ is added to the gradient, as L2 regularisation is", (DECAY, L2)),
    ("the decay is coupled: lr · λθ is added to the gradient", (DECAY, "g = g + lr * weight_decay * theta")),
    (
        "the decay is coupled: λθ is added to g in m′",
        (DECAY, "pass"),
        ("(1 - beta1) * g", "(1 - beta1) * (g + weight_decay * theta)"),
    ),
    (
        "the decay is coupled: λθ is added to m̂, and divided by √v̂ + ε",
        (DECAY, "pass"),
        ("lr * m_hat", "lr * (m_hat + weight_decay * theta)"),
    ),
    ("the decay is not multiplied by lr", (DECAY, "theta = theta - weight_decay * theta")),
    ("the decay is multiplied by lr twice", (DECAY, "theta = theta - lr * lr * weight_decay * theta")),
    ("the decay is of the gradient, not of θ", (DECAY, "theta = theta - lr * weight_decay * g")),
    ("the decay is of the gradient, not of θ, and not multiplied by lr", (DECAY, "theta = theta - weight_decay * g")),
    ("the decay is lr, not lr · λ", (DECAY, "theta = theta - lr * theta")),
    ("the decay is twice what it should be", (DECAY, "theta = theta - 2 * lr * weight_decay * theta")),
    ("the decay is half of what it should be", (DECAY, "theta = theta - lr * weight_decay * theta / 2")),
    ("the decay has the wrong sign: it makes θ larger", (DECAY, "theta = theta + lr * weight_decay * theta")),
    (
        "the decay is taken of θ after the step",
        (DECAY, "pass"),
        ("theta - step", "(theta - step) * (1 - lr * weight_decay)"),
    ),
    (
        "the decay is taken of θ after the step, and not multiplied by lr",
        (DECAY, "pass"),
        ("theta - step", "(theta - step) * (1 - weight_decay)"),
    ),
    # Weight decay as a part of the gradient
    ("the weight decay is missing", (L2, "pass")),
    ("the weight decay is decoupled, as AdamW's, and not a part of the gradient", (L2, DECAY)),
    ("the weight decay is decoupled, and not multiplied by lr", (L2, "theta = theta - weight_decay * theta")),
    ("the weight decay is lr · λθ in place of λθ", (L2, "g = g + lr * weight_decay * theta")),
    ("the weight decay is 2 λθ in place of λθ", (L2, "g = g + 2 * weight_decay * theta")),
    ("the weight decay is λθ / 2 in place of λθ", (L2, "g = g + weight_decay * theta / 2")),
    ("the weight decay has the wrong sign: it makes θ larger", (L2, "g = g - weight_decay * theta")),
    ("the weight decay is missing from v′", (L2, L2), ("g**2", "(g - weight_decay * theta) ** 2")),
    # Momentum
    ("the momentum is missing, or the new velocity is not kept", (VELOCITY, "g")),
    ("g is multiplied by 1 − momentum", (VELOCITY, "momentum * velocity + (1 - momentum) * g")),
    ("the momentum multiplies g in place of the velocity", (VELOCITY, "velocity + momentum * g")),
    ("the momentum multiplies g as well as the velocity", (VELOCITY, "momentum * (velocity + g)")),
    ("the momentum has the wrong sign", (VELOCITY, "g - momentum * velocity")),
    ("the momentum is Nesterov's", ("lr * velocity_new", f"lr * {AHEAD}")),
    ("the momentum is plain, not Nesterov's", (AHEAD, "velocity_new")),
    ("the step is made with the velocity as it was before it", ("lr * velocity_new", "lr * velocity")),
    ("the velocity is not multiplied by the momentum in the step", (AHEAD, "(g + velocity_new)")),
    ("g is missing in the step: there is momentum · velocity alone", (AHEAD, "momentum * velocity_new")),
    # The step as a whole
    ("the step has the wrong sign: it goes uphill", ("theta - step", "theta + step")),
    ("the step is not multiplied by lr", ("step = lr * ", "step = ")),
    ("the step is multiplied by lr twice", ("step = lr * ", "step = lr * lr * ")),
    ("the parameter and its gradient are taken for each other", ("(theta, g", "(g, theta")),
)

AROUND = "*, _scale, _max_norm, "  # additional arguments of a formula that does the clipping
CLIPPED = (
    (
        "clipping comes after the moments: m and v are those of the gradient before it",
        ("*, ", AROUND),
        ("lr * m_hat", "lr * _scale * m_hat"),
    ),
    (
        "clipping comes after the moments: it is m̂ that is clipped, not the gradient",
        ("*, ", AROUND),
        (M_HAT, f"clipped({M_HAT}, _max_norm)"),
    ),
    (
        "clipping comes after the moments: it is m′ that is clipped, not the gradient",
        ("*, ", AROUND),
        (MEAN_M, f"clipped({MEAN_M}, _max_norm)"),
    ),
    (
        "it is the step that is clipped, not the gradient",
        ("*, ", AROUND),
        ("theta - step", "theta - clipped(step, _max_norm)"),
    ),
    (
        "it is the step before its product with lr that is clipped, not the gradient",
        ("*, ", AROUND),
        ("theta - step", "theta - lr * clipped(step / lr, _max_norm)"),
    ),
)


def clipped(array, max_norm):
    """Return the array, scaled down to the norm max_norm if its norm is larger."""
    return by_the_common_norm([array], max_norm)[0] * array


@functools.cache
def mistakes_in(function):
    """Return (sentence, edits, Formula with the mistake) for each mistake that fits one of FORMULAS."""
    every = ((sentence, edits, mistaken(function, edits)) for sentence, *edits in (*IN_A_FORMULA, *CLIPPED))
    return tuple(mistake for mistake in every if mistake[-1] is not None)


def mistaken(function, edits):
    """Apply the edits to the text of one of FORMULAS. Return the Formula, or None if they do not all apply."""
    text = "|".join(re.escape(old) for old, _ in edits)
    source, count = re.subn(text, lambda found: dict(edits)[found.group()], _source(function))
    if count != len(edits):
        return None
    names = vars(formulas) | {"clipped": clipped}
    exec(source, names)
    return read_formula(names[function.__name__])


@functools.cache
def planted_in(function):
    """Plant the mistakes of gradcheck/mistakes/table.py in one of FORMULAS. Return a tuple of (sentence, Formula).

    Only mistakes in an expression or a value are planted.
    """
    (closure,) = find_closures(Path(formulas.__file__), (function.__name__,))
    found = []
    for edit, place in planted(closure):
        if edit.row.at not in ("expression", "value"):
            continue
        names = dict(vars(formulas))
        exec(ast.unparse(exchanged(closure.node, edit.old, edit.new)), names)
        line = next(s for s in closure.node.body if s.lineno <= place.lines[0] <= s.end_lineno)
        name = ast.unparse(line.targets[0]) if isinstance(line, ast.Assign) else "the result"
        what = edit.sentence(NOBODY, place.is_whole) or KINDS[edit.row.kind]
        found.append((f"in {name}: {what}", read_formula(names[function.__name__])))
    return tuple(found)


def around(formula, course):
    """Yield (sentence, Habits) for each mistake that is possible in the code around a Formula."""
    state, everything = " and ".join(formula.state), tuple(range(len(formula.state)))
    if formula.counts:
        yield f"nothing is kept for the next step: {state} begin at 0, and t at 1", Habits(everything, count="nothing")
        yield "t stays 1", Habits(count="nothing")
    for lost in dict.fromkeys([everything, *((k,) for k in everything)]) if state else ():
        names = " and ".join(formula.state[k] for k in lost)
        yield f"the new {names} {'are' if len(lost) > 1 else 'is'} not kept for the next step", Habits(lost)
    for k, name in enumerate(formula.state):
        yield f"{name} begins at 1, not at 0", Habits(ones=(k,))
    if len(course.starts) > 1:
        if state:
            yield f"all parameters share one {state}", Habits(shared=True)
        if formula.counts:
            yield "t counts parameters, not steps", Habits(count="parameters")
            yield f"all parameters share one {state}, and t counts parameters", Habits(shared=True, count="parameters")
    if course.max_norm is not None:
        yield "the gradients are not clipped, or too late to matter", Habits(clip=not_at_all)
        yield "each entry is clipped by itself, not the norm", Habits(clip=each_entry)
        yield "gradients are scaled up too where their norm is below max_norm", Habits(clip=small_ones_too)
        if course.jointly:
            yield "each gradient is clipped by its own norm, not all by their common one", Habits(clip=each_by_its_norm)


_source = functools.cache(inspect.getsource)
