"""A page: a file of derivations as HTML, the derivation on the left and the code on the right."""

import inspect
import textwrap
from html import escape

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.chapter import EQUAL
from minitransformer.book.listing import listing
from minitransformer.book.observation import numbers_of_lines
from minitransformer.book.prose import blocks, inline
from minitransformer.book.reading import passages
from minitransformer.book.specimens import NOT_EXECUTED
from minitransformer.book.typesetting import mathml, names_in

FORMAT = np.vectorize(lambda number: f"{number:.3g}".replace("-", "−"), otypes=[object])
SHOWN = 3  # entries of an array


def whole_page(title, body, before=None, after=None, numbers=()):
    """Return a whole document."""
    light = "".join(f"body:has(.e{k}:hover) .e{k}{{background:var(--light)}}" for k in sorted(numbers))
    links = [f'<a href="{c.page}.html">{sign} {escape(c.title)}</a>' if c else "" for c, sign in ((before, "←"),)]
    links.append('<a href="index.html">contents</a>')
    links.append(f'<a href="{after.page}.html">{escape(after.title)} →</a>' if after else "")
    navigation = f"<nav>{''.join(f'<span>{link}</span>' for link in links)}</nav>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="book.css">\n<style>{light}</style>\n</head>\n'
        f"<body>\n{navigation}\n{''.join(body)}\n{navigation}\n</body>\n</html>\n"
    )


def docstring_page(title, text):
    """The body of a page of prose."""
    body = [f"<h1>{escape(title)}</h1>"]
    for kind, content in blocks(inspect.cleandoc(text)):
        drawing = "" if kind == "prose" else escape(textwrap.dedent("\n".join(content)))
        body.append(f"<p>{inline(content)}</p>" if kind == "prose" else f'<pre class="drawing">{drawing}</pre>')
    return ['<div class="passage whole"><div class="words">', *body, "</div></div>"]


def is_shown(passage):
    """Whether a passage is part of the chapter: what only checks arguments is not."""
    return not passage.function.rpartition(".")[2].startswith(("check_", "require_"))


class Words:
    """Makes the passages of one chapter."""

    def __init__(self, file, text):
        self.file, self.text, self.of = file, text, {}
        for statement in text.statements:
            self.of.setdefault((statement.function, statement.text), []).append(statement)
        self.names = names_in(side for s in text.statements for side in s.equation.sides)
        self.known = {s.number for s in text.statements if s.number}
        self.numbers = numbers_of_lines(text.source)
        self.line_of = {}
        for line, numbers in self.numbers.items():
            for number in numbers:
                self.line_of.setdefault(number, line)
        self.anchored = set()

    def passages(self):
        """Yield the passages that are shown."""
        return [self.passage(passage) for passage in passages(self.text.source) if is_shown(passage)]

    def passage(self, passage):
        """A docstring beside its code."""
        words = "".join(self.block(kind, content, passage.function) for kind, content in blocks(passage.docstring))
        if not passage.function:
            return f'<div class="passage whole"><div class="words">{words}</div></div>'
        code = listing(dedented(passage.lines), self.numbers, self.known)
        return f'<div class="passage"><div class="words">{words}</div><pre>{code}</pre></div>'

    def block(self, kind, content, function):
        """A paragraph, or the equations of an indented one."""
        if kind == "prose":
            return f"<p>{inline(content)}</p>"
        if not any((function, line.strip()) in self.of for line in content):
            drawing = textwrap.dedent("\n".join(content))
            return f'<pre class="drawing">{escape(drawing)}</pre>'
        return "".join(self.equations(line.strip(), function) for line in content)

    def equations(self, text, function):
        """The equations of one line."""
        statements = self.of.get((function, text))
        if not statements:
            return f'<pre class="drawing">{escape(text)}</pre>'
        parts = n.parse_line(text).parts
        markup, left = "", list(statements)
        for part in parts:
            if left and part == left[0].equation:
                markup += self.equation(left.pop(0), parts)
        return markup

    def equation(self, statement, parts):
        """An equation, its number and its value."""
        remarks = " ".join(escape(remark) for remark in statement.remarks)
        ranges = "".join(mathml(part, self.names) for part in statement.ranges)
        number, anchor, classes = "", "", ""
        if statement.number:
            number = f'<a class="number" href="#L{self.line_of.get(statement.number, 1)}">({statement.number})</a>'
            classes = f" e{statement.number}"
            if statement.number not in self.anchored:
                anchor = f' id="eq-{statement.number}"'
                self.anchored.add(statement.number)
        return (
            f'<div class="equation{classes}"{anchor}><div>{mathml(statement.equation, self.names)}'
            f'{ranges}<span class="remark">{remarks}</span></div>'
            f'<span class="value">{self.value(statement)}</span>{number}</div>'
        )

    def value(self, statement):
        """What an equation is worth on the small inputs, and whether it equals its line."""
        if statement.verdict != EQUAL:
            reason = NOT_EXECUTED.get((self.file, statement.number), statement.verdict)
            return f"not executed: {escape(reason)}"
        return "" if statement.value is None else f'<span class="equal">= {entries(statement.value)}</span>'


def entries(value):
    """The shape of an array and its first entries."""
    value = np.asarray(value)
    flat = ", ".join(FORMAT(value.ravel()[:SHOWN])) + (", …" if value.size > SHOWN else "")
    shape = " × ".join(map(str, value.shape))
    return f"{flat}{f' &nbsp;({shape})' if shape else ''}"


def dedented(lines):
    """Lines of code without the indentation that they share."""
    common = min((len(text) - len(text.lstrip()) for _, text in lines if text.strip()), default=0)
    return [(at, text[common:]) for at, text in lines]
