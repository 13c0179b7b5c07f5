"""Information flow: everything that this package can say about one prediction, of one text, side by side.

    flow = trace_information_flow(lm, "To be, or not to be", -1)  # how its last token is predicted
    print(flow)
    flow.draw("flow.png")

Each part answers another question, and has its own file, which says what it does not show:

    attention, rollout   where each head looks, and where that leads through the layers    heads.py, rollout.py
    contributions        what the prediction owes to each position                         contributions.py
    direct               what each component writes to the target's logit                  residual.py
    lens                 what the model would have said after each layer                   lens.py

Only ablation, among the contributions, is an intervention; the others describe one run. Which activations carry the
difference between two prompts is another question, that takes two prompts: see patching.py.
"""

from dataclasses import dataclass, replace

import numpy as np

from minitransformer.analysis.contributions import MEASURES, PositionContributions, position_contributions
from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.heads import attention_weights
from minitransformer.analysis.lens import LogitLens, logit_lens
from minitransformer.analysis.residual import DirectContributions, direct_contributions
from minitransformer.analysis.rollout import attention_rollout
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.tables import table
from minitransformer.values import whole

LENS_TOKENS = 5
MOST_POSITIONS, MOST_COMPONENTS, LONGEST_TEXT = 24, 10, 70  # that a report shows
TITLES = {
    "attention": "attention",
    "rollout": "rollout",
    "value_weighted": "value-wtd",
    "gradient_times_input": "grad×input",
    "ablation": "ablation",
}
ABLATED = {
    "hide": "no later position sees it (the last: its token is blanked)",
    "blank": "its token is replaced by the mean of all embeddings",
}


@dataclass(frozen=True)
class InformationFlow:
    """How a language model comes to predict one token, the target, from the n tokens before it.

    text              as it was given
    tokens            the n tokens before the target, as strings
    target            the target, as a string
    target_id         its id
    target_position   where it stands in the text; the number of the text's tokens, if it would come next
    in_text           whether it stands in the text; if not, it is what the model thinks likeliest
    attention         (L, H, n, n) weights of each head: [l, h, i, j] from position i to position j
    rollout           (n, n) attention rollout
    contributions     of each of the n positions to log p(target), by five measures
    direct            of each component to the target's logit above the mean of all
    lens              at each of the n positions: answers are the tokens that follow there, the last of them the target
    lens_tokens       (L + 1, n, k) nested lists: the strings of lens.top_ids
    """

    text: str
    tokens: list[str]
    target: str
    target_id: int
    target_position: int
    in_text: bool
    attention: np.ndarray
    rollout: np.ndarray
    contributions: PositionContributions
    direct: DirectContributions
    lens: LogitLens
    lens_tokens: list

    @property
    def probability(self) -> float:
        """The probability that the model gives to the target."""
        return float(np.exp(self.contributions.log_probability))

    @property
    def rank(self) -> int:
        """One more than the number of tokens that the model thinks likelier than the target: 1 is its choice."""
        return int(self.lens.answer_ranks[-1, -1])

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        data = fields_as_data(self) | {"probability": self.probability, "rank": self.rank}
        data["lens"]["top_tokens"] = data.pop("lens_tokens")
        return data

    def __str__(self):
        sections = headline_lines(self), contribution_lines(self), direct_lines(self), lens_lines(self)
        return "\n\n".join("\n".join(section) for section in sections)

    def draw(self, path) -> None:
        """Draw contributions, components and logit lens as a PNG at `path`. Raises MissingExtra without matplotlib."""
        from minitransformer.analysis.flow_pictures import draw_flow

        draw_flow(self, path)

    def draw_attention(self, path) -> None:
        """Draw every head's attention as a PNG at `path`. Raises MissingExtra without matplotlib."""
        from minitransformer.analysis.pictures import draw_attention

        title = f"Where each head looks, before {shown(self.target)}. Not shown: what it takes from there"
        draw_attention(self.attention, [shown(token) for token in self.tokens], path, title=title)


def trace_information_flow(
    lm: LanguageModel, text: str, target_token_idx: int, *, ablation: str = "hide"
) -> InformationFlow:
    """Explain how the model predicts one token of a text from those before it.

    target_token_idx   the index of that token in the text; a negative one counts from the end. The number of the text's
                       tokens stands for the one that would come next: what the model itself thinks likeliest
    ablation           what it is to ablate a position: "hide" or "blank", see contributions.py

    Costs a forward pass over the n tokens before the target for each of them, and a few more.
    Raises TypeError for an index that is no integer, IndexError for one outside the text, ValueError for one with
    nothing before it, an empty text, one with more tokens before the target than the context, or an unknown ablation.
    """
    ids = lm.encode(text)
    index = target_index(target_token_idx, len(ids))
    before = preceding(lm, ids, index)
    in_text = index < len(ids)
    target = int(ids[index]) if in_text else likeliest_next(lm, before)
    target_text = token_strings(lm.tokenizer, [target])[0]
    weights = attention_weights(lm.model, before)
    direct = direct_contributions(lm.model, before, target)
    lens = logit_lens(lm.model, before, answers=[*before[1:], target], k=LENS_TOKENS)
    return InformationFlow(
        text=text,
        tokens=token_strings(lm.tokenizer, before),
        target=target_text,
        target_id=target,
        target_position=index,
        in_text=in_text,
        attention=weights,
        rollout=attention_rollout(weights),
        contributions=position_contributions(lm.model, before, target, ablation=ablation),
        direct=replace(direct, explained=f"the logit of {shown(target_text)!r} above the mean of all"),
        lens=lens,
        lens_tokens=[[known_strings(lm.tokenizer, row) for row in layer] for layer in lens.top_ids],
    )


