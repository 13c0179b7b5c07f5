"""The stored model, and a figure in which the reader chooses a token of a sentence.

`trained.npz` contains the model, its tokenizer, the command that trained it, its loss, the sentence, which it has not
seen, and a passage of held-out text. Every number on the pages is computed from it.
"""

import json
from functools import cache
from html import escape
from pathlib import Path

from minitransformer.analysis.hooks import record
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.archive import open_archive

STORED = Path(__file__).with_name("trained.npz")


@cache
def trained() -> tuple[LanguageModel, dict]:
    """Return the model, and the facts stored beside it."""
    with open_archive(STORED) as archive:
        return LanguageModel.from_archive(archive), archive.description["trained"]


def words(ids) -> list[str]:
    """Return tokens as they are printed: without the space before a word."""
    return [shown(token.strip(" ") or token) for token in token_strings(trained()[0].tokenizer, ids)]


@cache
def on_the_sentence():
    """Return the ids of the sentence, and the model's activations on it by name."""
    lm, facts = trained()
    ids = lm.encode(facts["sentence"])
    parts = ("", ".attention.q", ".attention.k", ".attention.weights")
    names = [f"blocks.{i}{part}" for i in range(lm.model.config.n_layers) for part in parts]
    return ids, record(lm.model, ids, ["embedding", *names, "lm_head"])


def choice(legend, tokens, shades, numbers, chosen) -> str:
    """Return the tokens of which the reader chooses one, each with its number, in a shade from 0 to 1."""
    labels = "".join(
        f'<label class="token{"" if number else " later"}" style="--s:{shade:.2f}"><input type="radio" '
        f'name="query" value="{k}"{" checked" * (k == chosen)}><span>{escape(token)}</span>'
        f"<output>{number}</output></label>"
        for k, (token, shade, number) in enumerate(zip(tokens, shades, numbers, strict=True))
    )
    return f"<fieldset disabled><legend>{legend}</legend>{labels}</fieldset>"


def reading(choices, said, chosen=(0, 0), views=(), **data) -> str:
    """Return a figure that shows one of the `views`, and says one of the sentences said[head][query].

    It shows the chosen head and query until the reader chooses others, see static/reading.js.
    """
    head, query = chosen
    script = json.dumps({"said": said, **data}, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    hidden = "".join(f'<div class="view"{" hidden" * (k != query)}>{view}</div>' for k, view in enumerate(views))
    return (
        f'<div class="card reading">{choices}{hidden}<p aria-live="polite">{said[head][query]}</p>'
        f'<script type="application/json" class="reading-data">{script}</script></div>'
    )
