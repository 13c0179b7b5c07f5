"""Judge the lines of a wrong backward pass or, if impossible, the gradients."""

import ast
import inspect
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gradcheck.front.streams import joined
from gradcheck.mistakes import KINDS, Student
from gradcheck.names import names_bound
from minitransformer.book.observation import watched
from minitransformer.learn.credit import adapted, gradients_in, is_equal
from minitransformer.learn.cutting import blanks, cut, functions_within
from minitransformer.learn.loading import cotangent, loaded
from minitransformer.learn.questions import described
from minitransformer.learn.verdict import BLANK, FOLLOWS, RIGHT, WRONG_LINE, Row, Verdict
from minitransformer.learn.watched import unwatched

RAISED = "exception raised"  # kind of a line with whose value a later line raises an exception
NOT_RETURNED = "not returned"  # kind of a right value that backward does not return, or not in its place
IS_LIST = "not an array"  # kind of a line whose value is a list, for which a later line or the grader has no use
DRAWS = 8  # random examples from which that with the clearest numbers is chosen
CLEAR = 0.05  # relative difference that shows in three digits
TOLERANCE = 1e-6  # smaller differences are those of rounding
VALUE = "value_of_the_textbook"  # beginning of a variable's name


def equation_numbers(exercise) -> dict:
    """Return {name: number of its equation} for the values that an exercise asks for."""
    text, found = cut(exercise, 0), {}
    for line, names in blanks(ast.parse(text)):
        _, _, number = text.split("\n")[line - 1].rpartition("#")
        if re.match(r" \(\d", number) and names != "return":
            asked = (name for name in names.split(", ") if name not in ("_", "*_", "backward"))
            found |= dict.fromkeys(asked, number.strip())
    return found


def worth_of(exercise) -> float:
    """Return the points for a complete solution."""
    return float(getattr(exercise, "about", {}).get("points", len(equation_numbers(exercise)) or 1))


def blank_rows(exercise, left) -> tuple:
    numbers = equation_numbers(exercise)
    nameless = "..." if "" in numbers else exercise.target if exercise.is_value else "backward"
    rows = []
    for line, names in left:
        named = (name or nameless for name in names.split(", ") if name not in ("_", "*_"))
        rows += [Row(numbers.get(name, ""), name, BLANK, f"line {line}") for name in named]
    return tuple(rows)


def rows_by_gradients(report, numbers) -> list[Row]:
    rows = []
    for a in report.arguments:
        counted = f"{a.disagree} of {a.entries} entries are wrong" if a.disagree else ""
        words = "" if a.is_right else a.diagnosis or counted or a.doubt or "its entries are wrong"
        verdict = RIGHT if a.is_right else WRONG_LINE
        rows.append(Row(numbers.get(a.label, ""), a.label, verdict, words, a.kind))
    order = [*numbers, *(row.name for row in rows)]
    return sorted(rows, key=lambda row: order.index(row.name))


def rows_by_steps(attempt, failure):
    """Judge each line of a backward pass, and return a list of Rows and the remarks.

    `attempt` is the test of the learner's function, and `failure` its first failed case. The list is empty if the lines
    cannot be judged.
    """
    from gradcheck import steps_of_call  # only needed for a wrong gradient
    from minitransformer.learn.vocabulary import component_of, glossary_of

    exercise, path = attempt.exercise, attempt.path
    options = {"others": attempt.others(failure.case), "file": str(path), "component": component_of(exercise)}
    try:
        report = steps_of_call(failure.call, seed=failure.seed, dy=failure.dy, report=failure.report, **options)
    except (TypeError, ValueError):
        return [], ()
    rows, text = [], path.read_text("utf-8")
    student, names = Student(text, glossary_of(exercise.name)), set(re.findall(r"\w+", text))
    others = equation_numbers(exercise).keys() - names  # names that the student does not know
    for row in report.rows if report.first_wrong is not None else ():
        edit = row.edit  # the student does not see the repaired code
        words = row.sentence if edit is None else (edit.sentence(student) or KINDS[row.kind].sentence) + row.also
        if row.kind and not others.isdisjoint(re.findall(r"\w+", words)):
            words = KINDS[row.kind].sentence
        if row.verdict == WRONG_LINE and not row.kind:
            words = by_numbers(attempt, failure, row.name, row is report.first_wrong) or words
        if row.is_compared:
            equation = row.equation or attempt.numbers.get(row.name, "")
            rows.append(Row(equation, row.name, row.verdict, words, row.kind, row.origins))
    of_names = [row for row in rows if not row.name.endswith(".grad")]
    remarks = report.remarks if report.has_second_mistake else ()
    return of_names if any(row.verdict == WRONG_LINE for row in of_names) else rows, remarks


