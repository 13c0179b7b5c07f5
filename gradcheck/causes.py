"""Explain a wrong gradient with a sentence about its values and a table of the lines of its backward pass.

`check` computes the explanation before it raises. The sentence is the result of a comparison of the wrong gradient with
the true one (gradcheck/diagnosis). The lines are found by running forward and backward again with probes
(gradcheck/lines). Both run the user's function many times, so they share a time limit, the duration of the check or
LEAST seconds, whichever is longer. The limit is tested before each forward pass; a pass that has begun is not
interrupted.
"""

import time
from contextlib import suppress
from dataclasses import replace

from gradcheck.diagnosis import what_is_wrong
from gradcheck.examination import find
from gradcheck.lines import lines_beside

LEAST = 5.0  # seconds that an explanation may take after a short check


class OutOfTime(BaseException):
    """The time limit of an explanation has passed.

    This is not an Exception, because the user's function might catch an Exception.
    """


class Explanation:
    """The explanation of one failed check.

    `began` is the value of time.monotonic() at the beginning of the check. The time limit depends on it.
    """

    def __init__(self, began):
        now = time.monotonic()
        self.seconds = max(LEAST, now - began)
        self.end = now + self.seconds

    def keep(self):
        """Raise OutOfTime if the time limit has passed. Call.evaluate calls this."""
        if time.monotonic() > self.end:
            raise OutOfTime

    def with_sentences(self, examination, terms):
        """Return the report of an Examination with a diagnosis of each wrong gradient, if one is known."""
        run, arguments = examination.run, list(examination.report.arguments)
        run.call.time_limit = self
        with suppress(OutOfTime):
            sentences = what_is_wrong(run, examination.step, examination.findings, lambda other: find(other, terms)[:2])
            for i, sentence in enumerate(sentences):
                arguments[i] = replace(arguments[i], diagnosis=sentence)
        return replace(examination.report, arguments=tuple(arguments))

    def lines(self, report, call, dy, seed, randomize):
        """Return the table of the lines of backward as lines of text.

        The list is empty if no line is known to be wrong, or if the lines cannot be examined. If the examination raises
        another error, the list contains one line that names the error, so that the report itself is still printed.
        """
        call.time_limit = self
        try:
            found = lines_beside(report, call, dy=dy, seed=seed, randomize=randomize)
        except (TypeError, ValueError):
            return []
        except OutOfTime:
            return [
                f"(the explanation is incomplete: it stopped after {self.seconds:.0f} s; "
                "gradcheck.steps has no time limit, and smaller arrays need less time)"
            ]
        except Exception as error:
            message = " ".join(str(error).split())
            return [f"(the lines of backward could not be examined: {type(error).__name__}: {message})"]
        return str(found).split("\n") if found is not None and found.first_wrong else []
