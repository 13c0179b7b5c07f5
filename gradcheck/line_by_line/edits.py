"""What a line may have been meant to be: the expression with one thing changed, and what that would have put right.

These are the ways in which people err: a sign, a factor, a term, a power, a transpose, a sum and its axis, one name in
the place of another, a call that is left out. Each edit is a pair (what is wrong, expression), the plainest first.
Whether one of them is the mistake, the numbers say (repairs.py).
"""

import ast
import copy
import itertools

import numpy as np

from gradcheck.line_by_line.source import is_gradient

OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
SUM_AND_MEAN = {"sum": "mean", "mean": "sum"}
AXES = ("-1", "-2", "0", "1", "2", "None")
POWERS = (1, 2, 3, -1, -2, 0.5, -0.5)
NUMBERS = (2, 3, 4)
FORMS = (
    "np.exp({})",
    "np.log({})",
    "np.sqrt({})",
    "np.tanh({})",
    "(1 - {})",
    "{} ** 2",
    "{} ** 3",
    "1 / {}",
    "(1 - {} ** 2)",
)
FUNCTIONS = ("sin", "cos", "exp", "log", "tanh", "sqrt", "sign", "abs")
LIBRARIES = ("np", "numpy", "math")
LOAD = ast.Load()
LONGEST = 60  # characters of a part of a line that a sentence quotes


class Names:
    """The names that a line could read, `values` being what they hold, by kind: those that it does read come first.

    `helpers` are those of which the lines are tried themselves.
    """

    def __init__(self, values, read, helpers=()):
        self.values, self.all_helpers = values, helpers
        self.helpers = set(filter(is_gradient, helpers))
        order = [*(n for n in read if n in values), *(n for n in reversed(values) if n not in read)]
        kinds = {n: values[n].dtype.kind for n in order if isinstance(values[n], np.ndarray) and values[n].ndim}
        self.arrays = [n for n, kind in kinds.items() if kind == "f"]
        self.masks = [n for n, kind in kinds.items() if kind == "b"]
        self.backwards = [n for n in order if callable(values[n]) and "backward" in n]
        self.axes = [n for n in order if isinstance(values[n], int) and "axis" in n]
        self.scalars = {}  # {value: names that hold it}
        for name in order:
            value = values[name]
            if isinstance(value, (float, int, np.number)) and not isinstance(value, bool) and value not in (0, 1, -1):
                self.scalars.setdefault(float(value), []).append(name)

    def like(self, name):
        """Return the names of values of the same kind as that of one, those of the same shape first."""
        if name in self.backwards:
            return [other for other in self.backwards if other != name]
        if name not in self.arrays:
            return []
        others = [n for n in self.arrays if n != name]
        return sorted(others, key=lambda n: self.values[n].shape != self.values[name].shape)


def changes(expression, names):
    """Yield (what is wrong, expression) with one thing in it exchanged, dropped or put in its place."""
    for node in _nodes(expression):
        for phrase, new in _changed(node, names):
            yield phrase, _with(expression, node, new)
    yield "the sign is wrong", ast.UnaryOp(ast.USub(), expression)
    for node in _nodes(expression):
        if isinstance(node, (ast.BinOp, ast.Call)) and len(ast.unparse(node)) <= LONGEST:
            for name in names.arrays:
                yield f"{_text(node)} stands where {name} belongs", _with(expression, node, _name(name))


def factors(expression, names):
    """Yield (what is wrong, expression) with a factor or a mask added somewhere."""
    return _added(expression, names, _factors)


def functions(expression, names):
    """Yield (what is wrong, expression) with a factor added somewhere that is a function of a name."""
    return _added(expression, names, _functions)


def terms(expression, names):
    """Yield (what is wrong, expression) with a term added somewhere."""
    return _added(expression, names, _terms)


def _added(expression, names, what):
    for node in _nodes(expression):
        is_whole = node is expression
        if _is_arithmetic(node) and (is_whole or getattr(node, "id", "") not in names.helpers):
            for phrase, new in what(node, names, is_whole):
                yield phrase, _with(expression, node, new)


