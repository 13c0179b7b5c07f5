"""Format a file of derivations as a page: prose, ladders, and the reasons of each gradient beside its lines."""

import inspect
import re
import textwrap
from functools import cached_property
from html import escape

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.derivations import EQUAL, names_of
from minitransformer.book.graph import picture_of
from minitransformer.book.ladder import Drawing, ladder_of
from minitransformer.book.listing import listing, marks_of, passages
from minitransformer.book.observation import numbers_of_lines
from minitransformer.book.pictures import matrix
from minitransformer.book.prose import blocks, inline
from minitransformer.book.run import BACKWARD, WIDEST
from minitransformer.book.typesetting import are_matrices, mathml, matrices

# The name of a file, or of chapter zero, outside a tag, a link and a listing
REFERENCE = re.compile(r"(?<![\w/.\"#>=-])(?:(\w+)\.py|chapter zero)\b(?![^<>]*(?:>|</a>|</code>|</script>))")
LONG = 40  # characters of an equation, from which on its type is smaller in a ladder
ASIDE = ("Saved for backward", "Raises")  # the first words of paragraphs that stand in the margin
CONTINUES = re.compile(r"([a-z].*?[.:])(?:\s+(?=[A-Zx∂])|$)")  # the rest of a sentence that an equation interrupts


def whole_page(title, body, numbers=(), navigation=""):
    light = "".join(f"body:has(.e{k}:hover) .e{k}{{background:var(--light)}}" for k in sorted(numbers))
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
    return f'<nav><span>{back}</span><span><a href="index.html">Contents</a></span><span>{on}</span></nav>'


def cross_linked(markup, chapters):
    """Link the names of files, such as softmax.py, to their chapters."""

    def link(match):
        page = match[1] or "module"
        return f'<a href="{page}.html">{match[0]}</a>' if page in chapters else match[0]

    return REFERENCE.sub(link, markup)


def docstring_page(title, text):
    body = [f"<h1>{escape(title)}</h1>"]
    for kind, content in blocks(inspect.cleandoc(text)):
        body.append(f"<p>{inline(content)}</p>" if kind == "prose" else drawing(content))
    return body


def drawing(lines):
    if are_matrices(lines):
        return f'<div class="formula matrices" tabindex="0">{matrices(lines)}</div>'
    return f'<pre class="drawing" tabindex="0">{escape(textwrap.dedent(chr(10).join(lines)))}</pre>'


def columns(left, right="", kind=""):
    aside = f'<div class="aside">{right}</div>' if right else ""
    return f'<div class="columns{f" {kind}" if kind else ""}"><div class="words">{left}</div>{aside}</div>'


def details(summary, *parts):
    inside = "".join(parts)
    return f"<details><summary>{summary}</summary>{inside}</details>" if inside else ""


