"""Name the mistake in a wrong line by the first explanation that fits on this draw and on the others.

The plainest is tried first: an edit of the table of mistakes at the line or at one of its helpers, then a factor, a
path, a function or a term that is missing. An edit is accepted only if the gradient is right with it.
"""

import ast
import functools
import itertools
import time
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from gradcheck.lines.bench import SCATTER, Workbench
from gradcheck.lines.probe import Event, is_real_array
from gradcheck.lines.report import joined
from gradcheck.lines.source import gradient_of, is_gradient, names_read
from gradcheck.mistakes.patterns import same
from gradcheck.mistakes.repairing import Names, exchanged, repairs
from gradcheck.mistakes.row import Edit, Reader

MOST_FITTING = 8  # edits that fit the first draw, of which one has to fit the second too
MOST_PAIRS = 30  # of names that are held constant together
MOST_RUNS = 2000  # runs of backward for all edits of helpers
MORE_RUNS = 200  # further runs, to find other lines that may contain the mistake
MOST_TRIED, LEAST_TRIED = 2000, 150  # edits of the target's line, or of all helpers; edits of each helper
MOST_SECONDS = 5.0  # of processor time, for all edits of one target of one rank
EDITS_PER_LOOK = 32  # edits between two looks at the clock, because process_time is slow on some systems
MOST_IN_A_FRACTION = 4  # a factor with a larger number in it is not shown
ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # the ranks of repairs
REPLACED = "name replaced"


@dataclass(frozen=True)
class Mistake:
    """A mistake that may be at the line of an Event, with its sentence.

    `expression` is a corrected expression for the line, which makes the gradient right, and `edit` is the Edit that
    produces it. Either is None if the mistake was recognised in another way. `is_whole` is True if the edit replaces
    the whole expression. `is_sure` is False if the mistake may also be in another line. `is_of_helper` is True if the
    edit replaces a name that may itself be wrong. If the sentence says that the value is a multiple of the true one,
    the true one is `factor` times the value.
    """

    event: Event
    sentence: str
    expression: ast.expr | None = None
    edit: Edit | None = None
    is_whole: bool = False
    is_of_helper: bool = False
    is_sure: bool = True
    factor: float = 1.0


def mistakes(scene, again, target):
    """Return the simplest Mistakes that explain a wrong Target, one for each line.

    If one change explains the Target, but only at lines of its helpers, a missing factor in another line counts as
    equally simple. `again()` returns the Scenes of other draws.
    """
    bench, event = Workbench(scene, target), target.event
    site = scene.site(event)
    called = site.value if site.value is not None else site.statement
    others = functools.cache(lambda: _benches(again(), target))
    within = bench.wrong_within(called)
    within = [name for name in within if all(name in other.wrong_within(called) for other in others())]
    if within:
        return [Mistake(event, f"the mistake is within {joined(within)}, which the line calls")]
    if bench.value is None or not is_real_array(bench.value):
        return []
    if not np.all(np.isfinite(bench.value)):
        at = f"{np.sum(~np.isfinite(bench.value))} of {np.size(bench.value)} entries"
        return [Mistake(event, f"it is not finite at {at}", is_sure=False)]
    if not np.any(bench.value):
        return [Mistake(event, "it is zero", is_sure=False)]
    for search in SEARCHES:
        found = _verified(bench, others, search, search(bench))
        if search is one_change and found and all(mistake.event.key != event.key for mistake in found):
            more = _verified(bench, others, one_factor, _fitting(FACTOR, bench, scene.runs + MORE_RUNS))
            found += [m for m in more if m.event.key not in {mistake.event.key for mistake in found}]
        if found:
            return found
    return []


def _benches(scenes, target):
    """Return a Workbench for a Target in each Scene that has it, or none if a Scene is missing."""
    twins = [(scene, scene.twin_of(target)) for scene in scenes] if None not in scenes else []
    return [Workbench(scene, twin) for scene, twin in twins if twin is not None]


def _verified(bench, others, search, found):
    """Return the Mistakes of a search that also hold on the other draws, at most one for each line."""
    verified = {}
    for mistake in found:
        is_all = mistake.expression is not None and bench.solves(mistake.event, mistake.expression)
        if others() and all(_holds(other, search, mistake, is_all) for other in others()):
            verified.setdefault(mistake.event.key, []).append(mistake)
    return list(map(_joined, verified.values()))


