"""Build the live training step: one_page.py on five letters of the reader's choice.

Every line of the film is shown with all its values. In a browser, the letters and the weights can be changed, each
mistake of the film can be planted, and AdamW takes 200 steps (static/train.js).
"""

import json
from html import escape
from pathlib import Path

from minitransformer import one_page
from minitransformer.book.film import IDS, LETTERS, MISTAKES, WEIGHTS, WORD, H, filmed
from minitransformer.book.live import example
from minitransformer.book.pictures import matrix
from minitransformer.book.worked_example import NAMES

STEPS = 200


def five_letters() -> str:
    run, source = filmed().execution, Path(one_page.__file__).read_text("utf-8")
    places = {line.split("  #")[0].strip(): at for at, line in enumerate(source.split("\n"), start=1)}
    weights = "".join(array(name, value, "forward") for name, value in zip(NAMES, WEIGHTS, strict=True))
    forward = "".join(step(one, places, "forward") for one in run.forward)
    backward = "".join(step(one, places, "grad") for one in run.back)
    mistakes = [(title, source.replace(*edit.split(" → "))) for title, _, edit in MISTAKES]
    options = {"ids": IDS[:, :-1], "targets": IDS[:, 1:], "H": H}
    data = example(one_page.gpt, WEIGHTS, options, {"dloss": 1.0}, mistakes, also=[one_page.adamw])
    setting = escape(json.dumps({"word": WORD, "letters": LETTERS, "steps": STEPS}), quote=True)
    return (
        f'<section class="screen"><h2>The same on your own five letters</h2><p>A model of {H} heads reads four letters '
        f"and predicts the next one at each position: after <code>{' '.join(WORD[:-1])}</code> these are "
        f"<code>{' '.join(WORD[1:])}</code>. Weights can be dragged or typed. A training step changes all of them by "
        "AdamW, with the gradients below.</p>"
        f'<section class="ladder" data-function="gpt" aria-label="gpt, line by line" data-training="{setting}">'
        f'<h3>Weights</h3><div class="arrays">{weights}</div><h3 class="forward">Forward, read down ↓</h3>{forward}'
        f'<h3 class="back">Backward, read down: the lines in reverse ↓</h3>{backward}{data}</section></section>'
    )


def array(name, value, way):
    return matrix(f"<var>{escape(name)}</var>", value, way, name)


def step(one, places, way):
    comment, at = one.comment.partition("(")[0], places[one.code]
    arrays = "".join(array(name, value, way) for name, value in one.arrays.items())
    return (
        f'<div class="step"><span class="comment">{escape(comment)}</span><code class="code {way}"><a class="line" '
        f'href="one_page.html#L{at}">{escape(one.code)}</a></code><div class="arrays">{arrays}</div></div>'
    )
