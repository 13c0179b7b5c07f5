"""Format a file of derivations as HTML: derivation on the left, code on the right."""

import inspect
import textwrap
from html import escape
from itertools import groupby

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.derivations import EQUAL, names_of
from minitransformer.book.graph import picture_of
from minitransformer.book.listing import listing, marks_of, passages
from minitransformer.book.observation import numbers_of_lines
from minitransformer.book.pictures import heat_map, written
from minitransformer.book.prose import blocks, inline
from minitransformer.book.run import BACKWARD, WIDEST, is_numeric
from minitransformer.book.typesetting import mathml

SHOWN = 3  # number of entries to show of an array
LEGEND = (
    "Each equation is executed on small arrays, which are listed below. A value in green is computed by the code and "
    'equals that of the equation.<span class="screen"> Point at an equation to highlight its line of code.</span>'
)


def whole_page(title, body, numbers=(), navigation=""):
    light = "".join(
        f"body:has(.e{k}:hover) .e{k}{{background:var(--light);--box:var(--light)}}" for k in sorted(numbers)
    )
    below = navigation.replace("<nav", '<nav aria-label="pages, repeated"')
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="book.css">\n<style>{light}</style>\n</head>\n'
        f"<body>\n{navigation}\n<main>\n{''.join(body)}\n</main>\n{below}\n</body>\n</html>\n"
    )


def navigation(before, after):
    back = f'<a href="{before.page}.html">← {escape(before.title)}</a>' if before else ""
    on = f'<a href="{after.page}.html">{escape(after.title)} →</a>' if after else ""
    return f'<nav><span>{back}</span><span><a href="index.html">contents</a></span><span>{on}</span></nav>'


def docstring_page(title, text):
    body = [f"<h1>{escape(title)}</h1>"]
    for kind, content in blocks(inspect.cleandoc(text)):
        body.append(f"<p>{inline(content)}</p>" if kind == "prose" else drawing(content))
    return ['<div class="passage whole"><div class="words">', *body, "</div></div>"]


def drawing(lines):
    return f'<pre class="drawing" tabindex="0">{escape(textwrap.dedent(chr(10).join(lines)))}</pre>'


def is_shown(passage):
    return not passage.function.rpartition(".")[2].startswith(("check_", "require_"))


