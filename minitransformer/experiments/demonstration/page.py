"""The page of the demonstration: the samples, the pictures, and a link to the interactive analysis."""

import html
import textwrap
from pathlib import Path

from minitransformer.analysis.page import page_findings, render_page
from minitransformer.experiments.demonstration.narration import printable
from minitransformer.experiments.demonstration.repeating import INDUCTION_FILE, INDUCTION_LOSS_FILE
from minitransformer.experiments.demonstration.writing import ATTENTION_FILE, SENTENCE
from minitransformer.language_model import LanguageModel
from minitransformer.system.files import write_atomically
from minitransformer.system.narrator import Narrator
from minitransformer.training import LOSS_FILE

PAGE_FILE, ANALYSIS_FILE = "index.html", "analysis.html"

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Two language models, trained here</title>
<style>
:root {{ --paper: #ffffff; --ink: #1a1a1a; --faint: #626262; --line: #d5d5d5; --link: #0b57d0; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181c; --ink: #ececec; --faint: #a4a4a4; --line: #3a3d44; --link: #8ab4f8; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; }}
h2 {{ font-size: 1.2rem; margin-top: 2rem; border-top: 1px solid var(--line); padding-top: 1rem; }}
h3 {{ font-size: 1rem; margin-bottom: .25rem; }}
a {{ color: var(--link); }}
pre {{ margin: 0; padding: .75rem; border: 1px solid var(--line); border-radius: .4rem; font-size: .875rem; }}
pre.sample {{ white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto; }}
pre.row {{ overflow-x: auto; }}
.samples {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }}
.samples > div {{ min-width: 0; }}
figure {{ margin: 1rem 0; }}
img {{ display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: .4rem; }}
figcaption {{ color: var(--faint); font-size: .9rem; margin-top: .25rem; }}
</style>
</head>
<body>
<h1>Two language models, trained here</h1>
<p>Both are plain NumPy, with every backward pass written by hand.</p>
<h2>A model that learns to continue sequences it has never seen</h2>
<p>Each row of its training is another sequence of random symbols, so memorising does not help. Its predictions for a
new sequence, from the first repeated symbol on:</p>
<pre class="row" tabindex="0" role="region" aria-label="A sequence and the predictions">{predictions}</pre>
{induction}
<h2>A model that writes</h2>
<p>It learned from the Python manual, by predicting the next token. All samples have the same beginning.</p>
<div class="samples">
{samples}
</div>
{writing}
<p><a href="{analysis}">Why does it predict what it predicts?</a> An interactive page shows the probabilities, the
attention of each head and the contribution of each component for one sentence.</p>
</body>
</html>
"""


def write_page(
    out: Path, lm: LanguageModel, records: list[dict], reason: str, predictions: str, *, drawn: bool
) -> Path:
    """Write index.html and analysis.html in the folder `out`, and return the path of index.html.

    records       the metrics of the model that writes, which contain its samples
    reason        why the validation loss lies above the training loss, or ""
    predictions   a sequence of symbols with the predictions of the model that repeats
    drawn         True if the folder contains the pictures
    """
    with Narrator().progress("explaining", "tokens") as progress:
        analysis = render_page(page_findings(lm, SENTENCE, progress=progress), SENTENCE)
    samples = []
    for record in records:
        if "sample" in record:
            title = f"After step {record['step']}" if record["step"] else "Before training"
            text = html.escape(printable(record["sample"]))
            samples.append(f'<div><h3>{title}</h3><pre class="sample" tabindex="0">{text}</pre></div>')
    heads = "Each box is a head, each row a token, and its colours are the earlier tokens from which the head reads."
    pictures = {
        "induction": [
            (INDUCTION_LOSS_FILE, "The loss. It falls fast once a model has found the procedure."),
            (INDUCTION_FILE, f"{heads} An induction head reads at the outlined places."),
        ],
        "writing": [(LOSS_FILE, f"The loss. {reason}".strip()), (ATTENTION_FILE, heads)],
    }
    figures = {
        part: "\n".join(
            f'<figure><img src="{file}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for file, caption in files
        )
        for part, files in pictures.items()
    }
    if not drawn:
        figures = {"induction": "", "writing": f"<p>{html.escape(reason)}</p>" if reason else ""}
    page = TEMPLATE.format(
        predictions=html.escape(textwrap.dedent(predictions)),
        samples="\n".join(samples),
        analysis=ANALYSIS_FILE,
        **figures,
    )
    for name, text in ((ANALYSIS_FILE, analysis), (PAGE_FILE, page)):
        content = text.encode("utf-8")
        write_atomically(out / name, lambda file, content=content: file.write(content))
    return out / PAGE_FILE
