"""A case on which something is wrong, and how it is said: the contract, the line, the gradient, the numbers."""

import re
from functools import partial

import numpy as np

from gradcheck.call import clear_gradients, parameters_of
from minitransformer.learn.equations import NO_WORDS, rows_by_gradients, rows_by_steps
from minitransformer.learn.looking import looked_at
from minitransformer.learn.verdict import WRONG, Row, Verdict


class Failure:
    """A case on which something is wrong: its name, the Call, its inputs and options, and gradcheck's report.

    `others()` returns the Calls of the other cases, on which a repair has to be one as well.
    """

    def __init__(self, case, call, arguments, dy, seed, report, others):
        self.case, self.call, self.arguments, self.dy, self.seed = case, call, arguments, dy, seed
        self.report, self.others = report, others

    def look_closer(self, diagnose):
        """Look at each entry; but not of a module, which would take long, and whose lines say more."""
        if not hasattr(self.call.target, "named_parameters"):
            closer = looked_at(self.call, self.dy, self.seed, oracles=None, diagnose=diagnose)
            self.report = closer or self.report

    def verdict(self, attempt, remark) -> Verdict:
        """Say what is wrong: the contract, or the equation; and how, in the first of these words that there are.

        A mistake that the catalogue lists says what was thought, "the mean over the batch stands in place of the sum",
        where the line says what would be right; then the line; what gradcheck says of the gradient; all else that the
        numbers tell.
        """
        name, level = attempt.exercise.name, attempt.level
        if self.report.problems:
            return Verdict(name, WRONG, level, self.report.problems[0])
        of_gradients = rows_by_gradients(self, attempt.numbers)
        rows, sentences = rows_by_steps(self, attempt.numbers)
        said = {row.name: row.sentence for row in of_gradients}
        rows = in_words(rows or of_gradients, said, partial(self.by_value, attempt.exercise.name))
        return Verdict(name, WRONG, level, rows=tuple(rows), remarks=tuple(filter(None, (*sentences, remark))))

    def by_value(self, exercise: str, among) -> str:
        """Return what the catalogue says of the numbers, or nothing; `among` is its function to ask."""
        parameters = parameters_of(self.call.target)
        clear_gradients(self.call.target)
        gradients = self.call.evaluate()[1](self.dy)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        labels = [argument.label for argument in self.report.arguments]
        wrong = dict(zip(labels, gradients)) | {name: p.grad for name, p in parameters.items()}  # noqa: B905
        wrong = {name: value for name, value in wrong.items() if value is not None and np.isfinite(value).all()}
        return among(exercise, self.arguments, wrong, self.dy) or ""


def in_words(rows, said, by_value) -> list[Row]:
    """Return Rows, of which the first that is wrong says how. `said` is {gradient: gradcheck's sentence on it}."""
    from minitransformer.learn.catalogue import listed, named  # which a right gradient never needs

    for k, row in enumerate(rows):
        if row.verdict == "WRONG":
            known = by_value(listed)
            here = known if row.name in names_in(known) or not row.equation else ""
            told = (here, row.sentence, known, said.get(row.name, ""))
            if any(other.name == row.name and other.verdict == "right" for other in rows[:k]):
                told = (said.get(row.name, ""), row.sentence)  # the line is right, and not what is returned
            words = next((words for words in told if not NO_WORDS.match(words)), "") or by_value(named) or row.sentence
            words = re.sub(rf"^(?:\(\d+\) )?(?:\w+, )*{re.escape(row.name)}(?:, \w+)*: ", "", words)
            return [*rows[:k], Row(row.equation, row.name, row.verdict, words), *rows[k + 1 :]]
    return list(rows)


def names_in(sentence: str) -> set:
    """Return the names at which a sentence of the catalogue begins: `(15) dg, du: ` or none."""
    return set(re.findall(r"[^\W\d]\w*", sentence.partition(": ")[0])) if ": " in sentence else set()


def remark_on(right, wrong):
    """Say on which inputs it is right, where it is on some."""
    right = [name for name in dict.fromkeys(right) if name not in wrong]
    if not right:
        return ""
    return f"right on {'; '.join(right)}. Wrong on {'; '.join(dict.fromkeys(wrong))}"
