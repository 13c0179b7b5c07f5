"""Run a learner's file as a module, and report exceptions and forbidden calls."""

import ast
import contextlib
import io
import os
import re
import sys
import traceback
import types

import numpy as np

from gradcheck import GradientError
from gradcheck.front.streams import error_in_words
from minitransformer.learn.exercises import PACKAGE
from minitransformer.learn.questions import Question, question_on

INSIDE = f"{PACKAGE}{os.sep}"
MOST_SAID = 500  # characters of the output, and of an exception


class Fault(Exception):  # noqa: N818
    """Raised when the learner's code fails.

    `line` is the line, if it is known, and `question` hints at the cause. `is_about_values` is True for the exceptions
    that Python and NumPy raise for shapes that do not fit, and for a list in place of an array.
    """

    line, question, is_about_values = None, Question(), False


def loaded(path, text):
    """Run a file as a module, which may import modules from the same folder. Raises Fault if the code fails."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"learn_{path.stem}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    with faults(path, at_module_level=True):
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    return module


@contextlib.contextmanager
def faults(path, *, at_module_level=False):
    """Convert exceptions of the code in a file to Faults, whose message contains the line."""
    try:
        yield
    except (Fault, GradientError, GeneratorExit):
        raise
    except BaseException as error:
        inside = [at for at in traceback.walk_tb(error.__traceback__) if at[0].f_code.co_filename == str(path)]
        lines = [line for _, line in inside]
        words = error_in_words(error)
        if inside and (called := called_at(error, path)):  # the file contains no other name of this function
            words = re.sub(r"the backward of \w+(?=:| must)", called, words)
        words = words if len(words) <= MOST_SAID else f"{words[:MOST_SAID]} …"
        words += "".join(f" ({note})" for note in getattr(error, "__notes__", ()))  # the case
        if not lines:  # gradcheck refused an invalid call, or this package has an error
            refused = isinstance(error, (TypeError, ValueError))
            raise Fault(str(error) if refused else f"internal error, please report it: {words}") from None
        where = f"{path.name}, line {lines[-1]}"
        where += f", called at line {lines[0]}" * (lines[0] != lines[-1]) + ", at module level" * at_module_level
        fault = Fault(f"{where}: {words}")
        fault.line, fault.is_about_values = lines[-1], isinstance(error, (ValueError, TypeError, AttributeError))
        if not at_module_level:
            is_refused = traceback.extract_tb(error.__traceback__)[-1].filename.startswith(INSIDE)
            at = inside[0 if is_refused else -1]  # a part of the package refuses the values that the first line passed
            fault.question = question_on(error, path.read_text("utf-8"), *at)
        raise fault from None


def called_at(error, path) -> str:
    """Return the code of the function that the last line in a file calls when it raises an exception, or ""."""
    *_, last = (at for at in traceback.extract_tb(error.__traceback__) if at.filename == str(path))
    if last.end_colno is None or last.lineno != last.end_lineno:
        return ""
    line = path.read_text("utf-8").split("\n")[last.lineno - 1].encode()
    code = line[last.colno : last.end_colno].decode()
    with contextlib.suppress(SyntaxError):
        node = ast.parse(code, mode="eval").body
        return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return ""


def cotangent(call, seed):
    result = call.evaluate()
    if not is_pair(result):
        raise Fault(f"{call.name} must return the pair (y, backward), where backward is a function")
    return np.random.default_rng([seed, 7]).standard_normal(np.shape(result[0]))


def is_pair(result):
    return isinstance(result, (tuple, list)) and len(result) == 2 and callable(result[1])


class Printed(io.StringIO):
    def write(self, text):
        super().write(text[: MOST_SAID - self.tell()])
        return len(text)


def functions_of_numpy() -> dict:
    return {(module, name): value for module in (np, np.linalg, np.random) for name, value in vars(module).items()}


def replaced(before: dict, path) -> str:
    """Return a message if the file has replaced an attribute of NumPy, or "".

    `before` is an earlier result of functions_of_numpy().
    """
    for (module, name), value in before.items():
        if vars(module).get(name) is not value:
            return f"{path.name} replaces {module.__name__}.{name}, which the grader needs"
    return ""
