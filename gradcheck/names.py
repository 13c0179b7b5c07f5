"""Find the names that Python code reads and assigns."""

import ast
from collections.abc import Iterator

__all__ = ["names_bound", "names_in", "names_read", "nodes_of"]

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
OWN_SCOPE = (*FUNCTION, ast.Lambda, ast.ClassDef)


def nodes_of(*trees, enters_scopes=True) -> Iterator[ast.AST]:
    """Yield the nodes of syntax trees in order, by default with those in nested scopes."""
    for tree in trees:
        yield tree
        if enters_scopes or not isinstance(tree, OWN_SCOPE):
            yield from nodes_of(*ast.iter_child_nodes(tree), enters_scopes=enters_scopes)


def names_in(*trees) -> list[str]:
    """Return the names in syntax trees, in order and without duplicates."""
    return list(dict.fromkeys(node.id for node in nodes_of(*trees) if isinstance(node, ast.Name)))


def names_read(*trees) -> list[str]:
    """Return the names that syntax trees read, in order. The target of := counts as read."""
    nodes = list(nodes_of(*trees))
    named = [node.target for node in nodes if isinstance(node, ast.NamedExpr)]
    loaded = (node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Load) or node in named)
    return list(dict.fromkeys(node.id for node in loaded if isinstance(node, ast.Name)))


def names_bound(*trees) -> dict[str, int]:
    """Return {name: line} for the names that syntax trees bind, without nested scopes."""
    found: dict = {}
    for node in nodes_of(*trees, enters_scopes=False):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, node.lineno)
        elif isinstance(node, (*FUNCTION, ast.ClassDef)):
            found.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.alias):
            found.setdefault((node.asname or node.name).partition(".")[0], node.lineno)
    return found