def _holds(bench, search, mistake, is_all):
    """Return True if a Mistake holds on another bench.

    With `is_all`, its edit must also make the gradient of every input right without other replacements.
    """
    if mistake.expression is None:
        if not is_real_array(bench.value) or not np.any(bench.value):
            return False
        alike = [m for m in search(bench) if (m.event.key, m.sentence) == (mistake.event.key, mistake.sentence)]
        return any(np.isclose(m.factor, mistake.factor) for m in alike)
    events = [event for event in bench.lines() if event.key == mistake.event.key]
    fits = bool(events) and bench.fits(events[0], mistake.expression)
    return fits and (not is_all or bench.solves(events[0], mistake.expression))


def _joined(found):
    """Combine the Mistakes of a line that no draw distinguishes into one.

    If two differ in a single name, the sentence contains both names.
    """
    first, *others = found
    for other in others:
        holes = _holes_that_differ(first.edit, other.edit)
        if len(holes) == 1:
            either = " or ".join(ast.unparse(mistake.edit.bound[holes[0]]) for mistake in (first, other))
            edit = replace(first.edit, bound=first.edit.bound | {holes[0]: either})
            return replace(first, edit=edit, sentence=edit.sentence(Reader(), first.is_whole))
    return first


def _holes_that_differ(a, b):
    """Return the holes in which two Edits of one row and place differ, if they hold names."""
    if a is None or b is None or (a.row, a.old) != (b.row, b.old):
        return []
    holes = [hole for hole in a.row.answer if not same(a.bound[hole], b.bound[hole])]
    return holes if all(isinstance(edit.bound[hole], ast.Name) for hole in holes for edit in (a, b)) else []


# The searches: each returns the Mistakes that explain the Target of a bench on one draw