class Words:
    def __init__(self, derivations):
        self.derivations, self.of = derivations, {}
        for statement in (s for s in derivations.statements if not s.in_prose):
            self.of.setdefault((statement.function, statement.text), []).append(statement)
        self.names = names_of(derivations.statements)
        self.known = {s.number for s in derivations.statements if s.number is not None}
        self.numbers, self.marks = numbers_of_lines(derivations.source), marks_of(derivations.source)
        self.line_of = {n: line for line, numbers in reversed(self.numbers.items()) for n in numbers}
        self.anchored, self.pictured, self.has_graph = set(), set(), False

    def passages(self):
        shown = [passage for passage in passages(self.derivations.source) if is_shown(passage)]
        body = []
        for derives, some in groupby(shown, key=lambda p: not p.function or any(p.function == f for f, _ in self.of)):
            made = "".join(map(self.passage, some))
            body.append(made if derives else f'<div class="plain">{made}</div>')
        return body

    def passage(self, passage):
        words = "".join(self.block(kind, content, passage.function) for kind, content in blocks(passage.docstring))
        words += self.pictures(passage.function)
        if not passage.lines or not passage.function:
            return f'<div class="passage whole"><div class="words">{words}</div></div>'
        code = listing(passage.lines, self.numbers, self.known, self.marks)
        side = "passage" if self.derivations.statements else "passage above"
        return f'<div class="{side}"><div class="words">{words}</div><pre>{code}</pre></div>'

    def block(self, kind, content, function):
        if kind == "prose":
            return f"<p>{inline(content, self.names)}</p>"
        if not any((function, line.strip()) in self.of for line in content):
            return drawing(content)
        lines = [line.strip() for line in content if line.strip()]
        return "".join("".join(map(self.equation, self.of.get((function, t), ()))) or drawing([t]) for t in lines)

    def equation(self, statement):
        remarks = " ".join(map(escape, statement.remarks))
        ranges = "".join(f",&ensp;{mathml(part, self.names)}" for part in statement.ranges)
        number = ""
        if statement.number is not None:
            line, tag = self.line_of.get(statement.number), f"({statement.number})"
            number = f'<a class="number" href="#L{line}">{tag}</a>' if line else f'<span class="number">{tag}</span>'
        return (
            f'<div {self.tied("equation", statement)}><div><span class="formula" tabindex="0">'
            f"{mathml(statement.equation, self.names)}{ranges}</span>"
            f'<span class="remark">{remarks}</span>{self.value(statement)}</div>{number}</div>'
            f"{self.heat_map(statement)}"
        )

    def tied(self, classes, statement):
        if statement.number is None:
            return f'class="{classes}"'
        anchor = "" if statement.number in self.anchored else f' id="eq-{statement.number}"'
        self.anchored.add(statement.number)
        return f'class="{classes} e{statement.number}"{anchor}'

    def value(self, statement):
        if statement.verdict == EQUAL:
            return f'<span class="value equal">= {entries(statement.value)}</span>'
        return f'<span class="value{" different" * bool(statement.errors)}">{escape(statement.in_words)}</span>'

    def heat_map(self, statement):
        """Return a heat map of the Jacobian that an equation defines, or "" if it defines none."""
        left, run = statement.equation.sides[0], statement.shown_on
        if run is None or not isinstance(left, n.Derivative):
            return ""
        if not (isinstance(left.of, n.Symbol) and isinstance(left.by, n.Symbol)):
            return ""
        letters, matrix = left.of.subscript + left.by.subscript, run.jacobian(left.of.base, left.by.base)
        both = [letter for letter in left.of.subscript if letter in left.by.subscript]
        if matrix.ndim != len(letters) or len(set(left.of.subscript)) - len(both) != 1:
            return ""
        matrix = matrix[tuple(0 if letter in both else slice(None) for letter in letters)]
        if matrix.ndim != 2 or max(matrix.shape) > WIDEST:
            return ""
        self.pictured.add(run.specimen.function)
        names = ", ".join(f"<i>{letter}</i>" for letter in both)
        return figure(matrix, left, f" for one {names}" if both else " at one position")

    def pictures(self, function):
        """Return the graph of a function and, for a backward pass, Jacobians of the forward pass.

        The attribute `shows` of a specimen selects the Jacobians. The default is that of the output with respect to x,
        unless an equation has already shown it.
        """
        graph = picture_of(function, self.derivations, explained=not self.has_graph)
        self.has_graph = self.has_graph or bool(graph)
        if not function.endswith(BACKWARD):
            return graph
        function = function.removesuffix(BACKWARD)
        runs = [run for run in self.derivations.runs if run.specimen.function == function]
        named = "".join(
            figure(np.squeeze(run.jacobian(of, by)), entry(of, "i", by, "j"), said=f". {words}")
            for run in runs
            for (of, by), words in run.specimen.shows.items()
        )
        if named:
            return f'{graph}<div class="maps">{named}</div>'
        run, name = next(((run, run.name_of_output()) for run in runs if run.name_of_output()), (None, ""))
        if not name or function in self.pictured:
            return graph
        self.pictured.add(function)
        return graph + figure(run.jacobian(name, "x"), entry(name, "i", "x", "j"), " at one position")


def entry(of, i, by, j):
    return n.Derivative(n.Symbol(f"{of}_{i}"), n.Symbol(f"{by}_{j}"))


def figure(matrix, derivative, where="", said=""):
    rows, columns = derivative.of.subscript, derivative.by.subscript
    (row,), (column,) = set(rows) - set(columns), set(columns) - set(rows)
    caption = mathml(n.Equation((derivative,), ()))
    return (
        f"<figure>{heat_map(matrix, derivative.of.base, derivative.by.base)}<figcaption>{caption}{where}: "
        f"a row for each <i>{row}</i>, a column for each <i>{column}</i>{said}</figcaption></figure>"
    )


def entries(value):
    if not is_numeric(value):
        return "its line"
    value = np.asarray(value)
    flat = ", ".join(map(written, value.ravel()[:SHOWN])) + (", …" if value.size > SHOWN else "")
    shape = " × ".join(map(str, value.shape))
    return f"{flat}{f' &nbsp;({shape})' if shape else ''}"