class Words:
    """The formatter of a file. Its lines are linked, unless the page does not contain the file.

    `blank` maps the ids of statements to the heights of blanks, in millimetres. `mistakes` are those of planted.py,
    which a live ladder plants. If it is None, no ladder is live.
    """

    def __init__(self, derivations, blank=None, has_file=True):
        self.derivations, self.blank, self.has_file = derivations, blank, has_file
        self.mistakes: list | None = None
        self.of: dict = {}
        for statement in (s for s in derivations.statements if not s.in_prose):
            self.of.setdefault((statement.function, statement.text), []).append(statement)
        self.names = names_of(derivations.statements)
        self.known = {s.number for s in derivations.statements if s.number is not None}
        self.numbers, self.marks = numbers_of_lines(derivations.source), marks_of(derivations.source)
        self.line_of = derivations.lines
        self.anchored: set = set()
        self.pictured: set = set()

    @cached_property
    def ladders(self) -> dict:
        functions = dict.fromkeys(f.removesuffix(BACKWARD) for f, _ in self.of if f)
        found = {function: ladder_of(function, self.derivations) for function in functions}
        return {function: ladder for function, ladder in found.items() if ladder is not None}

    def parts(self, right=lambda function: ""):
        """Return the sections of a chapter, in the order of the file: its docstring, and the functions with equations.

        If there is no ladder, each function has a section. `right(function)` is the HTML that says whether the
        gradients of a function are right.
        """
        docstrings = {passage.function: passage for passage in passages(self.derivations.source)}
        sections = []
        for function, passage in docstrings.items():
            if function in self.ladders:
                backward = docstrings.get(function + BACKWARD)
                sections.append(self.function(self.ladders[function], passage, backward, right(function)))
            elif function.removesuffix(BACKWARD) in self.ladders:
                continue
            elif not function or not self.ladders or any(f == function for f, _ in self.of):
                sections.append(self.passage(passage))
        return sections

    def function(self, ladder, passage, backward, right):
        lead, notes, aside = self.lead_and_notes(passage, ladder)
        name = escape(passage.function.removesuffix(".forward"))
        way = "forward and backward, line by line" if ladder.backward else "line by line"
        heading = f"{name}: {way}" if len(self.ladders) > 1 else f"{way[0].upper()}{way[1:]}"
        if self.blank is not None:  # a handout asks for every gradient, and gives no reason
            asked = [s for group in self.of.values() for s in group if s.function == ladder.function + BACKWARD]
            notes += "".join(self.equation(s) for s in asked if s.number is not None and not ladder.has(s))
        why = self.why(ladder, backward) if backward and self.blank is None else ""
        why = f"<h2>Why{f': the gradients of {name}' * (len(self.ladders) > 1)}</h2>{why}" if why else ""
        return (
            f'<section class="function"><h2>{heading}</h2>{columns(lead, aside)}{Drawing(ladder, self).html()}'
            f"{columns(notes) if notes else ''}{right}{why}</section>"
        )

    def lead_and_notes(self, passage, ladder):
        """Return the HTML of a docstring before its first numbered equations, after them, and in the margin.

        The ladder replaces these equations, except those that its call does not execute.
        """
        lead, notes, aside, into = "", "", "", None
        for kind, content in blocks(passage.docstring):
            if kind == "prose" and content.startswith(ASIDE):
                aside += f"<p>{inline(content, self.names)}</p>"
            elif into is None and kind == "indented" and self.is_numbered(content, passage.function):
                into = "notes"
                lines = [s for line in content for s in self.of.get((passage.function, line.strip()), ())]
                notes += "".join(self.equation(s) for s in lines if not ladder.has(s))
            elif into is None:
                lead += self.block(kind, content, passage.function)
            else:
                notes += self.block(kind, content, passage.function)
        return lead, notes, aside

    def is_numbered(self, lines, function):
        statements = [s for line in lines for s in self.of.get((function, line.strip()), ())]
        return any(s.number is not None for s in statements)

    def why(self, ladder, passage):
        """Divide the docstring of backward after its numbered equations into steps, each beside its lines."""
        steps: list = [[]]
        for kind, content in blocks(passage.docstring):
            before = steps[-1][-1] if steps[-1] else ("", [])
            ends = before[0] == "indented" and self.is_numbered(before[1], passage.function)
            if ends and kind == "prose" and (rest := CONTINUES.match(content)):
                steps[-1].append((kind, rest[1]))
                content = content[rest.end() :]
            if ends and content:
                steps.append([])
            if content:
                steps[-1].append((kind, content))
        if len(steps) > 1 and not any(self.is_numbered(c, passage.function) for k, c in steps[-1] if k == "indented"):
            last = steps.pop()
            steps[-1] += last
        return "".join(self.step(ladder, step, passage.function) for step in steps)

    def step(self, ladder, step, function):
        lines = [line.strip() for kind, content in step if kind == "indented" for line in content]
        its_own = [s for line in lines for s in self.of.get((function, line), ()) if s.number is not None]
        cells = [cell for cell in ladder.backward if any(s in its_own for s in cell.statements)]
        mirrored = [cell for cell in ladder.forward if any({*cell.numbers} & other.mirrors for other in cells)]
        text = "".join(self.block(kind, content, function) for kind, content in step)
        beside = self.code(mirrored, "forward") + self.code(cells, "grad")
        maps = "" if cells and cells[-1] is not ladder.backward[-1] else self.jacobians(ladder.function)
        return columns(heading_of(mirrored, self.names) + text, beside + maps, "why-step")

    def code(self, cells, way):
        """Return the lines of cells as HTML, linked to the listing of the file."""
        shown = ""
        for cell in cells:
            tie = "".join(f" e{number}" for number in cell.numbers)
            for at, text in cell.lines:
                tag, link = ("a", f' href="#L{at}"') if self.has_file else ("span", "")
                style = f'style="--in:{len(text) - len(text.lstrip())}"'
                shown += f'<{tag}{link} class="line{tie}" data-line="{at}" {style}>{escape(text.strip())}</{tag}>'
        return f'<code class="code {way}">{shown}</code>' if shown else ""

    def passage(self, passage):
        words, aside = "", ""
        for k, (kind, content) in enumerate(blocks(passage.docstring)):
            made = self.block(kind, content, passage.function)
            if kind == "prose" and content.startswith(ASIDE):
                aside += made
            else:
                words += made if passage.function or k else made.replace("<p>", '<p class="summary">', 1)
        if not passage.lines or not passage.function:
            return columns(words, aside)
        words += aside
        return columns(words, self.listed(passage), "passage")

    def listed(self, passage):
        return f"<pre>{listing(passage.lines, self.numbers, self.known, self.marks, self.anchored)}</pre>"

    def whole_file(self):
        parts = "".join(map(self.listed, passages(self.derivations.source)))
        return f'<div class="file">{parts}</div>'

    def block(self, kind, content, function):
        if kind == "prose":
            return f"<p>{inline(content, self.names)}</p>"
        if not any((function, line.strip()) in self.of for line in content):
            return drawing(content)
        made = ""
        for text in (line.strip() for line in content if line.strip()):
            statements = self.of.get((function, text), ())
            equations = [*map(self.equation, statements)]
            beside = "".join(f"<div>{equation}</div>" for equation in equations)
            made += (
                f'<div class="beside">{beside}</div>' if len(equations) > 1 else "".join(equations) or drawing([text])
            )
        return made

    def equation(self, statement):
        remarks = " ".join(map(escape, statement.remarks))
        ranges = "".join(f",&ensp;{mathml(part, self.names)}" for part in statement.ranges)
        is_blank = self.blank is not None and statement.is_of_gradient
        formula = mathml(statement.equation, self.names, only_left=is_blank) + ranges * (not is_blank)
        blank = f'<span class="blank" style="height:{self.blank[id(statement)]:.0f}mm"></span>' if is_blank else ""
        long = " long" * (statement.length > LONG)
        number = ""
        if statement.number is not None:
            line, tag = self.line_of.get(statement.number), f"({statement.number})"
            is_linked = line and self.has_file
            number = (
                f'<a class="number" href="#L{line}">{tag}</a>' if is_linked else f'<span class="number">{tag}</span>'
            )
        return (
            f'<div {self.tied(f"equation{long}", statement)}><span class="formula" tabindex="0">{formula}</span>{blank}'
            f'<span class="remark">{remarks * (not is_blank)}</span>{self.verdict(statement)}{number}</div>'
            f"{self.jacobian_of(statement)}"
        )

    def tied(self, classes, statement):
        if statement.number is None:
            return f'class="{classes}"'
        anchor = "" if statement.number in self.anchored else f' id="eq-{statement.number}"'
        self.anchored.add(statement.number)
        return f'class="{classes} e{statement.number}"{anchor}'

    def verdict(self, statement):
        """Return the words for an equation that does not equal its line, or is not executed."""
        if statement.verdict == EQUAL:
            return ""
        return f'<span class="verdict{" wrong" * bool(statement.errors)}">{escape(statement.in_words)}</span>'

    def jacobian_of(self, statement):
        """Return a heat map of the Jacobian that an equation defines, or "" if it defines none."""
        left, run = statement.equation.sides[0], statement.shown_on
        if run is None or not isinstance(left, n.Derivative):
            return ""
        if not (isinstance(left.of, n.Symbol) and isinstance(left.by, n.Symbol)):
            return ""
        letters, values = left.of.subscript + left.by.subscript, run.jacobian(left.of.base, left.by.base)
        both = [letter for letter in left.of.subscript if letter in left.by.subscript]
        if values.ndim != len(letters) or len(set(left.of.subscript)) - len(both) != 1:
            return ""
        values = values[tuple(0 if letter in both else slice(None) for letter in letters)]
        if values.ndim != 2 or max(values.shape) > WIDEST:
            return ""
        self.pictured.add(run.specimen.function)
        names = ", ".join(f"<i>{letter}</i>" for letter in both)
        return figure(values, left, f" for one {names}" if both else " at one position")

    def jacobians(self, function):
        """Return heat maps of the Jacobians of the forward pass.

        The attribute `shows` of a specimen selects the Jacobians. The default is that of the output with respect to x,
        unless an equation has already shown it.
        """
        runs = [run for run in self.derivations.runs if run.specimen.function == function]
        named = "".join(
            figure(np.squeeze(run.jacobian(of, by)), entry(of, "i", by, "j"), said=f". {words}")
            for run in runs
            for (of, by), words in run.specimen.shows.items()
        )
        if named:
            return f'<div class="maps">{named}</div>'
        run, name = next(((run, run.name_of_output()) for run in runs if run.name_of_output()), (None, ""))
        if not name or function in self.pictured:
            return ""
        self.pictured.add(function)
        return figure(run.jacobian(name, "x"), entry(name, "i", "x", "j"), " at one position")

    def graphs(self):
        drawn = [picture_of(function, self.derivations, explained=k == 0) for k, function in enumerate(self.ladders)]
        return "".join(drawn)


