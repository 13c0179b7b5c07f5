"""Replace the original with a mutant, either in the functions in memory or when the file is imported.

Replacing functions in memory is fast. The code of a closure is a constant in the code of its outer function. If the
outer function's `__code__` is replaced, all modules that have imported it use the mutated closure. The other method
changes the source that an import compiles. It needs a new process, but relies only on Python's import.
"""

import gc
import importlib.machinery
import os
import types
from contextlib import contextmanager


class PlantingError(Exception):
    """The code of a function in memory cannot be replaced by the mutated code."""


def live_functions(mutants):
    """Return the functions in memory whose code a mutant changes, as {(path, first line, name): functions}.

    Raises ValueError if the code in memory differs from the source.
    """
    wanted = {(str(mutant.path), *code) for mutant in mutants for code in mutant.codes}
    written = {}
    for path, source in {(str(mutant.path), mutant.source) for mutant in mutants}:
        for code, compiled in function_codes(compile(source, path, "exec", dont_inherit=True)).items():
            written[path, *code] = compiled
    functions = {}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType:  # isinstance would read `__class__`, and some objects then emit a warning
            code = thing.__code__
            key = (os.path.realpath(code.co_filename), code.co_firstlineno, code.co_name)
            if key in wanted:
                if code != written.get(key):
                    raise ValueError(f"{key[0]} was edited after it was imported; start the audit again")
                functions.setdefault(key, []).append(thing)
    return functions


@contextmanager
def planted(mutant, functions):
    """Replace the original with a mutant within the `with` block.

    `functions` is the result of live_functions. Raises PlantingError if the code of a function cannot be replaced,
    because its closure lacks variables that the mutant needs, or if there is no such function in memory.
    """
    path = str(mutant.path)
    codes = function_codes(compile(mutant.mutated_source, path, "exec", dont_inherit=True))
    before = []
    try:
        for line, name in mutant.codes:
            for function in functions.get((path, line, name), ()):
                before.append((function, function.__code__))
                function.__code__ = codes[line, name]
        if not before:
            raise PlantingError(f"no function in memory contains the code of {mutant.function}")
        yield
    except ValueError as error:
        if "free vars" not in str(error):
            raise
        raise PlantingError(str(error)) from error
    finally:
        for function, code in before:
            function.__code__ = code


def function_codes(code):
    """Return {(first line, name): code} of all code objects within a code object."""
    codes = {}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            codes[constant.co_firstlineno, constant.co_name] = constant
            codes |= function_codes(constant)
    return codes


def plant_at_import(mutant):
    """Make every later import of the mutant's file compile the mutant.

    This is never undone, so it must be called in a process made for the mutant.
    """
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader, name):
        path = loader.get_filename(name)
        if os.path.realpath(path) != str(mutant.path):
            return original(loader, name)
        return compile(mutant.mutated_source, path, "exec", dont_inherit=True)

    importlib.machinery.SourceFileLoader.get_code = get_code