def _changed(node, names):
    """Yield (what is wrong, what may stand in the place of a node)."""
    if isinstance(node, ast.BinOp):
        yield from _operator(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield f"the sign of {_text(node.operand)} is wrong", node.operand
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield f"{_text(node)} stands where {_text(node.operand)} belongs", node.operand
    elif isinstance(node, ast.Name):
        if node.id in names.masks:
            yield f"{node.id} stands where ~{node.id} belongs", ast.UnaryOp(ast.Invert(), node)
        for other in names.like(node.id):
            yield f"{node.id} stands where {other} belongs", _name(other)
        if node.id in names.arrays and is_gradient(node.id):
            for function in names.backwards:
                yield f"{function} is not applied to {node.id}", ast.Call(_name(function), [node], [])
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        n = node.value
        for other in dict.fromkeys([-n, 2 * n, n / 2, 3 * n, n / 3, n + 1, n - 1, n * n, 1 / n if n else 0]):
            yield f"{n} stands where {_number(other)} belongs", ast.Constant(other)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield f"{_text(node.value)} is transposed and should not be", node.value
    elif isinstance(node, ast.Call):
        yield from _call(node, names)
        if getattr(node.func, "id", "") in names.backwards:
            for function in names.backwards:
                yield f"{function} is not applied to {_text(node)}", ast.Call(_name(function), [node], [])


def _operator(node):
    """Yield what a sum, a product or a power may become."""
    left, right, op = _text(node.left), _text(node.right), type(node.op)
    if op in OPPOSITE:
        other = ast.BinOp(node.left, OPPOSITE[op](), node.right)
        words = {
            ast.Add: f"{right} is added where it should be subtracted",
            ast.Sub: f"{right} is subtracted where it should be added",
            ast.Mult: f"{right} multiplies where it should divide",
            ast.Div: f"{right} divides where it should multiply",
        }
        yield words[op], other
    if op in (ast.Add, ast.Sub):
        yield f"the term {right} is too much", node.left
        if op is ast.Add:
            yield f"the term {left} is too much", node.right
    elif op is ast.Mult:
        yield f"the factor {right} is too much", node.left
        yield f"the factor {left} is too much", node.right
    elif op is ast.Div:
        yield f"the division by {right} is too much", node.left
    elif op is ast.Pow:
        for power in POWERS:
            belongs = f"the power {_number(power)}" if power != 1 else left
            yield f"{_text(node)} stands where {belongs} belongs", _power(node.left, power)
    elif op is ast.MatMult:
        for side, other in (("left", "right"), ("right", "left")):
            operand, rest = getattr(node, side), getattr(node, other)
            turned = _transposed(operand)
            pair = (turned, rest) if side == "left" else (rest, turned)
            yield f"{_text(operand)} is not transposed", ast.BinOp(pair[0], ast.MatMult(), pair[1])
        yield f"{left} and {right} are in the wrong order", ast.BinOp(node.right, ast.MatMult(), node.left)
        yield "it is transposed and should not be", _transposed(node)
    if op in SIGNS:
        for other, sign in SIGNS.items():
            if {op, other} in ({ast.Add, ast.Mult}, {ast.Sub, ast.Mult}):
                words = f"{SIGNS[op]} stands where {sign} belongs, before {right}"
                yield words, ast.BinOp(node.left, other(), node.right)


def _call(node, names):
    """Yield what a call may become."""
    function, arguments = node.func, node.args
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in FUNCTIONS and isinstance(function, ast.Attribute):
        for other in FUNCTIONS:
            if other != name:
                exchanged = ast.Attribute(function.value, other, ast.Load())
                yield f"{name} stands where {other} belongs", ast.Call(exchanged, arguments, node.keywords)
    if name in SUM_AND_MEAN:
        twin = copy.copy(function)
        if isinstance(twin, ast.Attribute):
            twin.attr = SUM_AND_MEAN[name]
            words = {"mean": "a mean stands where a sum belongs", "sum": "a sum stands where a mean belongs"}
            yield words[name], ast.Call(twin, arguments, node.keywords)
        if "axis" not in [keyword.arg for keyword in node.keywords] and len(arguments) == isinstance(
            function, ast.Name
        ):
            for axis in AXES[:-1]:
                new = [*node.keywords, ast.keyword("axis", _expression(axis))]
                yield f"the {name} runs over all where it should over axis {axis}", ast.Call(function, arguments, new)
        for keyword in node.keywords:
            if keyword.arg == "axis":
                for axis in (*names.axes, *AXES):
                    if axis != _text(keyword.value):
                        new = [k if k is not keyword else ast.keyword("axis", _expression(axis)) for k in node.keywords]
                        yield (
                            f"the {name} runs over axis {_text(keyword.value)} where it should over {axis}",
                            ast.Call(function, arguments, new),
                        )
    if name == "where" and len(arguments) == 3:
        condition, yes, no = arguments
        yield (
            f"what stands where {_text(condition)} and where not is exchanged",
            ast.Call(function, [condition, no, yes], []),
        )
    if len(arguments) == 2:
        yield f"the arguments of {name} are in the wrong order", ast.Call(function, arguments[::-1], node.keywords)
    elif len(arguments) > 2:
        first, second, *rest = arguments
        yield (
            f"the first arguments of {name} are in the wrong order",
            ast.Call(function, [second, first, *rest], node.keywords),
        )
    if name in ("swapaxes", "transpose") and isinstance(function, ast.Attribute):
        yield f"{_text(function.value)} is transposed and should not be", function.value
    elif isinstance(function, ast.Name) and len(arguments) == 1 and not node.keywords:
        yield f"{name} is too much", arguments[0]
    elif isinstance(function, ast.Attribute) and len(arguments) == 1 and not node.keywords and name not in SUM_AND_MEAN:
        yield f"{_text(function)} is too much", arguments[0]


def _factors(node, names, is_whole):
    """Yield a node with a factor that it lacks, or a function of it."""
    of = "" if is_whole else f" of {_text(node)}"
    for name in names.arrays:
        is_itself = isinstance(node, ast.Name) and node.id == name
        words = f"{name} is not squared" if is_itself else f"the factor {name}{of} is missing"
        yield words, ast.BinOp(node, ast.Mult(), _name(name))
        yield f"a division{of} by {name} is missing", ast.BinOp(node, ast.Div(), _name(name))
        if is_whole:
            along = _expression(f"{name}[..., None]")
            yield f"the factor {name}[..., None] is missing", ast.BinOp(node, ast.Mult(), along)
    for value, holders in names.scalars.items():
        named = " or ".join(holders) if len(holders) <= 2 else _number(value)
        yield f"the factor {named}{of} is missing", ast.BinOp(node, ast.Mult(), _name(holders[0]))
        yield f"a division{of} by {named} is missing", ast.BinOp(node, ast.Div(), _name(holders[0]))
    for number in NUMBERS:
        if float(number) not in names.scalars:
            yield f"the factor {number}{of} is missing", ast.BinOp(node, ast.Mult(), ast.Constant(number))
            yield f"the factor 1/{number}{of} is missing", ast.BinOp(node, ast.Div(), ast.Constant(number))
    zero = ast.Constant(0.0)
    for name in names.arrays:
        yield (
            f"what stands where {name} is not positive{of} should be 0",
            ast.Call(_expression("np.where"), [_expression(f"{name} > 0"), node, zero], []),
        )
    for name in names.masks:
        for where, pair in (("False", [node, zero]), ("True", [zero, node])):
            call = ast.Call(_expression("np.where"), [_name(name), *pair], [])
            yield f"what stands where {name} is {where}{of} should be 0", call
    for axis in AXES[:-1] if is_whole else ():
        for kind in ("sum", "mean"):
            yield f"the {kind} over axis {axis} is missing", _total(node, kind, axis)
    if isinstance(node, ast.Name) and node.id in names.arrays:
        for form in FORMS:
            belongs = form.format(node.id)
            yield f"{node.id} stands where {belongs.replace('np.', '')} belongs", _expression(belongs)
        for axis in AXES[:-1]:
            yield f"{node.id} stands where its sum over axis {axis} belongs", _total(node, "sum", axis)


def _functions(node, names, is_whole):
    """Yield a node with a factor that it lacks, which is a function of a name, or a sum over an axis."""
    of = "" if is_whole else f" of {_text(node)}"
    for name in names.arrays:
        for axis in AXES[:-1] if is_gradient(name) else ():
            total = _total(_name(name), "sum", axis)
            yield f"the factor sum({name}) over axis {axis}{of} is missing", ast.BinOp(node, ast.Mult(), total)
        for form in (*FORMS, "np.sign({})", "np.cos({})", "np.sin({})", "(1 - np.tanh({}) ** 2)"):
            factor = form.format(name)
            words = f"the factor {factor.replace('np.', '')}{of} is missing"
            yield words, ast.BinOp(node, ast.Mult(), _expression(factor))


def _terms(node, names, is_whole):
    """Yield a node with a term that it lacks."""
    of = "" if is_whole else f" from {_text(node)}"
    reads_helpers = any(isinstance(n, ast.Name) and n.id in names.all_helpers for n in ast.walk(node))
    for axis in AXES[:-1] if not reads_helpers else ():
        for kind in ("mean", "sum"):
            total, words = _total(node, kind, axis), f"{kind}({_text(node)}) over axis {axis}"
            yield f"{words} is not subtracted{of}", ast.BinOp(node, ast.Sub(), total)
            for name in names.arrays:
                product = ast.BinOp(_name(name), ast.Mult(), total)
                yield f"{name} * {words} is not subtracted{of}", ast.BinOp(node, ast.Sub(), product)
    beside = "" if is_whole else f" beside {_text(node)}"
    products = itertools.combinations_with_replacement(names.arrays, 2)
    for term in [*map(_name, names.arrays), *(ast.BinOp(_name(a), ast.Mult(), _name(b)) for a, b in products)]:
        yield f"the term {_text(term)} is missing{beside}", ast.BinOp(node, ast.Add(), term)
        yield f"{_text(term)} is not subtracted{of}", ast.BinOp(node, ast.Sub(), term)


def _nodes(expression):
    """Return the nodes of an expression that may be exchanged, the outer ones first."""
    inner = [n for n in ast.walk(expression) if isinstance(n, ast.expr) and not isinstance(n, (ast.Slice, ast.Starred))]
    hidden = set()
    for node in inner:
        if isinstance(node, ast.Call):
            called = node.func.value if isinstance(node.func, ast.Attribute) else None
            hidden.add(id(node.func))
            if isinstance(called, ast.Name) and called.id in LIBRARIES:
                hidden.add(id(called))
            hidden |= {id(n) for keyword in node.keywords for n in ast.walk(keyword)}
        elif isinstance(node, ast.Subscript):
            hidden |= {id(n) for n in ast.walk(node.slice)}
    return [
        n
        for n in inner
        if (id(n) not in hidden or isinstance(n, ast.Name)) and isinstance(getattr(n, "ctx", LOAD), ast.Load)
    ]


def _is_arithmetic(node):
    is_number = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in LIBRARIES
    return is_number or (
        isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Call)) and len(ast.unparse(node)) <= LONGEST
    )