def by_numbers(attempt, failure, name, is_first) -> str:
    """Compare a value of a learner's backward pass with the textbook's value of this name, or of this gradient.

    The value is that of the variable `name`. For the first wrong line, it is the first wrong value among those of
    numbered lines and of others whose textbook value makes another gradient right. Returns a sentence on the shapes or,
    if they agree, on 2 × 2 entries among which is the largest difference. It is "" if there is no such value.
    """
    exercise = attempt.exercise
    (case,) = (case for case in exercise.cases() if case.name == failure.case)
    labels = [a.label for a in failure.report.arguments if not a.label.endswith(".grad")]
    (gradients, own_names, _), (true_gradients, names, _) = both_values(attempt, case, failure.seed, failure.dy)
    results = dict(zip(labels, gradients, strict=False))
    own_names = {one: numbers_of(value) for one, value in (own_names | results | own_names).items()}  # as assigned

    def right_with(values):
        found = run_with(attempt, case, failure.dy, values, failure.seed).gradients
        return sum(map(is_equal, map(numbers_of, found), true_gradients))

    true_names = {one: value for one, value in names.items() if one in own_names and is_first}
    numbered = equation_numbers(exercise)
    for one, own in own_names.items():
        true = numbers_of(true_names.get(one))
        is_wrong = own is not None and true is not None and not is_equal(own, true)
        if is_wrong and (one in numbered or right_with({one: true}) > right_with({})):
            name = one
            break
    own = own_names.get(name)
    gradient = next((label for label in results if own is not None and own_names[label] is own), name)
    true = numbers_of(names.get(name, names.get(gradient)))
    if own is None or true is None:
        return ""
    if own.shape != true.shape:
        return f"{name} has shape {own.shape}, and should have {true.shape}"
    if own.ndim == 0:
        return f"{name} is {own:.4g}, and should be {true:.4g}"
    at = np.unravel_index(np.argmax(np.abs(own - true)), own.shape)
    most = len(at) - 2  # axes of which a single entry is shown
    part = tuple(int(i) if axis < most else slice(max(i - 1, 0), max(i - 1, 0) + 2) for axis, i in enumerate(at))
    where = ", ".join(str(one) if isinstance(one, int) else f"{one.start}:{one.stop}" for one in part)
    shown = [" ".join(np.array2string(value[part], precision=3).split()) for value in (own, true)]
    return f"{name}[{where}] is {shown[0]}, and should be {shown[1]}"


def rows_by_shapes(attempt, wrong) -> tuple:
    """Return a Row for each of the wrong values, by name, that has another shape than in the textbook."""
    case = attempt.exercise.cases()[0]
    (_, own, _), (_, true, _) = both_values(attempt, case, 0, cotangent_of(attempt, case))
    return tuple(row for name in wrong if (row := row_of_form(attempt.exercise, name, own.get(name), true.get(name))))


