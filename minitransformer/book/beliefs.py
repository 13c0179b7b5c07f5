"""Pages on beliefs: each experiment of experiments/misconceptions, with its prediction and its results.

The chapter of the book shows the authors' measurements. `minitransformer misconceptions` writes a page of the reader's
measurements, with pictures.
"""

from html import escape

from minitransformer.book.appendix import row_of
from minitransformer.book.chapters import BELIEFS
from minitransformer.book.prose import inline
from minitransformer.experiments.misconceptions.report import Result, recorded

OPENING = (
    "Common beliefs about language models, each tested by an experiment of two minutes. Each section first describes "
    "the measurement and the meaning of each outcome: predict the outcome before you read the result. The intervals "
    "are 95 % confidence intervals of the mean over the seeds. Small models can show that a belief does not hold for "
    "every model, but not that it holds for none."
)


def beliefs():
    command = inline("To run the experiments yourself and to plot the results: `minitransformer misconceptions`.")
    return [*beliefs_page(recorded(), {}), f"<p>{command}</p>"]


def beliefs_page(results: list[Result], pictures: dict):
    """Return the body of a page of results.

    `pictures` maps the name of an experiment to a picture file in the folder of the page.
    """
    rows = "".join(map(row_of_result, results))
    heading = "<tr><th>belief</th><th>result</th><th>measured</th></tr>"
    return [
        f'<h1>{BELIEFS.title}</h1><p class="legend">{OPENING}</p>',
        f'<div class="scroll" tabindex="0"><table>{heading}{rows}</table></div>',
        *(section(result, pictures.get(result.experiment.name)) for result in results),
    ]


def row_of_result(result: Result):
    experiment = result.experiment
    outcome = "the seeds do not decide" if result.outcome is None else result.outcome.expected
    link = f'<a href="#{experiment.name}">{inline(experiment.belief)}</a>'
    return row_of(link, inline(f"{experiment.question} … {outcome}"), f"{result.decisive}, {escape(result.seeds)}")


def section(result: Result, picture: str | None):
    experiment = result.experiment
    means = "".join(f"<li>{inline(f'*{outcome.expected}*: {outcome.means}')}</li>" for outcome in experiment.outcomes)
    numbers = "".join(row_of(inline(experiment.numbers[name]), str(one)) for name, one in result.intervals.items())
    said = [*experiment.method, f"**Predict:** {experiment.question} …"]
    came = [f"**Result**, with {result.seeds}:"]
    after = [result.found, f"**Not shown:** {experiment.does_not_show}"]
    after = [f"You expected: {result.expected}.", *after] if result.expected else after
    drawn = (
        f'<img src="{escape(picture)}" alt="{escape(experiment.belief)} Plot of the measurements.">' if picture else ""
    )
    return (
        f'<section class="belief" id="{experiment.name}"><h2>{inline(experiment.belief)}</h2>{paragraphs(said)}'
        f"<ul>{means}</ul>{paragraphs(came)}{drawn}<table>{numbers}</table>{paragraphs(after)}"
        f'<p class="legend">{"; ".join(map(escape, experiment.sources))}.</p></section>'
    )


def paragraphs(texts):
    return "".join(f"<p>{inline(text)}</p>" for text in texts)