def _with(expression, node, new):
    """Return an expression with another node in the place of one, which is found by identity."""
    if expression is node:
        return new
    return _Exchange(node, new).visit(_shallow(expression))


class _Exchange(ast.NodeTransformer):
    """Exchanges one node; the others are copied on the way."""

    def __init__(self, node, new):
        self.node, self.new = node, new

    def visit(self, node):
        if node is self.node:
            return self.new
        return super().generic_visit(_shallow(node))


def _shallow(node):
    twin = copy.copy(node)
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            setattr(twin, name, list(value))
    return twin


def _transposed(node):
    return ast.Call(ast.Attribute(node, "swapaxes", ast.Load()), [ast.Constant(-1), ast.Constant(-2)], [])


def _total(node, kind, axis):
    keywords = [ast.keyword("axis", _expression(axis)), ast.keyword("keepdims", ast.Constant(True))]
    return ast.Call(ast.Attribute(node, kind, ast.Load()), [], keywords)


def _power(node, power):
    return node if power == 1 else ast.BinOp(node, ast.Pow(), ast.Constant(power))


def _name(name):
    return ast.Name(name, ast.Load())


def _expression(text):
    return ast.parse(text, mode="eval").body


def _text(node):
    text = ast.unparse(node)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _number(value):
    return f"{value:g}"
