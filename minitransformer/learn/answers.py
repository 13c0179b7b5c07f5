"""Detect that a learner's code calls the package's own function, however the code obtained it."""

import os
import sys

from minitransformer.learn.exercises import PACKAGE
from minitransformer.module import faster

INSIDE = f"{PACKAGE}{os.sep}"


class PackageCalls:
    """Within a `with` block, detect calls of the package's version of the exercise.

    Calls of its function and of its backward are both detected. `sentence` names the first call and its line, or is
    empty.
    """

    def __init__(self, exercise, path):
        self.path, self.sentence = str(path), ""
        self.names = {exercise.name, exercise.target, faster(exercise.reference).__name__}

    def __enter__(self):
        sys.setprofile(self.look)
        return self

    def __exit__(self, *exception):
        sys.setprofile(None)

    def look(self, frame, event, argument):
        """Examine a call. This is the profile function passed to `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or self.sentence or not code.co_filename.startswith(INSIDE):
            return
        if code.co_qualname.partition(".")[0] in self.names:
            self.sentence = f"{self.line_above(frame)} {frame.f_globals['__name__']}.{code.co_qualname}"

    def line_above(self, frame):
        """Return "line N calls" for the innermost line of the learner's file in the call stack.

        Returns "it is" if no line of the file is being executed.
        """
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return f"line {frame.f_lineno} calls"
            frame = frame.f_back
        return "it is"