def heading_of(cells, names):
    """Return the heading of a step back through the equations of forward cells."""
    numbers = sorted({number for cell in cells for number in cell.numbers})
    if not numbers:
        return ""
    if len(numbers) == 1 and len(cells[0].statements) == 1:
        equation = mathml(cells[0].statements[0].equation, names, display=False)
        return f"<h3>Back through ({numbers[0]}), {equation}</h3>"
    is_range = len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1
    said = f"({numbers[0]}) to ({numbers[-1]})" if is_range else " and ".join(f"({number})" for number in numbers)
    return f"<h3>Back through {said}</h3>"


def entry(of, i, by, j):
    return n.Derivative(n.Symbol(f"{of}_{i}"), n.Symbol(f"{by}_{j}"))


def figure(values, derivative, where="", said=""):
    rows, columns = derivative.of.subscript, derivative.by.subscript
    (row,), (column,) = set(rows) - set(columns), set(columns) - set(rows)
    caption = mathml(n.Equation((derivative,), ()))
    name = f"∂{derivative.of.base}/∂{derivative.by.base}"
    return (
        f"<figure>{matrix('', values, name=name)}<figcaption>{caption}{where}: "
        f"a row for each <i>{row}</i>, a column for each <i>{column}</i>{said}</figcaption></figure>"
    )
