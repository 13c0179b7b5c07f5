"""Putting a mutant in the place of the original: in the functions that are already there, or as they are imported.

The first way is quick. A closure's code is a constant of the code of the function around it, so everyone who has
imported that function gets the mutated closure once the function's `__code__` is replaced. The second changes what an
import compiles. It takes a new process, and needs no more trust than that in Python's own import.
"""

import gc
import importlib.machinery
import os
import types
from contextlib import contextmanager


class PlantingError(Exception):
    """The code of a function that is already there cannot be replaced by the mutated one."""


def live_functions(mutants):
    """Return {(path, line, name): functions} of all functions in memory whose code one of the mutants changes.

    Raises ValueError if that code is not what the source says now.
    """
    wanted = {(str(mutant.path), *code) for mutant in mutants for code in mutant.codes}
    written = {}
    for path, source in {(str(mutant.path), mutant.source) for mutant in mutants}:
        for code, compiled in function_codes(compile(source, path, "exec", dont_inherit=True)).items():
            written[path, *code] = compiled
    functions = {}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType:  # isinstance would ask for `__class__`, and some objects warn at that
            code = thing.__code__
            key = (os.path.realpath(code.co_filename), code.co_firstlineno, code.co_name)
            if key in wanted:
                if code != written.get(key):
                    raise ValueError(f"{key[0]} was changed while it was in use; start the audit again")
                functions.setdefault(key, []).append(thing)
    return functions


@contextmanager
def planted(mutant, functions):
    """Have a mutant in the place of the original for the `with` block. `functions` is what live_functions returned.

    Raises PlantingError where that is impossible: a function made by another one that does not hold the names needed.
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
            raise PlantingError(f"nothing in memory holds {mutant.function}")
        yield
    except ValueError as error:
        if "free vars" not in str(error):
            raise
        raise PlantingError(str(error)) from error
    finally:
        for function, code in before:
            function.__code__ = code


def function_codes(code):
    """Return {(first line, name): code} of everything within a code object."""
    codes = {}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            codes[constant.co_firstlineno, constant.co_name] = constant
            codes |= function_codes(constant)
    return codes


def plant_at_import(mutant):
    """Have every later import of the mutant's file compile the mutant. For a process made for it: never undone."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader, name):
        path = loader.get_filename(name)
        if os.path.realpath(path) != str(mutant.path):
            return original(loader, name)
        return compile(mutant.mutated_source, path, "exec", dont_inherit=True)

    importlib.machinery.SourceFileLoader.get_code = get_code
