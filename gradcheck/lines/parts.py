"""The parts of the forward pass: every operand, argument, receiver and occurrence of a name in its expressions.

`z = (x - mu) / std` has the parts `x`, `mu`, `x - mu`, `std` and the quotient. With a probe around each, a single part
can be perturbed. The change of the output is then the gradient along the paths through this part.
"""

import ast
from dataclasses import dataclass

from gradcheck.lines.source import OWN_SCOPE, own_statements

PROBE = "__gradcheck_probe__"
LIBRARIES = ("np", "numpy", "math", "scipy")
VIEWS = ("T", "mT", "reshape", "transpose", "swapaxes", "ravel", "squeeze")
UNMOVED = (ast.Slice, ast.Compare, ast.Lambda, ast.JoinedStr, ast.Constant, ast.Tuple, ast.List, ast.Dict)


@dataclass(frozen=True)
class Part:
    """An expression `node` of the forward pass, in a `statement`, both as in the source."""

    node: ast.expr
    statement: ast.stmt

    @property
    def bound(self):
        """Return the names that the statement binds."""
        targets = getattr(self.statement, "targets", ())
        return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}

    @property
    def names(self):
        """Return the names whose gradient is that of the part.

        These are the name that the part is or views, and the names bound to its value.
        """
        node = self.node
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in VIEWS:
                receiver = node.func.value
                node = node.args[0] if isinstance(receiver, ast.Name) and receiver.id in LIBRARIES else receiver
            elif isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr in VIEWS):
                node = node.value
            else:
                break
        viewed = {node.id} if isinstance(node, ast.Name) else set()
        return viewed | (self.bound if self.node is self.statement.value else set())


class Marking(ast.NodeTransformer):
    """Inserts a probe around each part of a function. `originals` is {id of a node: its original}."""

    def __init__(self, originals):
        self.originals = originals
        self.parts = []
        self.statement = None

    def mark(self, function):
        """Mark the assigned and returned values of a function, and return the Parts.

        The function is changed in place.
        """
        for statement in own_statements(function.body):
            if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)) and statement.value:
                self.statement = self.originals.get(id(statement))
                if self.statement is not None:
                    statement.value = self.visit(statement.value)
        return self.parts

    def visit(self, node):
        """Return an expression with probes around its parts.

        The expression itself has a probe too, if it can be perturbed.
        """
        if isinstance(node, (*OWN_SCOPE, ast.comprehension)):
            return node
        if isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Subscript):
            node.value = self.visit(node.value)
        elif isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in LIBRARIES):
                node.value = self.visit(node.value)
        else:
            self.generic_visit(node)
        original = self.originals.get(id(node))
        if original is None or not isinstance(node, ast.expr) or isinstance(node, (*UNMOVED, ast.Starred)):
            return node
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return node
        self.parts.append(Part(original, self.statement))
        probe = ast.Attribute(ast.Name(PROBE, ast.Load()), "part", ast.Load())
        return ast.copy_location(ast.Call(probe, [ast.Constant(len(self.parts) - 1), node], []), node)

    def _call(self, node):
        """Visit the receiver of a method and the positional arguments of a call."""
        if isinstance(node.func, ast.Attribute):
            node.func = self.visit(node.func) if isinstance(node.func, ast.Call) else self._receiver(node.func)
        node.args = [self.visit(argument) for argument in node.args]

    def _receiver(self, function):
        if not (isinstance(function.value, ast.Name) and function.value.id in LIBRARIES):
            function.value = self.visit(function.value)
        return function
