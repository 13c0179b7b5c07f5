"""Notice that a learner's code calls the package's own function: the answer, however the code has reached it."""

import os
import sys

from minitransformer.learn.exercises import PACKAGE
from minitransformer.module import faster

INSIDE = f"{PACKAGE}{os.sep}"


class PackageCalls:
    """Within a `with` block, notices a call of the package's version of an exercise's function, or of its backward.

    `sentence` names the first one and the line that made it. It is empty until then.
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
        """Look at a call: the profile function of `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or self.sentence or not code.co_filename.startswith(INSIDE):
            return
        if code.co_qualname.partition(".")[0] in self.names:
            self.sentence = f"{self.line_above(frame)} {frame.f_globals['__name__']}.{code.co_qualname}"

    def line_above(self, frame):
        """Return the words for the line of the learner's file that is being executed, if there is one."""
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return f"line {frame.f_lineno} calls"
            frame = frame.f_back
        return "it is"