def target_index(index, n_tokens: int) -> int:
    """Return the index of the target from 0. Raises what trace_information_flow does."""
    i = whole("target_token_idx", index)
    if not -n_tokens <= i <= n_tokens:
        raise IndexError(
            f"target_token_idx {i} is out of range: the text has {n_tokens} tokens, 0 … {n_tokens - 1}, "
            f"and {n_tokens} stands for the one that would come next"
        )
    i = i + n_tokens if i < 0 else i
    if i == 0:
        raise ValueError("target_token_idx is the text's first token: there is nothing before it to predict it from")
    return i


def preceding(lm, ids, index: int):
    """Return the ids before `index`. Raises ValueError where they are more than the model sees at once."""
    context = lm.model.config.context
    if index > context:
        raise ValueError(f"the prediction has {index} tokens before it; the model sees at most {context}, its context")
    return ids[:index]


def likeliest_next(lm, ids) -> int:
    """Return the token that the model thinks likeliest to follow ids (n,), among those that its tokenizer has."""
    return int(lm.model.predict(ids[None], last_only=True)[0, 0, : lm.tokenizer.vocab_size].argmax())


def known_strings(tokenizer, ids) -> list[str]:
    """Return the strings of ids; of one that is past the tokenizer's, as a model may have, its number."""
    known = tokenizer.vocab_size
    return [token_strings(tokenizer, [i])[0] if i < known else f"<{i}>" for i in ids]


def headline_lines(flow: InformationFlow):
    """Yield what is explained."""
    where = f"token {flow.target_position} of the text" if flow.in_text else "what the model itself would say next"
    before = "".join(map(shown, flow.tokens))
    ending = before if len(before) <= LONGEST_TEXT else f"…{before[-LONGEST_TEXT:]}"
    yield f"{ending} -> {shown(flow.target)}"
    yield f"the target is {where}: probability {flow.probability:.1%}, rank {flow.rank}"


def contribution_lines(flow: InformationFlow):
    """Yield a table of what each position contributes, those that matter most if there are many, in their order."""
    contributions = flow.contributions
    n = len(flow.tokens)
    listed = np.sort(np.argsort(-np.abs(contributions.ablation), kind="stable")[:MOST_POSITIONS])
    which = "" if n <= MOST_POSITIONS else f", the {MOST_POSITIONS} of {n} positions whose ablation changes most"
    yield f"what the target owes to each position{which}"
    rows = [("", *TITLES.values())]
    for t in listed:
        rows.append(
            (f"{t:>5} {shown(flow.tokens[t])}", *(f"{getattr(contributions, name)[t]:z.3f}" for name in TITLES))
        )
    for kind in ("pearson", "spearman"):
        agree = (f"{contributions.correlations[name][kind]:.2f}" for name in MEASURES)
        rows.append((f"{kind.capitalize()} with ablation", *agree, ""))
    yield from table(rows)
    yield f"Ablation, in nats lost: {ABLATED[contributions.ablated_by]}. The others do not intervene:"
    yield "attention shows where the last position looks, not what it takes; gradients fade where the model is sure."


def direct_lines(flow: InformationFlow):
    """Yield the components that write most to the logit."""
    yield f"who writes {flow.direct.explained}: {flow.direct.total:+z.3f}, the sum of"
    yield from flow.direct.lines(MOST_COMPONENTS)


def lens_lines(flow: InformationFlow):
    """Yield the logit lens at the last position."""
    lens = flow.lens
    yield "what the model would say if it stopped after a layer (logit lens), and the target's place in it"
    rows = []
    for i, layer in enumerate(lens.layers):
        pairs = zip(flow.lens_tokens[i][-1], lens.top_probabilities[i, -1], strict=True)
        top = "  ".join(f"{shown(token)} {probability:.0%}" for token, probability in pairs)
        rows.append((layer, f"rank {lens.answer_ranks[i, -1]}", f"{lens.answer_probabilities[i, -1]:.1%}", top))
    yield from table(rows, "<<><")
    yield "Not shown: what a layer knows but has not yet written in the way that the last layer reads."
