"""Beliefs as pages: each experiment of experiments/misconceptions, what it says before it is run, and what came out.

A chapter of the book shows what the authors measured; `minitransformer misconceptions` writes a page of what its reader
did, with the pictures.
"""

from html import escape

from minitransformer.book.appendix import row_of
from minitransformer.book.prose import inline
from minitransformer.experiments.misconceptions.report import Result, recorded

TITLE = "Misconceptions, tested"
OPENING = (
    "What people believe about language models, each belief as an experiment of two minutes. Every one says first what "
    "is measured and what each outcome would mean; predict it before you read on. The intervals are those of the mean "
    "over the seeds, at 95 %. Models as small as these can show that a belief is not true of every model, and not that "
    "it is true of none."
)


def beliefs():
    """The body of the book's chapter."""
    command = inline("To run them yourself, and to see each drawn: `minitransformer misconceptions`.")
    return [*beliefs_page(recorded(), {}), f"<p>{command}</p>"]


def beliefs_page(results: list[Result], pictures: dict):
    """The body of a page of results; `pictures` are {name of an experiment: the file beside the page}."""
    rows = "".join(map(row_of_result, results))
    heading = "<tr><th>belief</th><th>what came out</th><th>measured</th></tr>"
    return [
        f'<h1>{TITLE}</h1><p class="legend">{OPENING}</p><div class="scroll"><table>{heading}{rows}</table></div>',
        *(section(result, pictures.get(result.experiment.name)) for result in results),
    ]


def row_of_result(result: Result):
    """A row of the table of outcomes."""
    experiment = result.experiment
    outcome = "the seeds do not decide" if result.outcome is None else result.outcome.expected
    link = f'<a href="#{experiment.name}">{inline(experiment.belief)}</a>'
    return row_of(link, inline(f"{experiment.question} … {outcome}"), f"{result.decisive}, {escape(result.seeds)}")


def section(result: Result, picture: str | None):
    """An experiment: what it says before it is run, and what came out."""
    experiment = result.experiment
    means = "".join(f"<li>{inline(f'*{outcome.expected}*: {outcome.means}')}</li>" for outcome in experiment.outcomes)
    numbers = "".join(row_of(inline(experiment.numbers[name]), str(one)) for name, one in result.intervals.items())
    said = [*experiment.method, f"**Predict:** {experiment.question} …"]
    came = [f"**What came out**, with {result.seeds}:"]
    after = [result.found, f"**Not shown:** {experiment.does_not_show}"]
    after = [f"You expected: {result.expected}.", *after] if result.expected else after
    drawn = (
        f'<img src="{escape(picture)}" alt="{escape(experiment.belief)} What was measured, drawn.">' if picture else ""
    )
    return (
        f'<section class="belief" id="{experiment.name}"><h2>{inline(experiment.belief)}</h2>{paragraphs(said)}'
        f"<ul>{means}</ul>{paragraphs(came)}{drawn}<table>{numbers}</table>{paragraphs(after)}"
        f'<p class="legend">{"; ".join(map(escape, experiment.sources))}.</p></section>'
    )


def paragraphs(texts):
    """Paragraphs of prose."""
    return "".join(f"<p>{inline(text)}</p>" for text in texts)
