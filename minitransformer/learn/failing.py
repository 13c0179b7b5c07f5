"""Describe the mistake in a failing case: a breach of the contract, a wrong line, or a wrong gradient."""

import re
from functools import partial

import numpy as np

from gradcheck import clear_gradients, parameters_of
from gradcheck.mistakes import Student
from minitransformer.learn.equations import NO_WORDS, rows_by_gradients, rows_by_steps
from minitransformer.learn.looking import cotangent, looked_at
from minitransformer.learn.naming.glossary import glossary_of
from minitransformer.learn.verdict import WRONG, Row, Verdict


class Failure:
    """A failing case: its name, the Call, its inputs and options, and gradcheck's report.

    `others()` returns (Call, inputs and options) of further cases. A repair of the mistake must hold on all of them.
    """

    def __init__(self, case, call, arguments, dy, seed, report, others):
        self.case, self.call, self.arguments, self.dy, self.seed = case, call, arguments, dy, seed
        self.report, self.others = report, others

    def look_closer(self, explain):
        """Check the gradients entry by entry, except for modules.

        For a module this would be slow, and the verdicts on its lines are more precise.
        """
        if not hasattr(self.call.target, "named_parameters"):
            closer = looked_at(self.call, self.dy, self.seed, oracles=None, explain=explain, lines=False)
            self.report = closer or self.report

    def verdict(self, attempt, remark) -> Verdict:
        """Return the Verdict without an explanation.

        It lists the breach of contract or the wrong gradients.
        """
        name, level = attempt.exercise.name, attempt.level
        if self.report.problems:
            return Verdict(name, WRONG, level, self.report.problems[0])
        rows = tuple(rows_by_gradients(self, attempt.numbers))
        return Verdict(name, WRONG, level, rows=rows, remarks=tuple(filter(None, [remark])))

    def explained(self, attempt, remark) -> Verdict:
        """Explain the breach of contract or the first wrong line in a Verdict.

        The sentence on that line is the first available of these: a typical mistake of learners, the verified repair of
        the line, a mistake planted in the textbook's line, and gradcheck's sentence on the gradient.
        """
        name, level = attempt.exercise.name, attempt.level
        if self.report.problems:
            return self.verdict(attempt, remark)
        student = Student(attempt.path.read_text("utf-8"), glossary_of(name))
        of_gradients = rows_by_gradients(self, attempt.numbers)
        rows, sentences = rows_by_steps(self, attempt.numbers, student)
        said = {row.name: row.sentence for row in of_gradients}
        rows = in_words(rows or of_gradients, said, partial(self.by_value, name, student))
        names = {row.name for row in rows}  # a right gradient may have another name in the code
        rows += [r for r in of_gradients if r.equation and r.verdict == "right" and r.name not in names]
        return Verdict(name, WRONG, level, rows=tuple(rows), remarks=tuple(filter(None, (*sentences, remark))))

    def by_value(self, exercise: str, student, *, planted) -> list[str]:
        """Return sentences on mistakes that reproduce the learner's numbers.

        The mistakes are typical ones of learners or, if `planted`, those planted in the textbook's lines.
        """
        from minitransformer.learn.naming import named  # slow to import, and only needed for a wrong gradient

        labels = [argument.label for argument in self.report.arguments]
        draws = [(self.arguments, gradients_of(self.call, self.dy, labels), self.dy)]
        for call, arguments in self.others():
            try:
                dy = cotangent(call, self.seed)
                draws.append((arguments, gradients_of(call, dy, labels), dy))
            except Exception:  # the learner's code raises on this case, which then cannot be compared
                continue
        return named(exercise, draws, student, planted=planted)


def gradients_of(call, dy, labels) -> dict:
    """Return {name: gradient} of the finite gradients of a Call.

    The names of parameters are dotted.
    """
    parameters = parameters_of(call.target)
    clear_gradients(call.target)
    gradients = call.evaluate()[1](dy)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    found = dict(zip(labels, gradients)) | {name: p.grad for name, p in parameters.items()}  # noqa: B905
    return {name: value for name, value in found.items() if value is not None and np.isfinite(value).all()}


def in_words(rows, said, by_value) -> list[Row]:
    """Return the Rows, with a sentence on the mistake in the first wrong one.

    `said` is {gradient: gradcheck's sentence on it}. See Failure.explained for the order of preference.
    """
    for k, row in enumerate(rows):
        if row.verdict == "WRONG":
            told = [row.sentence, said.get(row.name, "")]
            is_line_right = any(other.name == row.name and other.verdict == "right" for other in rows[:k])
            if is_line_right:  # the mistake is in the order of the gradients that are returned
                told.reverse()
            known = [] if is_line_right else by_value(planted=False)
            words = [sentence for sentence in known if row.name in names_in(sentence) or not names_in(sentence)]
            words = next((sentence for sentence in (*words, *told) if not NO_WORDS.match(sentence)), "")
            words = words or next(iter((*known, *by_value(planted=True))), row.sentence)
            words = re.sub(rf"^(?:\(\d+\) )?(?:\w+, )*{re.escape(row.name)}(?:, \w+)*: ", "", words)
            words = re.sub(rf"^{re.escape(row.name)} (?=does )", "it ", words)
            return [*rows[:k], Row(row.equation, row.name, row.verdict, words), *rows[k + 1 :]]
    return list(rows)


def names_in(sentence: str) -> set:
    """Return the names before the first colon of a sentence such as `(15) dg, du: …`."""
    return set(re.findall(r"[^\W\d]\w*", sentence.partition(": ")[0])) if ": " in sentence else set()


def remark_on(right, wrong):
    """Return a remark that lists right and wrong cases, or "" if none is right."""
    right = [name for name in dict.fromkeys(right) if name not in wrong]
    if not right:
        return ""
    return f"right on {'; '.join(right)}. Wrong on {'; '.join(dict.fromkeys(wrong))}"
