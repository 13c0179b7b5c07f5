"""The mistakes that hand-derived gradients suffer from, each made in one place of one function.

A mutant replaces one expression or statement of the syntax tree by another. It is kept as an edit of the source text,
so that every other line stays as it is, comments included, and its difference can be read.

| kind | what becomes of it |
|---|---|
| term dropped | `a + b` → `a`, `b`; `a - b` → `a`, `-b` |
| factor dropped | `a * b` → `a`, `b`; `a / b` → `a`; `a @ b` → `a`, `b`; `a *= b` → nothing |
| sign flipped | `-a` → `a`; `x = e` → `x = -e`; `return e` → `return -e`; `x += e` → `x -= e` |
| operator exchanged | each of `+ - * /` for each other one, also in `x += e` |
| operands exchanged | `a @ b` → `b @ a`; `a / b` → `b / a`; `np.dot(a, b)` → `np.dot(b, a)` |
| sum and mean exchanged | `.sum()` ↔ `.mean()`, `feature_mean` ↔ `feature_sum`; divided or multiplied by a length |
| axis changed | `axis=-1` → another, or none |
| keepdims lost | `keepdims=True` removed |
| transpose lost | `x.T`, `x.swapaxes(…)`, `np.transpose(x)` → `x` |
| transpose added | on each factor of a product, and on the product; in einsum, two letters exchanged |
| name replaced | a captured name by another of the scope that binds it, a local one by another local one |
| constant changed | 2 → 3, 1; 0.5 → 1.0, 0.0; True → False |
| gradient replaced by zeros | `return e` → `return 0 * e`; `x = e` → `x = 0 * e` |
| gradient replaced by dy | `return e` → `return dy` |
| dy ignored | `dy` → `0 * dy + 1` |
| gradients exchanged | `return a, b` → `return b, a`; `a, b = e` → `b, a = e` |
| mask forgotten | `np.where(c, a, b)` → `a`, `b`; `where=…` removed; `~m` → `m`; `a[i]` → `a` |
| condition changed | `if c` → `if True`, `if False`; `a if c else b` → `a`, `b`; `<` → `<=`, `>` |
| accumulation lost | `x += e` → `x = e`; `np.add.at(x, i, e)` → `x[i] += e` |
| statement dropped | → `pass` |
| backward call dropped | `norm_backward(dy)` → `dy` |
| call dropped | `np.exp(x)` → `x`; `x.reshape(n)` → `x` |
| order reversed | `reversed(x)` → `x` |

The signature of the function stays as it is, and so does what serves only to raise an error.
"""

import ast
import builtins
import itertools
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from gradcheck.audit.sources import (
    FUNCTION,
    argument_names,
    bound_names,
    called_names,
    find_closures,
    module_names,
    read_source,
)

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
ATOMS = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List)
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Attribute, ast.Subscript, ast.Call, ast.IfExp)
NOT_A_NUMBER = (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.GeneratorExp, ast.Lambda, ast.JoinedStr)


@dataclass(frozen=True)
class Mutant:
    """One mistake in one place: the characters `start` to `end` of the file at `path` become `replacement`.

    `source` is the whole text of the file, as it was read before anything ran: it may be edited meanwhile.
    `codes` are (first line, name) of the code objects that it changes, outermost first; `lines` the first and last line
    of the statement it is in: unless one of them is run, it cannot matter.
    """

    path: Path
    source: str = field(repr=False)
    function: str
    codes: tuple
    kind: str
    line: int
    lines: tuple
    start: int
    end: int
    replacement: str

    @property
    def mutated_source(self):
        """The text of the file with the mistake in it."""
        return self.source[: self.start] + self.replacement + self.source[self.end :]

    def difference(self):
        """Return the lines (removed, added) that differ, without their common indentation."""
        source = self.source
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.end)
        last = len(source) if last < 0 else last
        before, after = source[first:last], source[first : self.start] + self.replacement + source[self.end : last]
        both = textwrap.dedent(f"{before}\n{after}").splitlines()
        n = len(before.splitlines())
        return both[:n], both[n:]


