"""Write a certificate's computation to a file, which recheck.py can verify without this package.

The file contains the prime, the random point, and a row for each number on which the two sides of the identity depend:
its operation, the rows of its operands, and its value. The value of a function of relations.py has a *proof*, the
numbers from which it is composed: for exp(a + b), these are the random elements for exp(a) and exp(b).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradcheck.certify.scalar import Number

DIRECT = ("add", "multiply")


def write_trace(path: Path, name: str, run: Any, compared: Iterable[tuple[Number, Number, Any]]) -> None:
    """Write the computation of a Run (relations.py). `compared` lists (left, right, size)."""
    rows = _Rows(run)
    pairs = [(rows.row_of(left), rows.row_of(right)) for left, right, _ in compared]
    roots = [[key[1], hex(key[2]), hex(r.v)] for key, r in run.elements.items() if key[0] == "root"]
    content = {"name": name, "prime": hex(run.p), "root of pi": hex(run.root_of_pi), "roots": roots}
    text = json.dumps({**content, "rows": rows.rows, "equal": pairs})  # json.dump would take three times as long
    Path(path).write_text(text, "utf-8")


class _Rows:
    def __init__(self, run):
        self.run, self.rows, self.places, self.seen = run, [], {}, []
        self.directions = {e.v: e for key, e in run.elements.items() if key[0] == "variable"}

    def row_of(self, number, is_tangent=False):
        """Return the place of a number's row, or of its tangent's, after the rows on which it depends."""
        pending = [(number, is_tangent)]
        while pending:
            item = pending[-1]
            missing = [need for need in self._needs(*item) if self._key(*need) not in self.places]
            if missing:
                pending += missing
                continue
            pending.pop()
            if self._key(*item) not in self.places:
                self.rows.append(self._row(*item))
                self.places[self._key(*item)] = len(self.rows) - 1
                self.seen.append(item)  # the key is an address, so the number must stay alive
        return self.places[self._key(number, is_tangent)]

    @staticmethod
    def _key(number, is_tangent):
        return id(number), is_tangent

    def _place(self, number, is_tangent=False):
        return self.places[self._key(number, is_tangent)]

    def _needs(self, number, is_tangent):
        if is_tangent and not number.slopes:
            return [(number, False), *([(self.directions[number.tangent[1]], False)] if number.tangent else [])]
        if is_tangent:
            return [(number, False), *((x, True) for _, x in number.slopes), *((s, False) for s, _ in number.slopes)]
        if number.op == "tangent":
            return [(number.args[0], True)]
        proof = number.proof if number.op in ("exp", "power", "log", "turn") and number.args else ()
        if number.op == "turn" and number.args:
            proof = number.proof[1]
        parts = [part for term in proof for part in term if isinstance(part, Number)]
        return [(part, False) for part in [*(a for a in number.args if isinstance(a, Number)), *parts]]

    def _row(self, number, is_tangent):
        op, place, proof, value = number.op, self._place, number.proof, hex(number.v)
        if is_tangent and not number.slopes:
            direction = place(self.directions[number.tangent[1]]) if number.tangent else None
            return ["direction", place(number), direction]
        if is_tangent:
            return ["slopes", place(number), [[place(slope), place(x), place(x, True)] for slope, x in number.slopes]]
        if op == "tangent":
            return ["tangent", place(number.args[0], True), value]
        if op == "constant":
            if not proof:
                raise ValueError("the result depends on a constant that is not finite")
            x, q, s, k = proof
            return ["constant", x, str(q), str(s), k, value]
        if op in DIRECT:
            return [op, *map(place, number.args), value]
        if not number.args:
            key = [hex(part) if isinstance(part, int) and part > 9 else str(part) for part in proof[1:]]
            x = None if number.d is None else float(number.d)
            return ["variable", x, value] if op == "variable" else ["element", op, key, value]
        if op in ("exp", "power"):
            c = str(number.args[1]) if op == "power" else None
            return [op, place(number.args[0]), c, [[place(b), k] for b, k in proof], value]
        if op == "log":
            return [op, place(number.args[0]), [[place(t), str(c), place(b)] for t, c, b in proof], value]
        if op == "turn":
            return [proof[0], place(number.args[0]), [[place(e), k] for e, k in proof[1]], value]
        v = number.args[0].v
        return [op, place(number.args[0]), hex(self.run.element(op, min(v, self.run.p - v)).v), value]
