"""What an expression may become: the mistakes of gradcheck/audit/mutations.py that change one expression."""

import ast
import builtins

from gradcheck.audit.sources import argument_names, bound_names, called_names, module_names

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SUM_AND_MEAN = {"sum": "mean", "mean": "sum", "nansum": "nanmean", "nanmean": "nansum"}
TRANSPOSES = ("swapaxes", "transpose", "moveaxis")
PRODUCTS = ("dot", "matmul", "outer", "inner", "tensordot")
ABOUT_AN_ARRAY = ("shape", "dtype", "ndim", "size")


class Scope:
    """The names that a function to be mutated can see, and what may stand in the place of its expressions.

    `dy` is its first argument, if it has one.
    """

    def __init__(self, closure):
        self.names, self.modules = module_names(closure.module)
        self.locals = bound_names(closure.node)
        self.around = [bound_names(function) for function in reversed(closure.around)]
        self.called = called_names(closure.around[0] if closure.around else closure.node)
        arguments = [name for name in argument_names(closure.node) if name not in ("self", "cls")]
        self.dy = arguments[0] if arguments else None
        self.unfit = {"self", "cls", closure.node.name, *(function.name for function in closure.around)}

    def is_bound_before(self, target):
        """Whether a name assigned to exists already, so that a program without the assignment may still run."""
        names = [element.id for element in ast.walk(target) if isinstance(element, ast.Name)]
        outer = set().union(self.names, *self.around)
        return all(self.locals.get(name, target.lineno) < target.lineno or name in outer for name in names)

    def replacements(self, node, parent):
        """Yield (kind, replacement) for an expression itself."""
        if isinstance(node, ast.BinOp):
            yield from _binary(node)
        elif isinstance(node, ast.UnaryOp):
            yield from _unary(node)
        elif isinstance(node, ast.Constant):
            for value in _other_constants(node.value):
                yield "constant changed", ast.Constant(value)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            for op in COMPARISONS[type(node.ops[0])]:
                yield "condition changed", ast.Compare(node.left, [op()], node.comparators)
        elif isinstance(node, ast.BoolOp):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield "condition changed", ast.BoolOp(other(), node.values)
        elif isinstance(node, ast.IfExp):
            yield "condition changed", node.body
            yield "condition changed", node.orelse
        elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            yield "transpose lost", node.value
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            if not (isinstance(node.value, ast.Attribute) and node.value.attr in ABOUT_AN_ARRAY):
                yield "mask forgotten", node.value
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Name):
            yield from self._name(node, parent)

    def _name(self, node, parent):
        """Yield the names that could stand in place of one, and dy without its values."""
        name = node.id
        is_called = isinstance(parent, ast.Call) and node is parent.func
        about = isinstance(parent, ast.Attribute) and parent.attr in ABOUT_AN_ARRAY
        if name == self.dy and not about:
            yield "dy ignored", ast.parse(f"0 * {name} + 1", mode="eval").body
        if name in self.locals:
            same_scope = [other for other, line in self.locals.items() if line < node.lineno]
        else:
            same_scope = list(next((scope for scope in self.around if name in scope), ()))
            if not same_scope and is_called and name in self.names:
                same_scope = sorted(self.called & self.names)
        for other in same_scope:
            if other not in (name, *self.unfit) and (other in self.called) == is_called:
                yield "name replaced", ast.Name(other)

    def _call(self, node):
        """Yield what a call may become."""
        function, arguments = node.func, node.args
        name = getattr(function, "attr", getattr(function, "id", ""))
        is_method = isinstance(function, ast.Attribute) and not self._is_module(function.value)
        subject = function.value if is_method else arguments[0] if arguments else None
        if name == "where" and len(arguments) == 3:
            condition, yes, no = arguments
            yield "mask forgotten", yes
            yield "mask forgotten", no
            yield "mask forgotten", ast.Call(function, [condition, no, yes], node.keywords)
        yield from self._sum_and_mean(node, name, subject)
        for keyword in node.keywords:
            yield from _keyword(node, keyword)
        if name == "einsum" and arguments and isinstance(arguments[0], ast.Constant):
            for letters in _einsum_transposes(arguments[0].value):
                yield "transpose added", ast.Call(function, [ast.Constant(letters), *arguments[1:]], node.keywords)
        if name in PRODUCTS:
            factors = [subject, *arguments] if is_method else arguments
            if len(factors) == 2:
                for kind, pair in _products(*factors):
                    f = ast.Attribute(pair[0], name) if is_method else function
                    yield kind, ast.Call(f, list(pair[is_method:]), node.keywords)
        if name == "reversed":
            yield "order reversed", subject
        elif isinstance(subject, ast.Starred) or (not is_method and hasattr(builtins, name)):
            return
        elif name in TRANSPOSES:
            yield "transpose lost", subject
        elif "backward" in name and arguments:
            yield "backward call dropped", arguments[0]
        elif subject is not None:
            yield "call dropped", subject

    def _is_module(self, node):
        """Whether an expression is an imported module or part of one, as np.linalg and np.add are."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.modules and node.id not in self.locals

    def _sum_and_mean(self, node, name, subject):
        function = node.func
        if isinstance(function, ast.Attribute) and name in SUM_AND_MEAN:
            twin = ast.Attribute(function.value, SUM_AND_MEAN[name])
            yield "sum and mean exchanged", ast.Call(twin, node.args, node.keywords)
        elif isinstance(function, ast.Name) and subject is not None:
            words = name.split("_")
            for word, op in (("sum", ast.Div), ("mean", ast.Mult)):
                if word in words:
                    twin = "_".join(SUM_AND_MEAN.get(w, w) for w in words)
                    if twin in self.names:
                        yield "sum and mean exchanged", ast.Call(ast.Name(twin), node.args, node.keywords)
                    else:
                        length = ast.Call(ast.Name("len"), [subject], [])
                        yield "sum and mean exchanged", ast.BinOp(node, op(), length)


def _binary(node):
    left, right, op = node.left, node.right, type(node.op)
    if op in (ast.Add, ast.Sub):
        yield "term dropped", left
        yield "term dropped", right if op is ast.Add else ast.UnaryOp(ast.USub(), right)
    elif op in (ast.Mult, ast.Div, ast.MatMult):
        yield "factor dropped", left
        if op is not ast.Div:
            yield "factor dropped", right
    if op in (ast.Sub, ast.Div):
        yield "operands exchanged", ast.BinOp(right, node.op, left)
    if op is ast.MatMult:
        for kind, (a, b) in _products(left, right):
            yield kind, ast.BinOp(a, node.op, b)
        yield "transpose added", _transposed(node)
    if op in ARITHMETIC:
        for other in ARITHMETIC:
            yield "operator exchanged", ast.BinOp(left, other(), right)


def _unary(node):
    if isinstance(node.op, ast.USub):
        if isinstance(node.operand, ast.Constant):
            for value in _other_constants(-node.operand.value):
                yield "constant changed", ast.Constant(value)
        else:
            yield "sign flipped", node.operand
    elif isinstance(node.op, ast.Invert):
        yield "mask forgotten", node.operand
    elif isinstance(node.op, ast.Not):
        yield "condition changed", node.operand


def _keyword(call, keyword):
    """Yield what becomes of a call when one keyword argument of it is changed or forgotten."""
    others = [other for other in call.keywords if other is not keyword]
    without = ast.Call(call.func, call.args, others)
    if keyword.arg == "keepdims":
        yield "keepdims lost", without
    elif keyword.arg == "where":
        yield "mask forgotten", without
    elif keyword.arg in ("axis", "axes"):
        yield "axis changed", without
        value = keyword.value
        replaced = [ast.Constant(axis) for axis in (-2, -1, 0, 1)]
        if isinstance(value, ast.Tuple):
            replaced += value.elts
        for axis in replaced:
            if ast.dump(axis) != ast.dump(value):
                yield "axis changed", ast.Call(call.func, call.args, [*others, ast.keyword(keyword.arg, axis)])


def _products(a, b):
    """Yield (kind, factors) of what the product of two matrices may become."""
    yield "operands exchanged", (b, a)
    if not _is_transposed(a):
        yield "transpose added", (_transposed(a), b)
    if not _is_transposed(b):
        yield "transpose added", (a, _transposed(b))


def _is_transposed(node):
    name = getattr(node.func if isinstance(node, ast.Call) else node, "attr", "")
    return name in ("T", "mT", *TRANSPOSES)


def _transposed(node):
    """Return an expression with its last two axes exchanged."""
    return ast.Call(ast.Attribute(node, "swapaxes"), [ast.Constant(-1), ast.Constant(-2)], [])


def _einsum_transposes(letters):
    """Yield einsum's subscripts with the last two letters of one operand, or of the result, exchanged."""
    if not isinstance(letters, str):
        return
    parts = letters.replace(" ", "").replace("->", ",>").split(",")
    for i, part in enumerate(parts):
        if len(part) >= 2 and part[-1].isalpha() and part[-2].isalpha():
            changed = [*parts[:i], part[:-2] + part[-1] + part[-2], *parts[i + 1 :]]
            yield ",".join(changed).replace(",>", "->")


def _other_constants(value):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, (float, complex)):
        return [2 * value, 0.0] if value else [1.0]
    return []
