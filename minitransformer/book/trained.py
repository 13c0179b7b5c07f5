"""See it in a trained model: what a small stored model does on a sentence that it has not seen.

`trained.npz` contains the model, its tokenizer, the command that trained it, its loss, the sentence, and a passage of
held-out text. Every number on the pages is computed from it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import numpy as np

from minitransformer.analysis.heads import (
    attention_weights,
    duplicate_token_score,
    induction_score,
    previous_token_score,
)
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.layers.softmax import softmax
from minitransformer.system.archive import open_archive

STORED = Path(__file__).with_name("trained.npz")
FAINT = 0.05  # smaller weights are not drawn in the small squares
FROM = 8  # the scores of near and of many tokens begin at this query, which has enough tokens before it


def near_score(weights, ids):
    """Return the mean attention (...) of weights (..., T, T) to the query's own token and the three before."""
    T = weights.shape[-1]
    return (weights * np.triu(np.ones((T, T)), -3))[..., FROM:, :].sum(axis=-1).mean(axis=-1)


def breadth(weights, ids):
    """Return the mean of exp(entropy) (...) of a query's weights (..., T, T), as a share of the tokens that it sees."""
    logs = np.log(np.where(weights > 0, weights, 1))
    visible = np.arange(1, weights.shape[-1] + 1)
    return (np.exp(-(weights * logs).sum(axis=-1)) / visible)[..., FROM:].mean(axis=-1)


# The name of a head is the first one whose score is at least its bound.
NAMES: tuple[tuple[str, Callable, float], ...] = (
    ("the token before", lambda weights, ids: previous_token_score(weights), 0.5),
    ("the same token, earlier", duplicate_token_score, 0.5),
    ("what came next, earlier", induction_score, 0.5),
    ("the last four tokens", near_score, 0.8),
    ("many tokens", breadth, 0.25),
)


@dataclass(frozen=True)
class Head:
    label: str
    name: str  # one of NAMES, or "" if no score reaches its bound
    score: float


@cache
def trained() -> tuple[LanguageModel, dict]:
    """Return the model, and the facts stored beside it."""
    with open_archive(STORED) as archive:
        return LanguageModel.from_archive(archive), archive.description["trained"]


