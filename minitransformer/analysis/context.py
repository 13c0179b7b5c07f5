"""Context influence: for one position, where it looks, beside what its prediction would lose without each token.

    influence = visualize_context_influence(lm, "To be, or not to be", -1, out="context.png")

Attention, averaged over heads and layers, is the picture that is usually drawn; it is not influence. It says nothing of
what was taken from where it points, and what matters has often been moved before, by another position. So each token is
shown twice: by the attention that the position pays it, and by what the log-probability of the next token loses when
the token is ablated (see contributions.py); and how well the one tells the other is said in a number.
"""

import os
import sys
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from minitransformer.analysis.contributions import position_contributions
from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.flow import ABLATED, likeliest_next, preceding
from minitransformer.analysis.shading import SHADES, painted, strengths, terminal_colours
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.tables import table
from minitransformer.values import whole

BAR = 20  # characters of the longest bar
NOT_SHOWN = "Attention is where the position looks, not what it takes from there, nor what had been moved there before."


@dataclass(frozen=True)
class ContextInfluence:
    """What the prediction at one position of a text owes to the tokens up to it.

    text               as it was given
    tokens             the n tokens up to the position, itself the last, as strings
    position           n − 1
    target             the token that comes next, as a string: that of the text, or what the model thinks likeliest
    target_id          its id
    in_text            whether it is that of the text
    probability        that the model gives to it
    attention          (n,) that the position pays to each token, the mean over heads and layers; they sum to 1
    ablation           (n,) nats that the target's log-probability loses when the token is ablated; negative for a gain
    ablated_by         "hide" or "blank": see contributions.py
    pearson, spearman  correlation of attention with ablation over the n tokens; NaN where there is none
    """

    text: str
    tokens: list[str]
    position: int
    target: str
    target_id: int
    in_text: bool
    probability: float
    attention: np.ndarray
    ablation: np.ndarray
    ablated_by: str
    pearson: float
    spearman: float

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it; a correlation that does not exist is None."""
        return fields_as_data(self)

    def __str__(self):
        return "\n".join([headline(self), *bars(self), *footnotes(self)])

    def shaded(self, colours: int = 2**24) -> str:
        """Return the text for a terminal of so many colours, 2²⁴ or 256, each token on a background of its strength."""
        return "\n".join([headline(self), *shaded_lines(self, colours), *footnotes(self)])

    def draw(self, path) -> None:
        """Draw both kinds of shading as a PNG at `path`. Raises MissingExtra without matplotlib."""
        from minitransformer.analysis.flow_pictures import draw_context

        draw_context(self, path)


def visualize_context_influence(
    lm: LanguageModel,
    text: str,
    position: int,
    out: str | os.PathLike[str] | None = None,
    *,
    ablation: str = "hide",
    stream: TextIO | None = None,
) -> ContextInfluence:
    """Show what the model's prediction after one token of a text owes to that token and those before it.

    position   the index of the token after which the prediction is made, from 0; a negative one counts from the end
    out        where to draw it as a PNG, if anywhere; needs matplotlib
    ablation   what it is to ablate a token: "hide" or "blank", see contributions.py
    stream     where to print it: standard output, unless given. Tokens are shaded if that is a terminal and the
               environment does not ask for none (NO_COLOR, TERM=dumb); elsewhere they stand in a table with bars

    Returns a ContextInfluence. Costs a forward pass over the n tokens up to the position for each of them.
    Raises TypeError for a position that is no integer, IndexError for one outside the text, ValueError for an empty
    text, a position beyond the context, or an unknown ablation, MissingExtra and OSError where a PNG cannot be made.
    """
    influence = context_influence(lm, text, position, ablation=ablation)
    if out is not None:
        influence.draw(out)
    stream = sys.stdout if stream is None else stream
    colours = terminal_colours(stream, os.environ)
    print(influence.shaded(colours) if colours else influence, file=stream)
    return influence


def context_influence(lm, text: str, position: int, *, ablation="hide") -> ContextInfluence:
    """Return what visualize_context_influence shows, and show nothing."""
    ids = lm.encode(text)
    index = position_index(position, len(ids))
    seen = preceding(lm, ids, index + 1)
    in_text = index + 1 < len(ids)
    target = int(ids[index + 1]) if in_text else likeliest_next(lm, seen)
    contributions = position_contributions(lm.model, seen, target, ablation=ablation)
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
        ablated_by=ablation,
        **contributions.correlations["attention"],
    )


def position_index(position, n_tokens: int) -> int:
    """Return the index of the position from 0. Raises what visualize_context_influence does."""
    i = whole("position", position)
    if not -n_tokens <= i < n_tokens:
        raise IndexError(f"position {i} is out of range: the text has {n_tokens} tokens, 0 … {n_tokens - 1}")
    return i + n_tokens if i < 0 else i


def headline(influence: ContextInfluence) -> str:
    """Return what is shown, in a line."""
    where = "next in the text" if influence.in_text else "what the model thinks likeliest"
    own = f"{influence.position} {shown(influence.tokens[-1])}"
    return f"after token {own}: {shown(influence.target)}, {where}, probability {influence.probability:.1%}"


def bars(influence: ContextInfluence):
    """Return a table of the tokens, with bars as long as their attention and the size of their ablation."""
    columns = [range(len(influence.tokens)), map(shown, influence.tokens)]
    for values in (influence.attention, influence.ablation):
        columns += [(f"{value:z.3f}" for value in values), ("█" * round(BAR * abs(s)) for s in strengths(values))]
    return table([("", "token", "attention", "", "nats lost", ""), *zip(*columns, strict=True)], "><><><")


def shaded_lines(influence: ContextInfluence, colours: int):
    """Yield the text twice, its tokens shaded by attention and by ablation, each with the meaning of the colours."""
    yield f"attention, {painted('most', SHADES['attention'], 1, colours)} {influence.attention.max():.3f}"
    yield shaded_text(
        influence.tokens, strengths(influence.attention), (SHADES["attention"], SHADES["attention"]), colours
    )
    lost, gained = (painted(name, SHADES[name], 1, colours) for name in ("lost", "gained"))
    yield f"ablation, {lost} or {gained}, at most {np.abs(influence.ablation).max():.3f} nats"
    yield shaded_text(influence.tokens, strengths(influence.ablation), (SHADES["lost"], SHADES["gained"]), colours)


def shaded_text(tokens, strength, inks, colours: int) -> str:
    """Return the tokens one after the other, in a line for each line of the text, on backgrounds of their strength."""
    text = ""
    for token, s in zip(tokens, strength, strict=True):
        text += painted(shown(token), inks[0] if s >= 0 else inks[1], abs(s), colours)
        text += "\n" * token.endswith("\n")
    return text.removesuffix("\n")


def footnotes(influence: ContextInfluence):
    """Yield what was ablated, what attention does not show, and how far it tells the same."""
    ablated = ABLATED[influence.ablated_by]
    yield f"Ablation, in nats that the log-probability of {shown(influence.target)} loses: {ablated}."
    yield NOT_SHOWN
    yield f"Correlation of attention with ablation: Pearson {influence.pearson:.2f}, Spearman {influence.spearman:.2f}."
