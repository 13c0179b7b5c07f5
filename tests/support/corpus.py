"""Functions with hand-written gradients, as texts: more of them fit on a page than as definitions.

    affine(x, w): normal(4, 3), normal(3, 2)
    wrong dw: ^x is not transposed$
    follows: dx
        y = x @ w
    backward(dy):
        dw = x @ dy
        return dy @ w.T, dw

is the function affine(x, w), which returns (y, backward), and its inputs; if something is wrong, with the patterns of
the sentences on the wrong lines, and the names that follow from them. A line `says w: pattern` has that of the
diagnosis of dw, and `says w: pattern given X, W, axis=1` with these inputs and options. A last line `return ...`
may stand for `return y, backward`. A blank line ends a function.
"""

import linecache
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER = re.compile(r"(\w+)(\(.*?\)): (.*)")


@dataclass(frozen=True)
class Entry:
    """A function of a text, its inputs, {name: pattern of the sentence} of its wrong lines, and what follows.

    `says` maps texts of inputs and options to (inputs, options, {argument: pattern of its diagnosis}).
    """

    function: Any
    inputs: tuple
    wrong: dict[str, str]
    follows: list[str]
    says: dict[str, tuple]


def compiled(text, **names):
    """Return the namespace of a source text whose lines gradcheck can read, with these names in it."""
    name, scope = f"<text {abs(hash(text))}>", {"np": np, **names}
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope)
    return scope


def entries(text, normal=None, **names):
    """Yield the functions of a text, which may use these names; `normal` draws their inputs."""
    rng = np.random.default_rng(3)
    names |= {"np": np, "normal": normal or (lambda *shape: rng.normal(size=shape))}
    for block in text.strip("\n").split("\n\n"):
        header, *lines = block.splitlines()
        name, parameters, inputs = HEADER.fullmatch(header).groups()
        wrong = {line.split()[1].rstrip(":"): line.partition(":")[2].strip() for line in lines if line[:6] == "wrong "}
        follows = [name for line in lines if line[:8] == "follows:" for name in line[8:].split(", ")]
        says = {}
        for line in (line for line in lines if line[:5] == "says "):
            argument, pattern, given = re.fullmatch(r"says (\w+): ?(.*?)(?: given (.*))?", line).groups()
            given = given or inputs
            says.setdefault(given, (*eval(f"(lambda *a, **o: (a, o))({given})", names), {}))[2][argument] = pattern
        lines = [line for line in lines if not line.startswith(("wrong ", "follows:", "says "))]
        (at,) = [i for i, line in enumerate(lines) if line.startswith("backward(")]
        last = lines.pop() if lines[-1].startswith("return") else "return y, backward"
        source = [f"def {name}{parameters}:", *lines[:at], f"    def {lines[at]}"]
        source += [*(f"    {line}" for line in lines[at + 1 :]), f"    {last}\n"]
        function = compiled("\n".join(source), **names)[name]
        yield Entry(function, eval(f"({inputs},)", names), wrong, [name.strip() for name in follows], says)


def functions_in(text, normal=None, **names):
    """Return {name: (function, inputs)} of the functions of a text."""
    return {entry.function.__name__: (entry.function, entry.inputs) for entry in entries(text, normal, **names)}