@cache
def heads() -> list[Head]:
    """Return the heads in order, named by their mean scores on the stored passage."""
    lm, facts = trained()
    ids, context = lm.encode(facts["passage"]), lm.model.config.context
    rows = ids[: len(ids) // context * context].reshape(-1, context)
    pairs = list(zip(attention_weights(lm.model, rows), rows, strict=True))
    scores = [np.mean([score(*pair) for pair in pairs], axis=0) for _, score, _ in NAMES]
    found = []
    for at in np.ndindex(scores[0].shape):
        reached = [(name, float(s[at])) for (name, _, bound), s in zip(NAMES, scores, strict=True) if s[at] >= bound]
        found.append(Head(f"{at[0] + 1}.{at[1] + 1}", *(reached or [("", 0.0)])[0]))
    return found


def trained_section(page: str) -> str:
    """Return the section of a chapter that shows the trained model, or "" if it has none."""
    if page not in SECTIONS:
        return ""
    lm, facts = trained()
    text, figure, caption = SECTIONS[page]()
    config = lm.model.config
    about = (
        f"{caption} The model has {config.n_layers} blocks of {config.n_heads} heads and "
        f"{lm.model.n_parameters():,} parameters. It was not trained on this part of the text. Its validation loss is "
        f"{facts['loss']:.2f} nats per token. {facts['seconds'] / 60:.0f} minutes on one core trained it: "
        f"<code>{escape(facts['command'])}</code>"
    )
    return (
        f'<section class="trained"><h2>See it in a trained model</h2><p>{text}</p><figure>{figure}'
        f"<figcaption>{about}</figcaption></figure></section>"
    )


def words(ids) -> list[str]:
    """Return tokens as they are printed: without the space before a word."""
    return [shown(token.strip(" ") or token) for token in token_strings(trained()[0].tokenizer, ids)]


@cache
def on_the_sentence():
    """Return the tokens of the sentence, the percentages of attention (heads, T, T), and the probabilities (T, V)."""
    lm, facts = trained()
    ids = lm.encode(facts["sentence"])
    weights = attention_weights(lm.model, ids)
    percent = np.rint(100 * weights).astype(int).reshape(-1, *weights.shape[2:])
    return ids, percent, softmax(lm.model.predict(ids))[0]


def reading(text: str, head: int, query: int):
    """Return the figure of all heads on the sentence. It shows `head` and `query` until the reader chooses others."""
    ids, percent, probabilities = on_the_sentence()
    tokens = words(ids)
    said = [
        [reads(one, rows, tokens, query, probabilities) for query in range(len(ids))]
        for one, rows in zip(heads(), percent, strict=True)
    ]
    data = {
        "tokens": tokens,
        "weights": [[row[: q + 1].tolist() for q, row in enumerate(rows)] for rows in percent],
        "said": said,
    }
    squares = "".join(
        f'<label class="head"><input type="radio" name="head" value="{i}"{" checked" * (i == head)}>'
        f"{square(rows, query)}<b>{one.label}</b> {one.name or 'mixed'}"
        f"<small>{most(tokens, rows[query])}</small></label>"
        for i, (one, rows) in enumerate(zip(heads(), percent, strict=True))
    )
    sentence = ""
    for k, token in enumerate(tokens):
        weight = percent[head, query, k]
        number, later = (f"{weight}%", "") if k <= query else ("", " later")
        sentence += (
            f'<label class="token{later}" style="--s:{weight / 100}"><input type="radio" name="query" value="{k}"'
            f"{' checked' * (k == query)}><span>{escape(token)}</span><output>{number}</output></label>"
        )
    script = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    bounds = ", ".join(f"{name} {bound:g}" for name, _, bound in NAMES)
    caption = (
        "Each square is the attention of one head: a row for each token that reads, a column for each that is read. "
        "Below it are its name and the token that the chosen one reads most. A name is given if its mean score on "
        f"{len(trained()[1]['passage']):,} characters of held-out text reaches a bound ({bounds}), and otherwise the "
        "head is called mixed."
    )
    figure = (
        f'<div class="card reading"><fieldset disabled><legend>Heads, block by block</legend>{squares}</fieldset>'
        f"<fieldset disabled><legend>The token that reads</legend>{sentence}</fieldset>"
        f'<p aria-live="polite">{said[head][query]}</p>'
        f'<script type="application/json" class="reading-data">{script}</script></div>'
    )
    return text, figure, caption


def most(tokens, weights) -> str:
    return f"{escape(tokens[weights.argmax()])} {weights.max()}%"


def reads(head, rows, tokens, query, probabilities) -> str:
    at = int(rows[query].argmax())
    (likeliest,), p = words([probabilities[query].argmax()]), probabilities[query].max()
    follows = f"the next one is “{tokens[query + 1]}”" if query + 1 < len(tokens) else "the sentence ends here"
    itself = " itself" * (at == query)
    return escape(
        f"From “{tokens[query]}”, head {head.label} reads “{tokens[at]}”{itself} most: {rows[query, at]}%. The model "
        f"predicts “{likeliest}” ({100 * p:.0f}%); {follows}.",
        quote=False,
    )


def square(rows, query) -> str:
    """Draw the weights of a head, with a frame around the row of the query."""
    T = len(rows)
    cells = "".join(
        f'<path d="M{k} {q}h1v1h-1z" opacity="{rows[q, k] / 100:g}"/>' for q, k in np.argwhere(rows >= 100 * FAINT)
    )
    return (
        f'<svg viewBox="0 0 {T} {T}" aria-hidden="true">{cells}<rect x="0" y="{query}" width="{T}" height="1"/></svg>'
    )


def one_head():
    return reading(
        "A small model has learned to continue plays of Shakespeare. Point at a token of the sentence, or move to it "
        "with the arrow keys: the number below each token is the weight with which it is read. Then choose another "
        "head.",
        head=7,
        query=10,
    )


def all_heads():
    return reading(
        "Heads in parallel read different tokens. Point at a token of the sentence, or move to it with the arrow keys: "
        "below each square is the token that this head reads most from there.",
        head=2,
        query=10,
    )


SECTIONS: dict[str, Callable] = {"attention": one_head, "multi_head_attention": all_heads}