def rows_by_form(attempt) -> tuple:
    """Return a Row for each list, or array of another shape, that makes the code raise or return the wrong form.

    The line that raises is often right, and a line before it has lost an axis. It is verified that the textbook's
    values in place of these correct the form of the gradients. The last rows are lists among the returned gradients.
    """
    text = attempt.path.read_text("utf-8")
    backwards = (function for function in functions_within(ast.parse(text)) if function.name == "backward")
    order = names_bound(*(statement for function in backwards for statement in function.body))
    for case in attempt.exercise.cases():
        dy = cotangent_of(attempt, case)
        own, true = both_values(attempt, case, 0, dy)
        left, rows, put = malformed(own, true), [], {}
        for name in sorted(own.names.keys() & true.names.keys() & order.keys(), key=order.get) if left else ():
            row = row_of_form(attempt.exercise, name, own.names[name], true.names[name])
            tried = put | {name: true.names[name]}
            if row and left > (now := malformed(run_with(attempt, case, dy, tried), true)):
                rows, left, put = [*rows, replace(row, kind=row.kind or RAISED)], now, tried
        at = zip(labels_of(attempt.call(case, 0)), own.gradients, true.gradients, strict=False)
        of_gradients = (row_of_form(attempt.exercise, *one) for k, one in enumerate(at) if k in left)
        rows += [row for row in of_gradients if row and row.kind == IS_LIST]
        if rows or left:
            return tuple(rows)
    return ()


def malformed(own, true) -> set[int]:
    """Return the positions of a learner's gradients that are not arrays of the right shapes. -1 is an exception."""
    if own.error:
        return {*range(-1, len(true.gradients))}
    if len(own.gradients) != len(true.gradients):
        return set()
    pairs = enumerate(zip(own.gradients, true.gradients, strict=True))
    return {k for k, (g, t) in pairs if not is_array(g) or np.shape(g) != np.shape(t)}


def labels_of(call) -> list[str]:
    """Return the names of the gradients that a call's backward returns, in order."""
    return [f"d{call.input_names()[k]}" for k in call.differentiable()]


def cotangent_of(attempt, case) -> np.ndarray:
    with unwatched():
        return cotangent(attempt.call(case, 0, adapted(attempt.exercise)), 0)


def row_of_form(exercise, name, own, true) -> Row | None:
    number = equation_numbers(exercise).get(name, "")
    if not is_array(true) or (not is_array(own) and not isinstance(own, list)):
        return None
    if isinstance(own, list):
        expected = f"an array of shape {np.shape(true)}" if np.ndim(true) else "a number"
        words = f"{name} is {described(own)}, where {expected} is expected"
        return Row(number, name, WRONG_LINE, words, IS_LIST)
    words = f"{name} has shape {np.shape(own)}, and should have {np.shape(true)}"
    return Row(number, name, WRONG_LINE, words) if np.shape(own) != np.shape(true) else None


class WithValues(ast.NodeTransformer):
    """Assign the variable VALUE_name to each of some names, after each of its assignments."""

    def __init__(self, names):
        self.names = names

    def visit_Assign(self, node):
        names = self.names & names_bound(*node.targets).keys()
        return [node, *ast.parse("\n".join(f"{name} = {VALUE}_{name}" for name in names)).body]


class Run(NamedTuple):
    """The result of one run of backward."""

    gradients: list
    names: dict  # {name: value} of its local variables; before the exception if there is one
    error: BaseException | None = None  # of the learner's function


def run_with(attempt, case, dy, values, seed=0) -> Run:
    """Run a learner's function, with other values in place of those of some variables of backward, by name."""
    tree = ast.parse(attempt.path.read_text("utf-8"))
    tree = ast.fix_missing_locations(WithValues(values.keys()).visit(tree))
    module = loaded(attempt.path, ast.unparse(tree))
    vars(module).update({f"{VALUE}_{name}": value for name, value in values.items()})
    return run(attempt, case, seed, dy, vars(module)[attempt.exercise.target], attempt.path)


def both_values(attempt, case, seed, dy) -> tuple[Run, Run]:
    """Run a learner's function and the textbook's."""
    source = inspect.getfile(inspect.unwrap(attempt.exercise.reference))
    own = run(attempt, case, seed, dy, None, attempt.path)
    with unwatched():
        return own, run(attempt, case, seed, dy, adapted(attempt.exercise), source)


def run(attempt, case, seed, dy, target, file) -> Run:
    gradients, error = [], None
    with watched(file) as frames:
        try:
            _, backward = attempt.call(case, seed, target).evaluate()
            gradients = gradients_in(backward(dy.copy()))
        except TimeoutError:
            raise
        except (Exception, SystemExit) as raised:
            error = raised
    names = [some[-1].names for function, some in frames.items() if function.endswith(".backward")]
    return Run(gradients, names[-1] if names else {}, error)


