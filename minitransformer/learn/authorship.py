"""Notice a file that takes an answer from this package instead of computing it.

The code objects of the package's function, and of its faster twin, are exchanged while a file is graded. The new code
reports each call and returns wrong gradients, by whatever way the file has obtained the function: an import, the
garbage collector, a copy, a thread, or another process. An audit hook notices a file that reads the source or starts a
program.
"""

import ast
import builtins
import inspect
import linecache
import os
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path

from gradcheck.mistakes.planter import codes_of, key_of, planted
from minitransformer.learn.refusing import plain_text
from minitransformer.learn.watched import current
from minitransformer.module import TWINS, load_extension_of

PACKAGE = Path(__file__).parents[1]
MARK = "__minitransformer_call__"
READS = ("open", "os.link", "os.symlink", "os.rename")
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")
PRINTERS = (warnings.__file__, traceback.__file__)  # they read the line of a warning or of an exception


class Watch:
    """The observation of one file. `found` is the first use of the package's answer, in words, or ""."""

    def __init__(self, exercise, path, is_allowed=False):
        self.exercise, self.path, self.found, self.is_allowed = exercise, str(path), "", is_allowed
        self.is_on = False  # True while every call of the package's function is one of the learner's file
        source = os.path.realpath(exercise.source)
        self.sources = {source, os.path.realpath(cache_from_source(source))} if not exercise.given else set()

    def called(self, name, *returned):
        """Report a call of the function `name` if the watch is on, and return a wrong gradient."""
        if self.is_on:
            self.note("calls", name)
        value = returned[0] if returned else None
        return wrong(value) if self.is_on and not self.is_allowed else value

    def note(self, verb, name, frame=None):
        line = self.line_of(frame or sys._getframe())
        self.found = self.found or (f"line {line} {verb} {name}" if line else f"the file {verb} {name}")

    def line_of(self, frame) -> int:
        """Return the line of the learner's file that has led to a frame, or 0 if there is none."""
        while frame is not None and frame.f_code.co_filename not in PRINTERS:
            if frame.f_code.co_filename == self.path:
                return frame.f_lineno
            frame = frame.f_back
        return 0

    def audited(self, event, arguments):
        is_source = event in READS and any(self.is_source(argument) for argument in arguments[:2])
        if is_source or event in STARTS:
            frame = sys._getframe(2)
            if self.line_of(frame) or threading.current_thread() is not threading.main_thread():
                name = self.exercise.source.relative_to(PACKAGE.parent).as_posix() if is_source else "a program"
                self.note("opens" if is_source else "starts", name, frame)

    def is_source(self, path) -> bool:
        return isinstance(path, (str, bytes, os.PathLike)) and os.path.realpath(os.fsdecode(path)) in self.sources

    def look_for_copies(self):
        """Report a module in the folder of the file that contains a copy of the package's function."""
        if not self.sources:
            return
        target = self.exercise.target
        (own,) = functions_named(self.exercise.source, target)
        beside = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - {None, self.path}
        for file in (file for file in beside if os.path.dirname(file) == os.path.dirname(self.path)):
            if any(plain_text(node) == plain_text(own) for node in functions_named(file, target)):
                self.found = self.found or f"{os.path.basename(file)} is a copy of the package's {target}"


def functions_named(file, name) -> list:
    return [n for n in ast.parse(Path(file).read_text("utf-8")).body if getattr(n, "name", "") == name]


def wrong(value):
    if isinstance(value, (tuple, list)):
        return type(value)(map(wrong, value))
    return value + 1 if hasattr(value, "__add__") and not isinstance(value, str) else value


hooks: list = []


def audit(event, arguments):
    for watch in current:
        watch.audited(event, arguments)


@contextmanager
def watching(watch):
    """Watch the package's answer within a `with` block. `watch.is_on` is set when the learner's file has been run."""
    if not hooks:
        hooks.append(audit)
        sys.addaudithook(audit)
    linecache.clearcache()  # so that the source has to be opened
    setattr(builtins, MARK, watch.called)
    try:
        with planted(list(exchanges(watch.exercise))):
            current.append(watch)
            yield
    finally:
        current.clear()
        delattr(builtins, MARK)


def exchanges(exercise):
    """Yield (function, code that reports its calls) for the package's function and the twins that compute the same."""
    if exercise.given:
        return
    load_extension_of("minitransformer.module")  # the twins
    function = getattr(exercise.reference, "forward", exercise.reference)
    twins = [twin for other, twin in TWINS.items() if other is function or function.__name__ in other.__code__.co_names]
    for one in (function, *map(inspect.unwrap, twins)):
        name = f"{one.__module__}.{one.__qualname__}"
        tree = ast.parse(Path(inspect.getfile(one)).read_text("utf-8"))
        marks = Marks(name, one.__code__.co_firstlineno, exercise.is_value)
        codes = codes_of(ast.fix_missing_locations(marks.visit(tree)), one.__code__.co_filename)
        yield one, codes[key_of(one.__code__)]


class Marks(ast.NodeTransformer):
    """Inserts a report at the beginning of a function, and around the values that its backward pass returns."""

    def __init__(self, name, first, is_value):
        self.name, self.first, self.is_value, self.depth = name, first, is_value, 0

    def visit_FunctionDef(self, node):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        is_inside = self.depth or first == self.first
        self.depth += bool(is_inside)
        self.generic_visit(node)
        self.depth -= bool(is_inside)
        if is_inside:
            start = ast.get_docstring(node, clean=False) is not None
            node.body.insert(start, ast.copy_location(ast.Expr(self.mark()), node.body[start]))
        return node

    def visit_Return(self, node):
        if node.value is not None and self.depth > (not self.is_value):
            node.value = ast.copy_location(self.mark(node.value), node.value)
        return node

    def mark(self, *values):
        return ast.Call(ast.Name(MARK, ast.Load()), [ast.Constant(self.name), *values], [])
