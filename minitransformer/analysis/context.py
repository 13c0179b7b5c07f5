"""Context influence: the attention from one position, compared with the effect of ablating each earlier token.

    influence = visualize_context_influence(lm, "To be, or not to be", -1, out="context.png")

Attention is often interpreted as influence, but a weight does not show which information is read from a position. Each
token is shown with two numbers: the attention to this token, averaged over heads and layers, and the decrease of the
predicted token's log-probability if this token is ablated (see contributions.py).
"""

import os
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis.contributions import position_contributions, strengths
from minitransformer.analysis.flow import ABLATED, index_from_0, prediction_at
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.data import Data

BAR = 20  # characters in the longest bar
NOT_SHOWN = "Attention shows the positions that are read, not the information that is read or its origin."


@dataclass(frozen=True)
class ContextInfluence(Data):
    """The influence of the tokens of a text on the prediction at one position."""

    text: str
    tokens: list[str]  # the n tokens up to and including the position
    position: int  # n − 1
    target: str  # the next token of the text; at the end of the text, the model's most likely next token
    target_id: int
    in_text: bool
    probability: float
    attention: np.ndarray  # (n,) attention from the position to each token, averaged over heads and layers; sums to 1
    ablation: np.ndarray  # (n,) decrease of the target's log-probability when the token is ablated, in nats
    pearson: float  # correlation of attention with ablation over the n tokens; NaN if undefined
    spearman: float

    def __str__(self):
        return "\n".join([headline(self), *bars(self), *footnotes(self)])

    def draw(self, path) -> None:
        """Draw the text as a PNG, shaded by attention and by ablation. Raises MissingExtra without matplotlib."""
        from minitransformer.analysis.pictures import draw_context

        draw_context(self, path)


def visualize_context_influence(
    lm: LanguageModel,
    text: str,
    position: int,
    out: str | os.PathLike[str] | None = None,
    *,
    stream: TextIO | None = None,
) -> ContextInfluence:
    """Print how the prediction after a token depends on this and all earlier tokens.

    position   index of the token after which the model predicts; a negative index counts from the end
    out        path of a PNG to draw (needs matplotlib), or None
    stream     file to which the report is printed (default: standard output)

    Returns the ContextInfluence. The cost is about n forward passes over the n tokens up to the position. Raises
    TypeError, IndexError or ValueError if the model makes no prediction at the position, and MissingExtra or OSError if
    the PNG cannot be drawn or written.
    """
    influence = context_influence(lm, text, position)
    if out is not None:
        influence.draw(out)
    print(influence, file=stream)
    return influence


def context_influence(lm, text: str, position: int) -> ContextInfluence:
    """Compute a ContextInfluence without printing it. The arguments are those of visualize_context_influence."""
    ids = lm.encode(text)
    index = index_from_0("position", position, len(ids), len(ids) - 1)
    seen, target, in_text = prediction_at(lm, ids, index + 1)
    contributions = position_contributions(lm.model, seen, target)
    return ContextInfluence(
        text=text,
        tokens=token_strings(lm.tokenizer, seen),
        position=index,
        target=token_strings(lm.tokenizer, [target])[0],
        target_id=target,
        in_text=in_text,
        probability=float(np.exp(contributions.log_probability)),
        attention=contributions.attention,
        ablation=contributions.ablation,
        **contributions.correlations["attention"],
    )


def headline(influence: ContextInfluence) -> str:
    where = "the next token of the text" if influence.in_text else "the most likely next token"
    own = f"{influence.position} {shown(influence.tokens[-1])}"
    return f"after token {own}: {shown(influence.target)}, {where}, probability {influence.probability:.1%}"


def bars(influence: ContextInfluence):
    columns = [range(len(influence.tokens)), map(shown, influence.tokens)]
    for values in (influence.attention, influence.ablation):
        columns += [(f"{value:z.3f}" for value in values), ("█" * round(BAR * abs(s)) for s in strengths(values))]
    return table([("", "token", "attention", "", "nats lost", ""), *zip(*columns, strict=True)], "><><><")


def footnotes(influence: ContextInfluence):
    yield f"Ablation ({ABLATED}): nats by which the log-probability of {shown(influence.target)} decreases."
    yield NOT_SHOWN
    yield f"Correlation of attention with ablation: Pearson {influence.pearson:.2f}, Spearman {influence.spearman:.2f}."