def small_numbers(attempt) -> dict:
    """Return the values of the numbered lines on a small example.

    "example" says which case it is. "given" has the "name" and "values" of each input and of dy. "numbers" has for each
    line the "name", "yours" and "right". Of each array there are at most 4 x 5 entries. "yours" is a sentence if the
    learner's backward has no array of this name. It is the first of DRAWS examples on which the difference of the first
    wrong line is clear, or else largest, because a small x hides that sin(x) stands for x.
    """
    calls = [(case, attempt.call(case, 0)) for case in attempt.exercise.cases()]
    case, call = min(calls, key=lambda pair: sum(np.size(value) for value in pair[1].inputs))
    labels = labels_of(call)
    asked, draws = [name for name in equation_numbers(attempt.exercise) if name], []
    for seed in range(DRAWS):
        dy = cotangent(attempt.call(case, seed), seed)
        (mine, own, _), (theirs, names, _) = both_values(attempt, case, seed, dy)
        upstream = next(iter(names), "dy")  # the argument of backward
        if not asked:
            own, names = (dict(zip(labels, gradients, strict=False)) for gradients in (mine, theirs))
        true = {name: value for name in (asked or labels) if (value := numbers_of(names.get(name))) is not None}
        pairs = ((numbers_of(own.get(name)), value) for name, value in true.items())
        differences = (difference(mine, value) for mine, value in pairs if mine is not None)
        draws.append((next((one for one in differences if one > TOLERANCE), 0), seed, dy, own, true, names))
    clear = (draw for draw in draws if draw[0] > CLEAR)
    _, seed, dy, own, true, names = next(clear, max(draws, key=lambda draw: (draw[0], -draw[1])))
    call = attempt.call(case, seed)
    inputs = dict(zip(call.input_names(), call.inputs, strict=False)) | {upstream: dy}
    given = {name: value for name, one in inputs.items() if (value := numbers_of(one)) is not None}
    shapes = [f"{name} {value.shape or ''}".strip() for name, value in given.items() if name != upstream]
    return {
        "example": f"{case.name}, with random {joined(shapes)}; at most 4 x 5 entries of each array",
        "given": [{"name": name, "values": corner(value)} for name, value in given.items()],
        "numbers": [
            {"name": name, "yours": shown(own.get(name), names[name]), "right": corner(value)}
            for name, value in true.items()
        ],
    }


def numbers_of(value) -> np.ndarray | None:
    """Return a value as an array of numbers, or None for any other value. A list, as in `shares`, is an array too."""
    try:
        found = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return found if np.issubdtype(found.dtype, np.number) else None


def difference(own, true) -> float:
    """Return the largest difference of two arrays, in units of the largest entry of the true one."""
    if own.shape != true.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(own - true), initial=0) / max(np.max(np.abs(true), initial=0), TOLERANCE))


def shown(value, true) -> list | str:
    """Return the entries of a learner's value, or a sentence. A list has entries where the textbook's is a list."""
    if is_array(value) or (isinstance(true, list) and numbers_of(value) is not None):
        return corner(value)
    return f"{described(value)}, not an array" if isinstance(value, list) else "no array of this name"


def corner(value) -> list:
    value = np.asarray(value, np.float64)
    value = value.reshape(-1, value.shape[-1] if value.ndim else 1)[:4, :5]
    return [[None if np.isnan(entry) else float(entry) for entry in row] for row in value]


def is_array(value) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float))


