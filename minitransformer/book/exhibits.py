"""Format the pages on the museum of wrong gradients, on identities, and on beliefs about models.

The page on beliefs shows the authors' measurements. `minitransformer misconceptions` writes the same page with the
reader's measurements and with plots.
"""

import inspect
from html import escape

from gradcheck.identities import ROOMS as IDENTITIES
from gradcheck.museum import ROOMS, find, outcome, url
from minitransformer.book.chapters import BELIEFS
from minitransformer.book.pictures import table
from minitransformer.book.prose import inline
from minitransformer.experiments.misconceptions.report import Result, recorded

ABOUT_IDENTITIES = (
    "Each statement says that two programs compute the same function. A certificate decides this without a tolerance, "
    "for all inputs of these shapes that take the same decisions. The near miss, one edit of the second program, is "
    "refused, with the first entry that differs for small inputs."
)
OPENING = (
    "Common beliefs about language models, each tested by an experiment of two minutes. Each section first describes "
    "the measurement and the meaning of each outcome: predict the outcome before you open the result. The intervals "
    "are 95 % confidence intervals of the mean over the seeds. Small models can show that a belief does not hold for "
    "every model, but not that it holds for none."
)


def exhibits(names):
    shown = [exhibit_of(find(name)) for name in names]
    return (
        ['<section><h2>How others went wrong</h2><div class="exhibits">', *shown, "</div></section>"] if shown else []
    )


def museum():
    body = ["<h1>The museum of wrong gradients</h1>"]
    for room, exhibits in ROOMS.items():
        shown = "".join(map(exhibit_of, exhibits))
        body.append(f'<h2>{inline(" ".join(inspect.getdoc(room).split()))}</h2><div class="exhibits">{shown}</div>')
    return body


def exhibit_of(exhibit):
    code = "".join(marked(mark, line) for mark, line in exhibit.lines)
    check = "".join(marked(" ", line) for line in exhibit.check_lines)
    sources = ", ".join(f'<a href="{escape(url(source))}">{escape(source)}</a>' for source in exhibit.sources)
    return (
        f'<section class="exhibit"><div class="story"><h3 id="{exhibit.name}">{escape(exhibit.title)}</h3>'
        f"{paragraphs([exhibit.story])}<p>Reported in {sources}.</p></div><pre>{code}</pre>"
        f'<p class="story">The check that missed it; {escape(outcome(exhibit))}:</p>'
        f"<pre>{check}</pre>{paragraphs([exhibit.reason])}</section>"
    )


def gallery():
    """Return the body of the page on identities. Each of them is decided now."""
    body = ["<h1>Two programs, one function</h1>", f"<p>{ABOUT_IDENTITIES}</p>"]
    for title, entries in IDENTITIES.items():
        body += [f"<h2>{escape(title)}</h2>", *map(identity_of, entries)]
    return body


def identity_of(entry):
    statement, notation, near_miss = entry.words
    left, right = entry.code
    lines = [*((" ", line) for line in [*left, ""]), *((" ", line) for mark, line in right if mark != "+")]
    programs = "".join(marked(*line) for line in lines)
    edit = "".join(marked({"−": "+", "+": "−"}[mark], line) for mark, line in right if mark != " ")
    return (
        f'<section class="exhibit"><div class="story"><h3 id="{entry.name.replace(" ", "-")}">{escape(statement)}</h3>'
        f"<p>{escape(notation)}</p></div><pre>{programs}</pre>{paragraphs(str(entry.decide(seed=0)).splitlines())}"
        f"{paragraphs([f'Near miss: {near_miss}'])}<pre>{edit}</pre>"
        f"{paragraphs([str(entry.decide(entry.wrong(), seed=0))])}</section>"
    )


def marked(mark, line):
    kind = {"−": "was", "+": "is"}.get(mark, "both")
    indentation = len(line) - len(line.lstrip()) + 2
    return f'<span class="line {kind}" style="--in:{indentation}">{escape(f"{mark} {line}")}</span>'


def beliefs():
    command = inline("To run the experiments yourself and to plot the results: `minitransformer misconceptions`.")
    return [*beliefs_page(recorded(), {}), f"<p>{command}</p>"]


def beliefs_page(results: list[Result], pictures: dict):
    return [
        f'<h1>{BELIEFS}</h1><p class="legend">{OPENING}</p>',
        *(section(result, pictures.get(result.experiment.name)) for result in results),
        "<h2>All results</h2>",
        table("belief | result | measured", map(row_of_result, results)),
    ]


def row_of_result(result: Result):
    experiment = result.experiment
    outcome = "the seeds do not decide" if result.outcome is None else result.outcome.expected
    link = f'<a href="#{experiment.name}">{inline(experiment.belief)}</a>'
    return link, inline(f"{experiment.question} … {outcome}"), f"{signed(result.decisive)}, {escape(result.seeds)}"


def section(result: Result, picture: str | None):
    experiment = result.experiment
    means = "".join(f"<li>{inline(f'*{outcome.expected}*: {outcome.means}')}</li>" for outcome in experiment.outcomes)
    numbers = "".join(
        f"<tr><td>{inline(experiment.numbers[name])}</td><td>{signed(one)}</td></tr>"
        for name, one in result.intervals.items()
    )
    said = [*experiment.method, f"**Predict:** {experiment.question} …"]
    came = [f"**Result**, with {result.seeds}:"]
    after = [result.found, f"**Not shown:** {experiment.does_not_show}"]
    after = [f"You expected: {result.expected}.", *after] if result.expected else after
    drawn = (
        f'<img src="{escape(picture)}" alt="{escape(experiment.belief)} Plot of the measurements.">' if picture else ""
    )
    return (
        f'<section class="belief" id="{experiment.name}"><h2>{inline(experiment.belief)}</h2>{paragraphs(said)}'
        f"<ul>{means}</ul><details><summary>The result</summary>{paragraphs(came)}{drawn}<table>{numbers}</table>"
        f'{paragraphs(after)}</details><p class="legend">{"; ".join(map(escape, experiment.sources))}.</p></section>'
    )


def signed(interval) -> str:
    return str(interval).replace("-", "−")


def paragraphs(texts):
    return "".join(f"<p>{inline(text)}</p>" for text in texts)
