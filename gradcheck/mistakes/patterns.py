"""Match Python code with patterns, in which a capital letter (a hole) stands for any part.

| pattern | matches |
|---|---|
| `A * B`, `A += B` | any product, any `+=`; a letter that occurs twice must match the same code both times |
| `F(A, *R)` | a call with at least one argument; R matches the other arguments, keyword arguments included |
| `F(*R, axis=K)` | a call with that keyword argument in any position |
| `A.M(*R)` | any method; `T` after a dot is not a hole, because `A.T` is a transpose |
| `np.exp(A)` | a function of NumPy, under any of the names in LIBRARIES |
| `for A in B: ...` | a statement with any body |
"""

import ast
from dataclasses import dataclass

LIBRARIES = ("np", "numpy", "math", "scipy", "xp")


@dataclass(frozen=True)
class Rest:
    """The arguments of a call that a pattern does not name.

    `places` maps the keywords that the pattern does name to their positions among the keyword arguments of the call.
    """

    args: tuple
    keywords: tuple
    places: dict

    def __str__(self):
        return ast.unparse(ast.Call(ast.Name(""), list(self.args), list(self.keywords)))[1:-1]


def parsed(text):
    """Parse a pattern and return its syntax tree, which is an expression or a statement."""
    (statement,) = ast.parse(text).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def holes(pattern):
    names = {node.id for node in ast.walk(pattern) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(pattern) if isinstance(node, ast.Attribute) and node.attr != "T"}
    return {name for name in names if is_hole(name)}


def is_hole(name):
    return len(name) == 1 and name.isupper()


def match(pattern, node, bound):
    """Match a pattern with a node. Return {hole: code}, or None if they do not match.

    `bound` is {hole: code} of earlier matches. A hole in it matches only the same code.
    """
    if isinstance(pattern, ast.Name) and (is_hole(pattern.id) or pattern.id == "np"):
        return _bind(pattern.id, node, bound)
    if type(pattern) is not type(node):
        return None
    if isinstance(pattern, ast.Call):
        return _match_call(pattern, node, bound)
    for field in pattern._fields:
        if field in ("ctx", "type_comment", "kind"):
            continue
        bound = _match_field(getattr(pattern, field), getattr(node, field), bound)
        if bound is None:
            return None
    return bound


def _bind(name, node, bound):
    if name == "np" and not (isinstance(node, ast.Name) and node.id in LIBRARIES):
        return None
    if name in bound:
        return bound if same(bound[name], node) else None
    return {**bound, name: node}


def _match_field(part, value, bound):
    if isinstance(part, list):
        if [ast.unparse(p) for p in part] == ["..."]:
            return bound
        if len(part) != len(value):
            return None
        for p, v in zip(part, value, strict=True):
            bound = match(p, v, bound)
            if bound is None:
                return None
        return bound
    if isinstance(part, ast.AST):
        return match(part, value, bound) if isinstance(value, ast.AST) else None
    if isinstance(part, str) and is_hole(part) and part != "T" and isinstance(value, str):
        return _bind(part, value, bound)
    return bound if type(part) is type(value) and part == value else None


def _match_call(pattern, node, bound):
    bound = match(pattern.func, node.func, bound)
    named = [argument for argument in pattern.args if not isinstance(argument, ast.Starred)]
    rest = next((argument.value.id for argument in pattern.args if isinstance(argument, ast.Starred)), None)
    if bound is None or len(node.args) < len(named) or (rest is None and len(node.args) > len(named)):
        return None
    if any(isinstance(argument, ast.Starred) for argument in node.args[: len(named)]):
        return None
    for p, v in zip(named, node.args, strict=False):
        bound = match(p, v, bound)
        if bound is None:
            return None
    others, places = list(node.keywords), {}
    for keyword in pattern.keywords:
        given = next((k for k in others if k.arg == keyword.arg), None)
        bound = None if given is None else match(keyword.value, given.value, bound)
        if bound is None:
            return None
        places[keyword.arg] = node.keywords.index(given)
        others.remove(given)
    if rest is None:
        return bound if not others else None
    return _bind(rest, Rest(tuple(node.args[len(named) :]), tuple(others), places), bound)


def build(pattern, bound):
    """Fill the holes of a pattern with the code in `bound`, and return the result. Nodes in `bound` are not copied."""
    if isinstance(pattern, ast.Name) and pattern.id in bound:
        return bound[pattern.id]
    if isinstance(pattern, ast.Call):
        return _build_call(pattern, bound)
    fields = {}
    for field, value in ast.iter_fields(pattern):
        if isinstance(value, list):
            fields[field] = [build(v, bound) if isinstance(v, ast.AST) else v for v in value]
        elif isinstance(value, ast.AST):
            fields[field] = build(value, bound)
        else:
            fields[field] = bound[value] if field == "attr" and value in bound else value
    return type(pattern)(**fields, lineno=0, col_offset=0) if fields else type(pattern)()


def _build_call(pattern, bound):
    arguments, keywords, rest = [], [], None
    for argument in pattern.args:
        if isinstance(argument, ast.Starred):
            rest = bound.get(argument.value.id)
            arguments += rest.args
            keywords += rest.keywords
        else:
            arguments.append(build(argument, bound))
    for keyword in pattern.keywords:
        place = rest.places.get(keyword.arg, len(keywords)) if rest else len(keywords)
        keywords.insert(place, ast.keyword(keyword.arg, build(keyword.value, bound)))
    return ast.Call(build(pattern.func, bound), arguments, keywords)


def same(a, b):
    """Return True if two pieces of code are identical. True and 1 differ."""
    if isinstance(a, ast.AST) and isinstance(b, ast.AST):
        return ast.dump(a) == ast.dump(b)
    return type(a) is type(b) and str(a) == str(b)


def text_of(code):
    return ast.unparse(code) if isinstance(code, ast.AST) else str(code)


def number_of(node):
    """Return the value of a number, which may be negative, or None for other code, including True and False."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    value = node.value if isinstance(node, ast.Constant) else None
    return sign * value if isinstance(value, (int, float, complex)) and not isinstance(value, bool) else None


def is_number(node):
    """Return True if the code is a number, which may be negative."""
    return number_of(node) is not None
