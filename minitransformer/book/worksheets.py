"""Create worksheets with numbers to solve by hand, and keys computed by the package."""

import math
from dataclasses import dataclass
from html import escape

import numpy as np

import gradcheck
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.derivations import EQUAL, names_of, read_derivations
from minitransformer.book.evaluation import both_sides
from minitransformer.book.pictures import board, matrix, table
from minitransformer.book.problems import FORWARD_ALONE, LEVELS, TOPICS, WITHOUT_EQUATIONS, OddError, exactly
from minitransformer.book.run import relative_error
from minitransformer.book.symbols import texts_of
from minitransformer.book.typesetting import mathml, name_set

TRIES, SAME = 200, 1e-9  # most draws in a row without a new sheet; largest error of an answer that counts as unchanged


@dataclass(frozen=True)
class Sheet:
    given: dict  # {name: array} of the given arrays
    asked: list  # (Statement, answer) for each question
    mistakes: list  # (Mistake, wrong answer) for each classic mistake


def sheets(topic, *, seed: int, level: int, count: int) -> list[Sheet]:
    """Draw `count` different worksheets of a topic. Raises ValueError if there are fewer."""
    rng, found, seen, misses = np.random.default_rng(seed), [], set(), 0
    while len(found) < count:
        if misses == TRIES:
            raise ValueError(f"{topic.title}: level {level} has only {len(found)} different worksheets, not {count}")
        misses += 1
        try:
            specimen, given = topic.draw(rng, 1 if level == FORWARD_ALONE else 2, level)
            if level == FORWARD_ALONE:
                given = {name: array for name, array in given.items() if not name.startswith("d")}
            numbers = tuple(array.tobytes() for array in given.values())
            if numbers not in seen:
                found.append(worked_out(topic, specimen, given, level))
                seen.add(numbers)
                misses = 0
        except OddError:
            continue
    return found


def worked_out(topic, specimen, given, level):
    derivations = read_derivations(PACKAGE / topic.file, [specimen])
    statements, (run,) = derivations.statements, derivations.runs
    asked = [(s, np.asarray(s.value)) for s in statements if s.number and s.shown_on]
    asked = [(s, value) for s, value in asked if given.keys().isdisjoint(texts_of(s.equation.sides[0]))]
    if any(s.verdict != EQUAL for s, _ in asked):
        raise ValueError(f"{topic.title}: an equation differs from its line")
    if level == FORWARD_ALONE:
        asked = [(s, value) for s, value in asked if not s.is_of_gradient]
    for _, value in asked:
        for entry in np.ravel(value):
            exactly(entry)
    if specimen.dy is not None and level != FORWARD_ALONE:
        gradcheck.check(specimen.call, *specimen.inputs, **specimen.options)
    numbers, mistakes = {s.number for s, _ in asked}, []
    for mistake in (mistake for mistake in topic.mistakes if mistake.number in numbers):
        left, right = mistake.equation.sides
        answer, wrong = both_sides(left, right, run.scope)
        if relative_error(answer, wrong) < SAME:
            raise OddError(f"{mistake.sentence} This does not change an answer.")
        mistakes.append((mistake, wrong.reshape(np.shape(run.values[texts_of(left)[-1]]))))
    return Sheet(given, asked, mistakes)


def worksheet_page(topic, made, *, seed, level, answers) -> list:
    body = []
    for k, sheet in enumerate(made, start=1):
        statements = [statement for statement, _ in sheet.asked]
        given, rows, names = given_and_asked(sheet, level, answers)
        kind, said = "Key" if answers else "Worksheet", topic.names
        said += f" {topic.gradients}" * (level != FORWARD_ALONE)
        number = f" {k} of {len(made)}" if len(made) > 1 else ""
        size = f"{sum(map(points, statements))} points, about {minutes(sheet)} minutes"
        body.append(
            f'<section class="sheet{" to-do" * (not answers)}"><h1>{escape(topic.title)}</h1>'
            f"<p>{kind}{number}: {LEVELS[level]} (seed {seed}), {size}. {escape(said)}</p><p>Given</p>{given}"
            f"<p>find</p>{rows}{classic_mistakes(sheet, names) * answers}</section>"
        )
    return body


def given_and_asked(sheet, level, answers):
    names = names_of([statement for statement, _ in sheet.asked])
    given = board(
        matrix(name_set(name, names, after="="), array, way="", show=written) for name, array in sheet.given.items()
    )
    return given, "".join(question(s, value, names, level, answers) for s, value in sheet.asked), names


def small_example(file) -> list:
    for name, topic in TOPICS.items():
        if topic.file == file:
            given, rows, _ = given_and_asked(sheets(topic, seed=0, level=2, count=1)[0], 2, answers=True)
            return [
                f'<section class="example"><h2>A small example</h2><p>{escape(f"{topic.names} {topic.gradients}")}</p>'
                f'<p>Given</p>{given}<p>the equations give</p><div class="rows scroll" tabindex="0">'
                f"{rows}</div><p>The same with other "
                f"numbers, to fill in: <code>minitransformer book --worksheet {name} --seed 1</code>.</p></section>",
            ]
    return []


def points(statement):
    return 1 + statement.is_of_gradient


def minutes(sheet):
    """Estimate the time for a sheet in minutes: one for each equation, and a quarter for each number."""
    return 5 * math.ceil(sum(1 + np.size(value) / 4 for _, value in sheet.asked) / 5)


def classic_mistakes(sheet, names):
    rows = [
        (
            f"({m.number}) {mathml(m.equation, names, display=False)}",
            matrix("", wrong, way="", show=written),
            escape(m.sentence),
        )
        for m, wrong in sheet.mistakes
    ]
    return f"<h2>Numbers of classic mistakes</h2>{table('wrong equation | its numbers | mistake', rows)}"


def question(statement, value, names, level, answers):
    hint = mathml(statement.equation, names, only_left=level == WITHOUT_EQUATIONS)
    cells = matrix("", value, way="", show=written if answers else lambda entry: "", kind="to-write" * (not answers))
    number = f'<span class="number">({statement.number}) <i>{"●" * points(statement)}</i></span>'
    return f'<div class="ask"><div tabindex="0">{hint}</div>{cells}{number}</div>'


def written(entry):
    try:
        return ("no", "yes")[int(entry)] if isinstance(entry, np.bool_) else exactly(entry)
    except OddError:  # the result of a mistake
        return f"{entry:.3f}".replace("-", "−")
