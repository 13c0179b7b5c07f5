"""Plant typical mistakes in backward passes, and measure the errors of the gradients."""

from dataclasses import dataclass

import numpy as np

from gradcheck import GradientError, check_case
from gradcheck.audit import PlantingError, live_functions, mutate, planted
from gradcheck.mistakes import Reader
from minitransformer.book.costs import parameters_of
from minitransformer.book.observation import numbers_of_lines
from minitransformer.module import plain

KINDS = (
    *("transpose lost", "term dropped", "factor dropped", "call dropped", "backward call dropped"),
    *("sum and mean exchanged", "accumulation lost", "mask forgotten", "sign flipped", "transpose added"),
)
SHOWN, TRIED = 3, 6  # number of mistakes to show on a page, and to try of each kind
SMALL = 1e-9  # relative error up to which a gradient counts as right


@dataclass(frozen=True)
class Planted:
    mutant: object  # the changed code
    case: object  # a case that the mistake affects
    sentence: str  # description of the mistake
    error: float  # largest relative error of a gradient for a random dy
    error_of_ones: float  # the same for dy = 1
    functions: dict  # of the file, as live_functions returns them


def planted_mistakes(path, cases) -> list[Planted]:
    """Return mistakes that change a gradient. Those that a check with dy = 1 does not find come first."""
    mutants, found = mutate(path.resolve()), []
    numbered = numbers_of_lines(mutants[0].source) if mutants else {}
    functions = live_functions({str(mutant.path) for mutant in mutants})
    right = [gradients(case) for case in cases]
    for kind in KINDS:
        some = [m for m in mutants if m.kind == kind and m.lines[1] in numbered]
        found += [p for m in some[:TRIED] if (p := tried(m, functions, cases, right)) is not None]
    return sorted(found, key=lambda planted: planted.error_of_ones > SMALL)


def classic(found) -> list[Planted]:
    """Return at most SHOWN mistakes, the first ones in different lines that a check finds."""
    chosen: list = []
    for one in found:
        is_new = all(one.mutant.line != p.mutant.line for p in chosen)
        if len(chosen) < SHOWN and is_new and is_caught(one):
            chosen.append(one)
    return chosen


def gradients(case) -> tuple:
    call, found = case.call(np.random.default_rng(0)), []
    with plain():
        for draw in (np.random.default_rng(1).normal, lambda size: np.ones(size)):
            for parameter in parameters_of(call.target):
                parameter.grad = None
            y, backward = call.evaluate()
            returned = backward(draw(size=np.shape(y)) if draw else None)
            returned = returned if isinstance(returned, tuple) else (returned,)
            parameters = [p for p in parameters_of(call.target) if p.requires_grad]
            its_own = (np.zeros_like(p.data) if p.grad is None else p.grad for p in parameters)
            found.append([np.asarray(g) for g in (*returned, *its_own) if g is not None])
    return tuple(found)


def tried(mutant, functions, cases, right) -> Planted | None:
    """Plant a mistake, and measure the errors in the first case that it affects. Return None if none is affected."""
    for case, truth in zip(cases, right, strict=True):
        try:
            with np.errstate(all="ignore"), planted(mutant, functions):
                wrong = gradients(case)
            errors = [largest(w, t, truth[0]) for w, t in zip(wrong, truth, strict=True)]
        except (PlantingError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            continue
        if errors[0] > SMALL:
            return Planted(mutant, case, mutant.edit.sentence(Reader()), *errors, functions)
    return None


def largest(wrong, right, scales) -> float:
    """Return the largest error of the gradients, relative to the largest entries of the arrays in `scales`."""
    pairs = zip(wrong, right, scales, strict=True)
    return max((np.abs(w - r).max(initial=0) / (np.abs(s).max(initial=0) or 1) for w, r, s in pairs), default=0.0)


def is_caught(found) -> bool:
    """Return True if a check along one random direction finds a mistake. The check on the page includes this one."""
    try:
        with np.errstate(all="ignore"), planted(found.mutant, found.functions), plain():
            check_case(found.case, oracles="adjoint", explain=False)
    except GradientError:
        return True
    return False
