"""The attention heads of the trained model on a sentence, named by the tokens that they read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape

import numpy as np

from minitransformer.analysis.heads import (
    attention_weights,
    duplicate_token_score,
    induction_score,
    previous_token_score,
)
from minitransformer.book.reading import choice, on_the_sentence, reading, trained, words
from minitransformer.layers.softmax import softmax

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
        reached = (name for (name, _, bound), s in zip(NAMES, scores, strict=True) if s[at] >= bound)
        found.append(Head(f"{at[0] + 1}.{at[1] + 1}", next(reached, "")))
    return found


def attention(text: str, head: int, query: int):
    """Return the figure of all heads on the sentence. It shows `head` and `query` until the reader chooses others."""
    ids, seen = on_the_sentence()
    tokens, probabilities = words(ids), softmax(seen["lm_head"])[0]
    weights = np.concatenate([seen[f"blocks.{i}.attention.weights"] for i in range(trained()[0].model.config.n_layers)])
    percent = np.rint(100 * weights).astype(int)
    said = [
        [reads(one, rows, tokens, query, probabilities) for query in range(len(ids))]
        for one, rows in zip(heads(), percent, strict=True)
    ]
    squares = "".join(
        f'<label class="head"><input type="radio" name="head" value="{i}"{" checked" * (i == head)}>'
        f"{square(rows, query)}<b>{one.label}</b> {one.name or 'mixed'}"
        f"<small>{most(tokens, rows[query])}</small></label>"
        for i, (one, rows) in enumerate(zip(heads(), percent, strict=True))
    )
    row = percent[head, query]
    numbers = [f"{weight}%" * (k <= query) for k, weight in enumerate(row)]
    bounds = ", ".join(f"{name} {bound:g}" for name, _, bound in NAMES)
    caption = (
        "Each square is the attention of one head: a row for each token that reads, a column for each that is read. "
        "Below it are its name and the token that the chosen one reads most. A rare word is several tokens; · is a "
        "space, and \\n the end of a line."
    )
    more = (
        f"<p>A head has a name if its mean score on {len(trained()[1]['passage']):,} characters of held-out text "
        f"reaches a bound ({bounds}), and otherwise it is called mixed.</p>"
    )
    figure = reading(
        f"<fieldset disabled><legend>Heads, block by block</legend>{squares}</fieldset>"
        + choice("The token that reads", tokens, row / 100, numbers, query),
        said,
        (head, query),
        tokens=tokens,
        weights=[[row[: q + 1].tolist() for q, row in enumerate(rows)] for rows in percent],
    )
    return text, figure, caption, more


def most(tokens, weights) -> str:
    return f"{escape(tokens[weights.argmax()])} {weights.max()}%"


def reads(head, rows, tokens, query, probabilities) -> str:
    at = int(rows[query].argmax())
    (likeliest,), p = words([probabilities[query].argmax()]), probabilities[query].max()
    follows = f"the next one is “{tokens[query + 1]}”" if query + 1 < len(tokens) else "the sentence ends here"
    itself = " itself" * (at == query)
    return escape(
        f"From “{tokens[query]}”, head {head.label} reads “{tokens[at]}”{itself} most: {rows[query, at]}%. The model "
        f"gives “{likeliest}” the largest probability, {100 * p:.0f}%; {follows}.",
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
    return attention(
        "Point at a token of the sentence, or move to it with the arrow keys: the number below each token is the "
        "weight with which it is read. Then choose another head.",
        head=7,
        query=10,
    )


def all_heads():
    return attention(
        "Heads in parallel read different tokens. Point at a token of the sentence, or move to it with the arrow keys: "
        "below each square is the token that this head reads most from there.",
        head=2,
        query=10,
    )
