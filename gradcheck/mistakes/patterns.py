"""Match Python code with patterns, in which capital letters stand for any code.

Such a letter is called a hole.

| pattern | matches |
|---|---|
| `A * B`, `A += B` | any product, any `+=`; a letter that occurs twice must match the same code both times |
| `F(A, *R)` | a call with at least one argument; R matches the other arguments, keyword arguments included |
| `F(*R, axis=K)` | a call with that keyword argument in any position |
| `A.M(*R)` | any method; `T` after a dot is not a hole, because `A.T` is a transpose |
| `np.exp(A)` | the function `exp` of NumPy or of another library in LIBRARIES |
| `for A in B: ...` | a statement with any body |
"""

import ast
from dataclasses import dataclass
from functools import cache

from gradcheck.names import names_in

LIBRARIES = ("np", "numpy", "math", "scipy", "xp", "torch")


@dataclass(frozen=True)
class Rest:
    """The arguments of a call that match `*R` in a pattern."""

    args: tuple
    keywords: tuple
    places: dict  # {keyword in the pattern: its index among the keyword arguments of the call}

    def __str__(self):
        return ast.unparse(ast.Call(ast.Name(""), list(self.args), list(self.keywords)))[1:-1]


def parsed(text):
    (statement,) = ast.parse(text).body
    return statement.value if isinstance(statement, ast.Expr) else statement


@cache  # the patterns of the tables are looked at again and again
def holes(pattern):
    names = {*names_in(pattern)}
    names |= {node.attr for node in ast.walk(pattern) if isinstance(node, ast.Attribute) and node.attr != "T"}
    return frozenset(name for name in names if is_hole(name))


def is_hole(name):
    return len(name) == 1 and name.isupper()


def match(pattern, node, bound):
    """Match a pattern with a syntax tree, and return {hole: code} or None.

    `bound` maps each hole that has matched before to its code, which the hole must match again. It is None if an
    earlier part of the pattern did not match.
    """
    if bound is None:
        return None
    if isinstance(pattern, ast.Name) and pattern.id == "np":
        return _bind("np", node, bound) if isinstance(node, ast.Name) and node.id in LIBRARIES else None
    hole = pattern.id if isinstance(pattern, ast.Name) else pattern
    if isinstance(hole, str) and is_hole(hole) and hole != "T" and isinstance(node, (ast.AST, type(pattern))):
        return _bind(hole, node, bound)
    if isinstance(pattern, list):
        if [*map(type, pattern)] == [ast.Expr] and getattr(pattern[0].value, "value", None) is ...:
            return bound
        if not isinstance(node, list) or len(pattern) != len(node):
            return None
        for part, value in zip(pattern, node, strict=True):
            bound = match(part, value, bound)
        return bound
    if type(pattern) is not type(node):
        return None
    if not isinstance(pattern, ast.AST):
        return bound if pattern == node else None
    if isinstance(pattern, ast.Call):
        return _match_call(pattern, node, bound)
    for field in pattern._fields:
        if field not in ("ctx", "type_comment", "kind"):
            bound = match(getattr(pattern, field), getattr(node, field), bound)
    return bound


def _bind(name, code, bound):
    if name in bound:
        return bound if same(bound[name], code) else None
    return {**bound, name: code}


def _match_call(pattern, node, bound):
    named = [argument for argument in pattern.args if not isinstance(argument, ast.Starred)]
    rest = next((argument.value.id for argument in pattern.args if isinstance(argument, ast.Starred)), None)
    given, more = node.args[: len(named)], node.args[len(named) :]
    bound = match(named, given, match(pattern.func, node.func, bound))
    if any(isinstance(argument, ast.Starred) for argument in given):
        return None
    others, places = list(node.keywords), {}
    for keyword in pattern.keywords:
        found = next((k for k in others if k.arg == keyword.arg), None)
        if found is None:
            return None
        bound = match(keyword.value, found.value, bound)
        places[keyword.arg] = node.keywords.index(found)
        others.remove(found)
    if rest is None:
        return None if more or others else bound
    return None if bound is None else _bind(rest, Rest(tuple(more), tuple(others), places), bound)


def build(pattern, bound):
    """Fill the holes of a pattern with code, which is not copied."""
    if isinstance(pattern, list):
        return [build(part, bound) for part in pattern]
    if not isinstance(pattern, ast.AST):
        return pattern
    if isinstance(pattern, ast.Name) and pattern.id in bound:
        return bound[pattern.id]
    if isinstance(pattern, ast.Call):
        rest = next((bound[a.value.id] for a in pattern.args if isinstance(a, ast.Starred)), Rest((), (), {}))
        arguments = [build(a, bound) for a in pattern.args if not isinstance(a, ast.Starred)]
        keywords = list(rest.keywords)
        for keyword in pattern.keywords:
            place = rest.places.get(keyword.arg, len(keywords))
            keywords.insert(place, ast.keyword(keyword.arg, build(keyword.value, bound)))
        return ast.Call(build(pattern.func, bound), [*arguments, *rest.args], keywords)
    fields = {field: build(value, bound) for field, value in ast.iter_fields(pattern)}
    if "attr" in fields:
        fields["attr"] = bound.get(fields["attr"], fields["attr"])
    return type(pattern)(**fields, **dict.fromkeys({"lineno", "col_offset"}.intersection(pattern._attributes), 0))


def same(a, b):
    """Return True if two pieces of code are identical (True and 1 are not)."""
    if isinstance(a, ast.AST) and isinstance(b, ast.AST):
        return ast.dump(a) == ast.dump(b)
    return type(a) is type(b) and str(a) == str(b)


def text_of(code):
    return ast.unparse(code) if isinstance(code, ast.AST) else str(code)


def number_of(node):
    """Return the value of a number, perhaps with a minus sign, or None."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    value = node.value if isinstance(node, ast.Constant) else None
    return sign * value if isinstance(value, (int, float, complex)) and not isinstance(value, bool) else None


def is_number(node):
    return number_of(node) is not None
