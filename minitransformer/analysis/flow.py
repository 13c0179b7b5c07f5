"""Information flow: all analyses of one prediction in one result.

    flow = trace_information_flow(lm, "To be, or not to be", -1)  # explain the prediction of its last token
    print(flow)

Only the ablation in `contributions` is an intervention. All other parts describe a single run. The files of the parts
state the limits of each analysis.
"""

from dataclasses import dataclass, replace

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis.contributions import MEASURES, TITLES, PositionContributions, position_contributions
from minitransformer.analysis.heads import attention_rollout, attention_weights
from minitransformer.analysis.lens import LogitLens, logit_lens
from minitransformer.analysis.residual import DirectContributions, direct_contributions
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int

LENS_TOKENS = 5
MOST_POSITIONS, MOST_COMPONENTS, LONGEST_TEXT = 24, 10, 70  # limits of the report; LONGEST_TEXT is in characters
ABLATED = "no later position attends to it; the last position is blanked"


@dataclass(frozen=True)
class InformationFlow(Data):
    """The flow of information from n tokens to the prediction of the next token, the target."""

    text: str
    tokens: list[str]  # the n tokens before the target
    target: str
    target_id: int
    target_position: int  # index in the text; for the token after the text, the number of tokens
    in_text: bool  # if False, the target is the model's most likely next token
    attention: np.ndarray  # (L, H, n, n) weights of each head: [l, h, i, j] from position i to position j
    rollout: np.ndarray  # (n, n)
    contributions: PositionContributions  # of each of the n positions to log p(target)
    direct: DirectContributions  # to the target's logit minus the mean of all logits
    lens: LogitLens  # at each position, with the following token as the answer
    lens_tokens: list  # (L + 1, n, k) nested lists: the strings of lens.top_ids

    derived = ("probability", "rank")

    @property
    def probability(self) -> float:
        return float(np.exp(self.contributions.log_probability))

    @property
    def rank(self) -> int:
        return int(self.lens.answer_ranks[-1, -1])

    def to_dict(self) -> dict:
        data = super().to_dict()
        data["lens"]["top_tokens"] = data.pop("lens_tokens")
        return data

    def __str__(self):
        direct = f"contributions to {self.direct.explained}: {self.direct.total:+z.3f}, the sum of"
        components = [direct, *self.direct.lines(MOST_COMPONENTS)]
        sections = headline_lines(self), contribution_lines(self), components, lens_lines(self)
        return "\n\n".join("\n".join(section) for section in sections)


def trace_information_flow(lm: LanguageModel, text: str, target_token_idx: int) -> InformationFlow:
    """Explain how the model predicts one token of a text from the tokens before it.

    target_token_idx   index of the token to explain; a negative index counts from the end. If the index is the number
                       of tokens in the text, the most likely token after the text is explained

    The cost is about n forward passes over the n tokens before the target. Raises TypeError, IndexError or ValueError
    for an index without a prediction, and ValueError for an empty text.
    """
    ids = lm.encode(text)
    index = index_from_0("target_token_idx", target_token_idx, len(ids), len(ids))
    if index == 0:
        raise ValueError(f"target_token_idx must have a token before it, not be {target_token_idx}, the first token")
    before, target, in_text = prediction_at(lm, ids, index)
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
        contributions=position_contributions(lm.model, before, target),
        direct=replace(direct, explained=f"the logit of {shown(target_text)!r} above the mean of all"),
        lens=lens,
        lens_tokens=[[token_strings(lm.tokenizer, row) for row in layer] for layer in lens.top_ids],
    )


def index_from_0(name: str, index, n_tokens: int, most: int) -> int:
    """Convert an index, which may be negative, to an index from 0 to `most`. Raises IndexError otherwise."""
    i = check_int(name, index)
    if not -n_tokens <= i <= most:
        raise IndexError(f"{name} must be from {-n_tokens} to {most} for a text of {n_tokens} tokens, not {i}")
    return i + n_tokens if i < 0 else i


def prediction_at(lm, ids, index: int):
    """Return the ids before `index`, the target, and whether the target is in the text.

    After the last token of the text, the target is the most likely next token.
    """
    check_int("the number of tokens before the prediction", index, maximum=lm.model.config.context)
    in_text = index < len(ids)
    return ids[:index], int(ids[index]) if in_text else likeliest_next(lm, ids), in_text


def likeliest_next(lm, ids) -> int:
    """Return the most likely next token after ids (n,) among the ids of the tokenizer."""
    return int(lm.model.predict(ids[None], last_only=True)[0, 0, : lm.tokenizer.vocab_size].argmax())


def headline_lines(flow: InformationFlow):
    where = f"token {flow.target_position} of the text" if flow.in_text else "the model's most likely next token"
    before = "".join(map(shown, flow.tokens))
    ending = before if len(before) <= LONGEST_TEXT else f"…{before[-LONGEST_TEXT:]}"
    yield f"{ending} -> {shown(flow.target)}"
    yield f"the target is {where}: probability {flow.probability:.1%}, rank {flow.rank}"


def contribution_lines(flow: InformationFlow):
    contributions = flow.contributions
    n = len(flow.tokens)
    listed = np.sort(np.argsort(-np.abs(contributions.ablation), kind="stable")[:MOST_POSITIONS])
    which = "" if n <= MOST_POSITIONS else f", for the {MOST_POSITIONS} of {n} positions with the largest ablation"
    yield f"contribution of each position to the target{which}"
    rows = [("", *TITLES.values())]
    for t in listed:
        values = (f"{getattr(contributions, name)[t]:z.3f}" for name in TITLES)
        rows.append((f"{t:>5} {shown(flow.tokens[t])}", *values))
    for kind in ("pearson", "spearman"):
        agree = (f"{contributions.correlations[name][kind]:.2f}" for name in MEASURES)
        rows.append((f"{kind.capitalize()} with ablation", *agree, ""))
    yield from table(rows)
    yield f"Ablation ({ABLATED}): nats by which the log-probability decreases."
    yield "The others are not interventions: attention does not show the content, gradients vanish at high certainty."


def lens_lines(flow: InformationFlow):
    lens = flow.lens
    yield "prediction if the model stopped after a layer (logit lens), and the target's rank in it"
    rows = []
    for i, layer in enumerate(lens.layers):
        pairs = zip(flow.lens_tokens[i][-1], lens.top_probabilities[i, -1], strict=True)
        top = "  ".join(f"{shown(token)} {probability:.0%}" for token, probability in pairs)
        rows.append((layer, f"rank {lens.answer_ranks[i, -1]}", f"{lens.answer_probabilities[i, -1]:.1%}", top))
    yield from table(rows, "<<><")
    yield "Not shown: information in a layer that is not yet in the directions that the unembedding reads."