def mutate(path, patterns=("backward",)):
    """Return every Mutant of every function of a file whose name fits a pattern, in the order of the source."""
    source = read_source(path)
    closures = find_closures(path, patterns)
    nested = {closure.node for closure in closures}
    mutants = []
    for closure in closures:
        mutants += _Mutator(closure, source, nested - {closure.node}).mutants()
    return mutants


class _Mutator:
    """Makes the mutants of one function."""

    def __init__(self, closure, source, others):
        self.closure = closure
        self.source = source
        self.others = others
        self.names, self.modules = module_names(closure.module)
        self.locals = bound_names(closure.node)
        self.scopes = [bound_names(function) for function in reversed(closure.around)]
        self.called = called_names(closure.around[0] if closure.around else closure.node)
        arguments = [name for name in argument_names(closure.node) if name not in ("self", "cls")]
        self.dy = arguments[0] if arguments else None
        self.unfit = {"self", "cls", closure.node.name, *(function.name for function in closure.around)}
        lines = source.splitlines(keepends=True)
        self.line_text = lines
        self.line_start = list(itertools.accumulate((len(line) for line in lines), initial=0))

    def mutants(self):
        """Return the mutants, those that come out alike only once, under their first kind."""
        made = {self._tree(self.source)}
        found = []
        for statement in self.closure.node.body:
            for kind, node, new, lines in self._statement(statement):
                mutant = self._mutant(kind, node, new, lines)
                tree = self._tree(mutant.mutated_source)
                if tree not in made:
                    made.add(tree)
                    found.append(mutant)
        return found

    def _mutant(self, kind, node, new, lines):
        start, end = self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)
        text = new if isinstance(new, str) else ast.unparse(new)
        in_parentheses = self.source[start - 1 : start] == "(" and self.source[end : end + 1] == ")"
        if getattr(node, "needs_atom", False):
            if in_parentheses and isinstance(new, ATOMS):
                start, end = start - 1, end + 1
            elif not in_parentheses and not isinstance(new, ATOMS):
                text = f"({text})"
        closure = self.closure
        return Mutant(
            path=closure.path,
            source=self.source,
            function=closure.qualname,
            codes=tuple(closure.codes),
            kind=kind,
            line=node.lineno,
            lines=lines,
            start=start,
            end=end,
            replacement=text,
        )

    def _offset(self, line, column):
        """Turn a position of the syntax tree, which counts bytes of UTF-8, into one of the source."""
        return self.line_start[line - 1] + len(self.line_text[line - 1].encode()[:column].decode())

    def _tree(self, source):
        """Return the mutated function in a normal form. Mutants change lines only within it, so it ends as before."""
        tail = len(self.line_text) - self.closure.node.end_lineno
        lines = source.splitlines(keepends=True)
        text = "".join(lines[self.closure.node.lineno - 1 : len(lines) - tail])
        return ast.dump(ast.parse(textwrap.dedent(text)))

    # Statements

    def _statement(self, node):
        """Yield (kind, node, replacement, lines) of a statement and all inside it."""
        if isinstance(node, (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, FUNCTION) and node in self.others:
            return
        bodies = [statement for field in ("body", "orelse", "finalbody") for statement in getattr(node, field, [])]
        if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
            bodies = node.orelse
        bodies += [statement for handler in getattr(node, "handlers", []) for statement in handler.body]
        inside = getattr(node, "body", None)
        lines = (node.lineno, max(node.lineno, inside[0].lineno - 1) if inside else node.end_lineno)
        for kind, new in self._whole_statements(node):
            yield kind, node, new, lines
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.expr, ast.withitem)) and not isinstance(node, FUNCTION):
                for kind, old, new in self._expression(child, node):
                    yield kind, old, new, lines
        for kind, old, new in self._parts(node):
            yield kind, old, new, lines
        for statement in bodies:
            yield from self._statement(statement)

    def _whole_statements(self, node):
        """Yield (kind, replacement) for a whole statement."""
        if isinstance(node, ast.AugAssign):
            dropped = {ast.Add: "term dropped", ast.Sub: "term dropped"}.get(type(node.op), "factor dropped")
            yield dropped, "pass"
            target, value = ast.unparse(node.target), ast.unparse(node.value)
            yield "accumulation lost", f"{target} = {value}"
            for op in ARITHMETIC:
                flipped = {type(node.op), op} == {ast.Add, ast.Sub}
                yield (
                    "sign flipped" if flipped else "operator exchanged",
                    ast.AugAssign(node.target, op(), node.value),
                )
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            if not isinstance(target, (ast.Name, ast.Tuple)) or self._is_bound_before(target):
                yield "statement dropped", "pass"
            if isinstance(target, ast.Tuple):
                for elements in _exchanges(target.elts):
                    yield "gradients exchanged", ast.Assign([ast.Tuple(elements)], node.value, lineno=0)
        elif isinstance(node, ast.Expr):
            yield "statement dropped", "pass"
            call = node.value
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("add.at") and len(call.args) == 3:
                target = ast.Subscript(call.args[0], call.args[1])
                yield "accumulation lost", ast.AugAssign(target, ast.Add(), call.args[2])
        elif isinstance(node, (ast.For, ast.While)) or (isinstance(node, ast.If) and not node.orelse):
            yield "statement dropped", "pass"

    def _is_bound_before(self, target):
        """Whether a name assigned to exists already, so that a program without the assignment may still run."""
        names = [element.id for element in ast.walk(target) if isinstance(element, ast.Name)]
        outer = set().union(self.names, *self.scopes)
        return all(self.locals.get(name, target.lineno) < target.lineno or name in outer for name in names)

    def _parts(self, node):
        """Yield (kind, node, replacement) of what is special about a place in a statement."""
        if isinstance(node, ast.Return) and node.value is not None:
            gradients = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for gradient in gradients:
                yield from self._value(gradient)
                if self.dy is not None:
                    yield "gradient replaced by dy", gradient, ast.Name(self.dy)
            if isinstance(node.value, ast.Tuple):
                for elements in _exchanges(gradients):
                    text = ast.unparse(ast.Tuple(elements))
                    yield "gradients exchanged", node.value, text
        elif isinstance(node, ast.Assign):
            yield from self._value(node.value)
        elif isinstance(node, ast.If):
            for value in (True, False):
                yield "condition changed", node.test, ast.Constant(value)

    def _value(self, node):
        """Yield what a whole gradient, or a step on its way, may become."""
        if isinstance(node, (*NOT_A_NUMBER, ast.Starred)) or (
            isinstance(node, ast.Constant) and not isinstance(node.value, (int, float, complex))
        ):
            return
        yield "sign flipped", node, ast.UnaryOp(ast.USub(), node)
        yield "gradient replaced by zeros", node, ast.BinOp(ast.Constant(0), ast.Mult(), node)

    # Expressions

    def _expression(self, node, parent):
        """Yield (kind, node, replacement) of an expression and all inside it."""
        if isinstance(node, (ast.JoinedStr, ast.Lambda)):
            return
        is_argument = isinstance(parent, ast.Call) and node is not parent.func
        is_index = isinstance(parent, ast.Subscript) and node is parent.slice
        node.needs_atom = isinstance(parent, OPERATORS) and not is_argument and not is_index
        if isinstance(getattr(node, "ctx", None), ast.Store) and not isinstance(node, ast.Subscript):
            return
        for kind, new in self._replacements(node, parent):
            yield kind, node, new
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            return  # a negative number is one constant
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.keyword):
                if child.arg != "keepdims":
                    yield from self._expression(child.value, child)
            elif isinstance(child, ast.comprehension):
                yield from self._expression(child.iter, child)
            elif isinstance(child, ast.expr):
                yield from self._expression(child, node)

    def _replacements(self, node, parent):
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
            same_scope = list(next((scope for scope in self.scopes if name in scope), ()))
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


def _exchanges(elements):
    """Yield a sequence with two of its elements exchanged, for every pair."""
    for i, j in itertools.combinations(range(len(elements)), 2):
        changed = list(elements)
        changed[i], changed[j] = changed[j], changed[i]
        yield changed
