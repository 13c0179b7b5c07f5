"""Find functions in a source file, and the names that are visible in them."""

import ast
import fnmatch
import tokenize
from dataclasses import dataclass
from pathlib import Path

from gradcheck.names import FUNCTION, names_bound, nodes_of


@dataclass(frozen=True)
class Closure:
    """A function in a source file, with its enclosing functions."""

    path: Path
    qualname: str
    node: ast.FunctionDef
    around: tuple  # the functions that contain it, the outermost first
    module: ast.Module


def read_source(path):
    with tokenize.open(path) as file:
        return file.read()


def find_closures(path, patterns):
    """Find the functions of a file whose names match one of the fnmatch patterns.

    A pattern may match the name or the qualified name. A nested function that matches is listed separately. The result
    is in the order of the source. Raises SyntaxError if the file cannot be parsed.
    """
    module = ast.parse(read_source(path), str(path))
    closures = []

    def visit(node, qualname, around):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTION):
                name = qualname + child.name
                if any(fnmatch.fnmatchcase(child.name, p) or fnmatch.fnmatchcase(name, p) for p in patterns):
                    closures.append(Closure(path, name, child, around, module))
                visit(child, f"{name}.<locals>.", (*around, child))
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{qualname}{child.name}.", around)
            else:
                visit(child, qualname, around)

    visit(module, "", ())
    return sorted(closures, key=lambda closure: closure.node.lineno)


def first_line(function):
    return min([function.lineno, *(decorator.lineno for decorator in getattr(function, "decorator_list", ()))])


def bound_names(function):
    """Return the arguments and local names of a function, as {name: first line}."""
    arguments = dict.fromkeys(argument_names(function), function.lineno)
    return arguments | {name: line for name, line in names_bound(*function.body).items() if name not in arguments}


def argument_names(function):
    a = function.args
    rest = [argument for argument in (a.vararg, a.kwarg) if argument is not None]
    return [argument.arg for argument in (*a.posonlyargs, *a.args, *a.kwonlyargs, *rest)]


def called_names(node):
    called = {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return called | {n.name for n in ast.walk(node) if isinstance(n, FUNCTION)}


def module_names(module):
    """Return the names at the top level of a module, and those bound by `import`."""
    imports = [node for node in nodes_of(*module.body, enters_scopes=False) if isinstance(node, ast.Import)]
    return {*names_bound(module)}, {*names_bound(*imports)}
