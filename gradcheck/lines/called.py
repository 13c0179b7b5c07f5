"""Find the functions of the user's file that only the backward pass calls, whose lines may contain the mistake too."""

import ast
import gc
import sys
import types
from dataclasses import dataclass, replace

from gradcheck.lines.source import Source, node_of
from gradcheck.mistakes.planter import codes_of, key_of, with_node
from gradcheck.mistakes.repairing import calls_in, entries_in
from gradcheck.names import nodes_of


@dataclass(frozen=True, eq=False)
class Called:
    """A function or method that backward calls, directly or through another function, and that forward does not."""

    source: Source  # of this function, whose names are those in the file
    function: types.FunctionType
    tree: ast.Module  # the top-level statement that defines the function
    node: ast.FunctionDef
    names: dict  # {name: value} of its local variables at the end of the first call

    @property
    def statements(self):
        return [node for node in nodes_of(*self.node.body, enters_scopes=False) if isinstance(node, ast.stmt)]

    @property
    def entries(self):
        return [*entries_in(self.node), *calls_in(self.node)]

    def edited(self, statement, code):
        """Return the code of the function with `statement` replaced by `code`."""
        tree = ast.fix_missing_locations(with_node(self.tree, statement, code))
        return codes_of(tree, self.source.file)[key_of(self.function.__code__)]


def functions_called(scene):
    """Return a Called for each function of the user's file that backward calls on the draw `scene`."""
    source, within, other = scene.source, {}, set()

    def note(frame, event, _):
        code, above = frame.f_code, frame.f_back
        if event == "return" and code.co_filename == source.file:
            while above is not None and key_of(above.f_code) != key_of(source.function.__code__):
                above = above.f_back
            if above is None:
                other.add(code)
            else:
                within.setdefault(code, dict(frame.f_locals))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        scene.backward({}, on_copies=True)
    finally:
        sys.setprofile(before)
    found, plain = [], replace(source, spelling={}, returned=None)
    for code, names in within.items():
        functions = [f for f in gc.get_referrers(code) if type(f) is types.FunctionType and f.__code__ is code]
        tree, outer, node = node_of(functions[0], source.lines) if len(functions) == 1 else (None, None, None)
        is_own = code not in other and isinstance(node, ast.FunctionDef) and outer is None
        is_own = is_own and node.lineno not in (source.outer.lineno, source.inner.lineno)  # as before lowering
        may_not_end = is_own and any(isinstance(part, ast.While) for part in ast.walk(node))
        if is_own and not may_not_end and codes_of(tree, source.file).get(key_of(code)) == code:
            found.append(Called(plain, functions[0], tree, node, names))
    return found