def explained(attempt, failure):
    """Explain the first wrong line of a learner's function, and return a list of Rows and the remarks.

    `attempt` is the test of the function, and `failure` its first failed case. The explanation is a typical mistake of
    learners if one fits, else the verified repair of the line, else the difference that gradcheck found in the
    gradient.
    """
    rows, remarks = rows_by_steps(attempt, failure)
    wrong = {a.label for a in failure.report.arguments if not a.is_right}
    named = [row for row in rows if row.verdict == WRONG_LINE and row.kind]
    if not named or (len(wrong) > 1 and named[0].name in wrong):  # the gradients may be returned in the wrong order
        attempt.compare(failure)
    of_gradients = rows_by_gradients(failure.report, attempt.numbers)
    permuted = permuted_gradients(failure.report)
    if not rows or (permuted and permuted.isdisjoint(row.name for row in rows)):
        rows, remarks = of_gradients, ()
    wrong = [k for k, row in enumerate(rows) if row.verdict == WRONG_LINE]
    for k in wrong if permuted else wrong[:1]:
        rows[k] = in_plainer_words(rows, k, of_gradients, permuted)
    names = {row.name for row in rows}  # a right gradient may have another name in the code
    return rows + [r for r in of_gradients if r.equation and r.verdict == RIGHT and r.name not in names], remarks


def permuted_gradients(report) -> set[str]:
    """Return the names of the gradients that were returned in the wrong order.

    The set is empty if a gradient is wrong for another reason.
    """
    wrong = {a.label: a.equals for a in report.arguments if not a.is_right}
    return {*wrong} if {*wrong} == {*wrong.values()} else set()


def in_plainer_words(rows, k, of_gradients, permuted) -> Row:
    """Return row `k`, the verdict on a wrong line, with the sentence that describes the mistake best.

    This is the sentence on the gradient in `of_gradients` if the line is right or if its own sentence names no mistake.
    """
    row, beside = rows[k], [other for other in of_gradients if other.name == rows[k].name]
    is_line_right = any(other.name == row.name and other.verdict == RIGHT for other in rows[:k])
    told = [*beside, row] if permuted or is_line_right else [row, *beside]
    named = next((one for one in told if one.kind not in ("", "mistake within a call")), row)
    return replace(row, sentence=named.sentence, kind=named.kind)


def with_returns(attempt, verdict: Verdict) -> Verdict:
    """Say of each gradient that is called wrong, but whose variable is right, that it is not returned in its place.

    The variable and the returned value are those of one run, because another case may make the line wrong.
    """
    if all(row.verdict != WRONG_LINE for row in verdict.rows):
        return verdict
    case = attempt.exercise.cases()[0]
    own, true = both_values(attempt, case, 0, cotangent_of(attempt, case))
    labels = labels_of(attempt.call(case, 0))
    returned, right = (dict(zip(labels, run.gradients, strict=False)) for run in (own, true))
    is_nothing = all(gradient is None for gradient in own.gradients)  # then a variable may have another name

    def is_right(value, name):
        return is_array(value) and np.shape(value) == np.shape(right[name]) and is_equal(value, right[name])

    def judged(row):
        values = own.names.values() if is_nothing else [own.names.get(row.name)]
        is_gradient = row.verdict == WRONG_LINE and row.kind != IS_LIST and row.name in right
        is_returned = is_gradient and is_right(returned.get(row.name), row.name)
        if not is_gradient or is_returned or not any(is_right(value, row.name) for value in values):
            return row
        words = row.sentence if row.kind == "gradients exchanged" else KINDS[NOT_RETURNED].sentence
        return replace(row, sentence=words, kind=NOT_RETURNED)

    return replace(verdict, rows=tuple(map(judged, verdict.rows)))


