"""A name that backward captures is bound anew after backward was defined.

A closure keeps the variable, not its value. `x = norm(x)` below `def backward` changes what backward reads when it runs
later, and a loop binds its variables anew on every turn. Nothing in the numbers gives that away, so here the source is
read: for each closure that backward consists of, is one of its free variables assigned to further down the function
around it?
"""

import ast
import functools
import linecache
import types


def captured_name_rebound(evidence):
    """Name the variable and the line."""
    try:
        _, backward = evidence.run.call.evaluate()
    except Exception:  # the user's function, which has run before: whatever it is now, it is no evidence
        return None
    for function in _closures(backward, set()):
        rebinding = _rebinding(function.__code__)
        if rebinding is not None:
            name, line = rebinding
            return (
                f"the name {name}, which {function.__name__} captures, is bound anew after it, in line {line}: "
                f"{function.__name__} reads the later value"
            )
    return None


def _closures(function, seen):
    """Yield a function and every function that it, or one of these, has captured."""
    if isinstance(function, types.FunctionType) and id(function) not in seen and len(seen) < 100:
        seen.add(id(function))
        yield function
        for cell in function.__closure__ or ():
            try:
                yield from _closures(cell.cell_contents, seen)
            except ValueError:  # an empty cell
                continue


def _rebinding(code):
    """Return (name, line) of the first assignment to a free variable of this code after its definition, or None."""
    tree = _parsed("".join(linecache.getlines(code.co_filename)))
    for outer in ast.walk(tree):
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in _own_nodes(outer):
                if isinstance(inner, (ast.FunctionDef, ast.Lambda)) and _starts_at(inner, code):
                    later = [
                        (node.id, node.lineno)
                        for node in _own_nodes(outer)
                        if isinstance(node, ast.Name)
                        and isinstance(node.ctx, ast.Store)
                        and node.id in code.co_freevars
                        and node.lineno > inner.end_lineno
                    ]
                    return min(later, key=lambda rebinding: rebinding[1], default=None)
    return None


def _own_nodes(function):
    """Yield the nodes of a function's body, but not those of the functions within it."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))


def _starts_at(node, code):
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return node.lineno == code.co_firstlineno and name == code.co_name


@functools.lru_cache(maxsize=32)
def _parsed(source):
    """Return the syntax tree of a source text, of nothing where it is none. A check asks for one file many times."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")
