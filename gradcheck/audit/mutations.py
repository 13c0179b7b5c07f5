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

The signature of the function stays as it is, and so do `raise` and `assert`.
"""

import ast
import itertools
import textwrap

from gradcheck.audit.expressions import ARITHMETIC, Scope
from gradcheck.audit.mutant import Mutant
from gradcheck.audit.sources import FUNCTION, find_closures, read_source

ATOMS = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List)
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Attribute, ast.Subscript, ast.Call, ast.IfExp)
NOT_A_NUMBER = (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.GeneratorExp, ast.Lambda, ast.JoinedStr)


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
        self.scope = Scope(closure)
        self.dy = self.scope.dy
        lines = source.splitlines(keepends=True)
        self.line_text = lines
        self.line_start = list(itertools.accumulate((len(line) for line in lines), initial=0))

    def mutants(self):
        """Return the mutants, those that come out alike only once, under their first kind."""
        trees = {self._tree(self.source)}
        mutants = []
        for statement in self.closure.node.body:
            for kind, node, new, lines in self._statement(statement):
                mutant = self._mutant(kind, node, new, lines)
                tree = self._tree(mutant.mutated_source)
                if tree not in trees:
                    trees.add(tree)
                    mutants.append(mutant)
        return mutants

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
            if not isinstance(target, (ast.Name, ast.Tuple)) or self.scope.is_bound_before(target):
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
        for kind, new in self.scope.replacements(node, parent):
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


def _exchanges(elements):
    """Yield a sequence with two of its elements exchanged, for every pair."""
    for i, j in itertools.combinations(range(len(elements)), 2):
        changed = list(elements)
        changed[i], changed[j] = changed[j], changed[i]
        yield changed