def _fitting(rank, bench, most_runs=MOST_RUNS):
    """Return the edits of a rank that fit: those at the Target's line first, then those at its helpers.

    At most MOST_FITTING edits of each line are returned, the simplest first. With the rank FUNCTION or TERM, the search
    ends after the first line with an edit that fits.
    """
    found, end, lines = [], time.process_time() + MOST_SECONDS, bench.lines()
    helpers = {bench.scene.name(e) for e in bench.helpers()}
    for event in lines:
        expression, here, is_own = bench.expression(event), [], event is bench.target.event
        if expression is None:
            continue
        names = Names(bench.names(event), names_read(expression), helpers, is_gradient)
        most = MOST_TRIED if is_own else max(MOST_TRIED // len(lines), LEAST_TRIED)
        for number, (edit, repaired, is_whole) in enumerate(itertools.islice(repairs(expression, names, rank), most)):
            is_over = bench.scene.runs >= min(most_runs, MOST_RUNS) and not is_own
            is_late = number % EDITS_PER_LOOK == 0 and time.process_time() > end
            if is_over or is_late or len(here) == MOST_FITTING:
                break
            if bench.fits(event, repaired):
                of_helper = edit.row.kind == REPLACED and getattr(edit.old, "id", "") in helpers
                sentence = edit.sentence(Reader(), is_whole)
                here.append(Mistake(event, sentence, repaired, edit, is_whole, of_helper))
        found += here
        if here and rank in (FUNCTION, TERM):
            break
    return found


def _missing_path(bench):
    """Recognise a gradient that lacks a path.

    x reaches y directly, and through other names computed from it. If such a name is held constant while x is
    perturbed, the result is the gradient along all other paths. If the line computes that, it lacks the path through
    this name.
    """
    scene, at = bench.scene, bench.target.at
    of = scene.run.arguments[at].name if isinstance(at, int) else at and scene.sites[at[0]].name
    single = {n: held[0] for n, held in scene.names.items() if len(held) == 1 and is_real_array(held[0].value)}
    later = {n: e for n, e in single.items() if n != of and e.live is not scene.output}

    def is_gradient_without(names, value):
        held = {later[name].key: later[name].value for name in names}
        return bool(held) and scene.truth.is_gradient(value, at, bench.target.array, held)

    if at is None:
        return []
    sentence, covered, rest = "", _covered(bench, later), bench.truth - bench.value
    pairs = itertools.islice(itertools.combinations(later, 2), MOST_PAIRS)
    for names in (*((name,) for name in later), *pairs):
        if is_gradient_without(names, bench.value):
            path = "path" if len(names) == 1 else "paths"
            verb = "is" if len(names) == 1 else "are"
            sentence = f"the {path} from {of} to the output through {joined(names)} {verb} missing"
            break
    if not sentence and np.any(rest) and is_gradient_without(covered, rest):
        sentence = f"{of} reaches the output on another path than through {joined(covered)}, and that is missing"
    return [Mistake(bench.target.event, sentence, is_sure=False)] if sentence else []


def _covered(bench, names):
    """Return the names whose gradient or backward pass the line uses."""
    scene, event = bench.scene, bench.target.event
    covered = [of for n in scene.reads.names(event) for of in gradient_of(n) if of in names]
    for name in names_read(scene.site(event).statement):
        made = [scene.site(e).statement for e in scene.names.get(name, ()) if callable(e.live)]
        covered += [n for n, e in names.items() if any(scene.site(e).statement is statement for statement in made)]
    return list(dict.fromkeys(covered))


def _scaled(bench):
    """Recognise a value that is a multiple of the true one. A factor that is a simple fraction is named."""
    value, truth = bench.value, bench.truth
    if bench.expression(bench.target.event) is None:
        return []
    factor = float(np.sum(value * truth) / np.sum(value * value))
    if not factor or not bench.scene.truth.same(factor * value, truth, bench.target.array):
        return []
    fraction = Fraction(1 / factor).limit_denominator(MOST_IN_A_FRACTION)
    is_simple = abs(fraction.numerator) <= MOST_IN_A_FRACTION and abs(1 / factor - fraction) <= 1e-9
    sentence = f"it is {fraction} times the correct gradient" if is_simple else "it is off by a constant factor"
    return [Mistake(bench.target.event, sentence, is_sure=False, factor=factor)]


def _left_out(bench):
    """Recognise a gradient that lacks a term which backward computes but does not use."""
    scene, reads, own = bench.scene, bench.scene.reads, bench.target.event
    read = {e.key for before in reads.before.values() for e in before}
    place = {event.key: i for i, event in enumerate(scene.plain.events)}
    for event in bench.base.events:
        is_unread = scene.site(event).kind == "backward" and event.key not in read and event.key != own.key
        if not is_unread or not is_gradient(scene.name(event)) or np.shape(event.value) != np.shape(bench.value):
            continue
        if scene.truth.same(bench.value + event.value, bench.truth, bench.target.array):
            where, name = own, scene.name(event)
            if place[event.key] > place[own.key]:
                where = next((e for e in scene.plain.events if own in reads.before[e.key]), own)
            is_own = scene.name(own) == name
            sentence = f"the earlier value of {name} is left out" if is_own else f"{name} is computed and left out"
            return [Mistake(where, sentence)]
    return []


def _scattered(bench):
    """Find a write to repeated indices, such as `a[ids] = b` and `a[ids] += b`."""
    event = bench.target.event
    statement = bench.scene.site(event).statement
    target = (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name):
        return []
    if any(isinstance(n, ast.Slice) for n in ast.walk(target.slice)):
        return []
    call = ast.Call(ast.Name(SCATTER, ast.Load()), [target.value, target.slice, statement.value], [])
    sentence = f"places of {target.value.id} that come twice get one of their gradients, not the sum"
    return [Mistake(event, sentence, call)] if bench.fits(event, call) else []


one_change, one_factor = functools.partial(_fitting, ANOTHER), functools.partial(_fitting, FACTOR)
one_function, one_term = functools.partial(_fitting, FUNCTION), functools.partial(_fitting, TERM)
SEARCHES = (_left_out, one_change, _scattered, _missing_path, one_factor, _scaled, one_function, one_term)


def repaired_statement(site, expression):
    """Return the text of a Site's statement with another expression, or "" if there is none."""
    statement = site.statement
    if expression is None or site.value is None:
        return ""
    if isinstance(expression, ast.Call) and getattr(expression.func, "id", "") == SCATTER:
        return f"np.add.at({', '.join(map(ast.unparse, expression.args))})"
    if isinstance(statement, ast.AugAssign):
        return f"{ast.unparse(statement.target)} = {ast.unparse(expression)}"
    return ast.unparse(exchanged(statement, site.value, expression))
