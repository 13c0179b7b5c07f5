"""Grade the latest text of a file while it is edited. A new request cancels the grading of the previous text."""

import contextlib
import hashlib
import threading
from functools import partial
from pathlib import Path

from minitransformer.learn.exercises import Exercise
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.planting import with_bug
from minitransformer.learn.reading import Unreadable, read_regular
from minitransformer.learn.verdict import Verdict
from minitransformer.system.processes import Lost

MOST_BYTES = 1_000_000
MOST_KEPT = 200  # verdicts on earlier texts
SECONDS, EXPLANATION = 20, 20


class Checks:
    """A thread with a warm grading process, for the exercises in `folder`.

    The verdict on a text comes in two parts for some mistakes: the rows at once, and their explanation when it is
    found. The explained verdicts on the last MOST_KEPT texts are kept.
    """

    def __init__(self, folder):
        self.folder, self.grader = Path(folder), Grader(SECONDS, EXPLANATION)
        self.changed, self.grading = threading.Condition(), threading.Lock()
        self.number = 0  # of the latest request
        self.name, self.verdict, self.is_final, self.is_closed = "", None, True, False
        self.kept: dict[tuple, Verdict] = {}
        self.thread = threading.Thread(target=self.grade, daemon=True)
        self.thread.start()

    def request(self, name: str) -> int:
        """Grade the file of an exercise as it is now. Return the number of the request."""
        with self.changed:
            self.number += 1
            self.name, self.verdict, self.is_final = name, None, False
            self.grader.cancel()
            self.changed.notify_all()
            return self.number

    def wait(self, number: int, parts: int, seconds: float) -> tuple[Verdict | None, bool]:
        """Wait until a request has more than `parts` (0 or 1) parts. Return the verdict, and whether it is the last.

        The verdict is None if the time is over, or if another request has cancelled this one.
        """

        def has_more():
            return self.number != number or self.is_final or (self.verdict is not None and parts == 0)

        with self.changed:
            self.changed.wait_for(has_more, seconds)
            if self.number != number or not has_more():
                return None, self.number != number
            return self.verdict, self.is_final

    def of(self, name: str) -> Verdict | None:
        """Grade an exercise, and wait for its last verdict. It is None if another request has cancelled this one."""
        number, is_last = self.request(name), False
        while not is_last:
            verdict, is_last = self.wait(number, 1, SECONDS + EXPLANATION)
        return verdict

    def planted(self, exercise: Exercise, level: int, seed: int) -> str:
        """Return the text of an exercise with a planted mistake, after the current request."""
        with self.grading:
            return with_bug(exercise, level, seed, self.grader)

    def numbers(self, name: str) -> dict:
        """Return small numbers of an exercise, after the current request. Raises ValueError if its code fails."""
        with self.grading:
            return self.grader.numbers(self.folder, name)

    def grade(self) -> None:
        done = 0
        with contextlib.suppress(Lost):  # it is started again, and the reason is in the verdict
            self.grader.begin()
        while True:
            with self.changed:
                self.changed.wait_for(lambda done=done: self.number != done or self.is_closed)
                if self.is_closed:
                    return
                done, name = self.number, self.name
            key = name, self.digest(name)
            verdict = self.kept.get(key)
            if verdict is None:
                with self.grading:
                    verdict = self.grader.verdict(self.folder, name, partial(self.put, done, is_final=False))
            if self.put(done, verdict, True):
                self.kept[key] = verdict
                for old in [*self.kept][:-MOST_KEPT]:
                    del self.kept[old]

    def put(self, number: int, verdict: Verdict, is_final: bool) -> bool:
        with self.changed:
            if self.number != number:  # it was cancelled
                return False
            self.verdict, self.is_final = verdict, is_final
            self.changed.notify_all()
            return True

    def digest(self, name: str) -> str:
        try:
            return digest_of(read_regular(self.folder / f"{name}.py", MOST_BYTES)[0])
        except Unreadable:
            return ""

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.grader.cancel()
            self.changed.notify_all()
        self.thread.join()
        self.grader.end()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