def with_credits(verdict: Verdict, credits: dict, numbers: dict, has_equations: bool) -> Verdict:
    """Change the rows of a Verdict to agree with the points for the numbered values, some of which are lost.

    `credits` maps the names of these values to Credits, and `numbers` to equations. Without equations, no names are
    added that the learner does not know.
    """
    absent = {name for name, credit in credits.items() if not credit.is_found}
    credits = {name: credit for name, credit in credits.items() if credit.is_found}
    for name in {row.name for row in verdict.rows if row.kind in (RAISED, IS_LIST)} & credits.keys():
        credits[name] = replace(credits[name], verdict=WRONG_LINE)
        behind = [one for one, credit in credits.items() if name in credit.needs and credit.verdict == WRONG_LINE]
        credits |= {one: replace(credits[one], verdict=FOLLOWS, origins=(name,)) for one in behind}
    lost = [name for name, credit in credits.items() if credit.verdict == WRONG_LINE]
    told = numbered(verdict.rows, lost[0], numbers) if lost and has_equations else verdict.rows
    told = [without_place(row, [name for name in credits if name not in lost], numbers) for row in told]
    before: dict = {}
    for row in told:
        if row.name not in before or row.verdict == WRONG_LINE:
            before[row.name] = row
    if not any(name in before and before[name].verdict in (WRONG_LINE, BLANK) for name in lost):
        # The wrong line has right values in wrong places: an exchanged pair, or an entry of a matrix.
        misplaced = [name for name in credits if name in before and before[name].verdict == WRONG_LINE]
        credits = credits | {name: replace(credits[name], verdict=WRONG_LINE) for name in misplaced}
        if misplaced:  # and the lines that only follow from it have their points
            lost = misplaced + [name for name in lost if name not in before or before[name].verdict != FOLLOWS]
    own = next((r.name for r in told if lost and r.verdict == WRONG_LINE and r.equation == numbers[lost[0]]), "")
    own *= own not in numbers  # the learner's code has the values of the lost lines, if any, under other names
    hidden = {one for one in lost if own and (one not in before or before[one].verdict == RIGHT)}
    shown = [name for name in credits if (has_equations or name in before) and name not in hidden]
    kept = [name for name, row in before.items() if name in shown or row.verdict in (WRONG_LINE, BLANK)]
    kept = [name for name in kept if not (lost and name.endswith(".grad"))]  # a line that is shown computes it
    for name, before_it in zip(shown, ["", *shown], strict=False):  # a value without a row stands behind that before it
        if name not in kept:
            kept.insert(1 + max(kept.index(one) if one in kept else -1 for one in (before_it, own)), name)
    # A value that is lost although the true value of a line was tried does not follow from this line.
    tried = {origin for credit in credits.values() if credit.verdict == FOLLOWS for origin in credit.origins}
    wrong = [name for name, row in before.items() if row.verdict == WRONG_LINE and row.sentence and name not in tried]
    for name, credit in credits.items():
        origins = credit.origins
        if name in lost:
            origins *= bool(wrong or tried or verdict.sentence)
            origins = origins or tuple(one for one in wrong if one in credit.needs)
        credits[name] = replace(credit, origins=tuple(own if one in hidden else one for one in origins))
    rows = [row_of(name, numbers, credits[name], before.get(name)) if name in shown else before[name] for name in kept]
    earned = [name for name in credits if name not in lost and name not in absent]
    return replace(verdict, rows=tuple(rows), earned=tuple(earned[: len(numbers) - 1]))


def numbered(rows, lost, numbers) -> list[Row]:
    """Give the first wrong Row the equation of `lost`, the first value without a point, if no Row has its name.

    The value has another name in the learner's code. If the Row has the name of another numbered value, the value is a
    part of its line, and the Row gets its name too.
    """
    first = next((row for row in rows if row.verdict == WRONG_LINE), None)
    if first is None or any(row.name == lost and row.verdict != RIGHT for row in rows):
        return rows
    sentence = first.sentence.removeprefix(f"{numbers[lost]} {lost}: ")
    name = lost if first.name in numbers else first.name
    placed = replace(first, name=name, equation=numbers[lost], sentence=sentence)
    return [placed if row is first else row for row in rows]


def without_place(row, right, numbers) -> Row:
    """Remove the place before a Row's sentence, such as "(5) dscores: ", if it is that of one of the values `right`."""
    places = (f"{numbers[name]} {name}: " for name in right)
    place = next((place for place in places if row.sentence.startswith(place)), "")
    return replace(row, sentence=row.sentence.removeprefix(place))


def row_of(name, numbers, credit, before) -> Row:
    lost = (BLANK, WRONG_LINE, FOLLOWS) if credit.verdict == WRONG_LINE else (BLANK,)
    if before is not None and before.verdict in lost:
        return before
    number = numbers[name] if before is None else before.equation
    words = f"from {joined(credit.origins)}" if credit.origins else ""
    return Row(number, name, FOLLOWS if words else credit.verdict, words, origins=credit.origins)
