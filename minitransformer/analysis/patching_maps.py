"""The effects of patching every site of the model, for two prompts, and their estimates (see patching.py).

maps = patch_prompts(lm, "When Mary and John met, John gave", "When Mary and John met, Mary gave")
print(maps)
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis import patching
from minitransformer.analysis.contributions import pearson
from minitransformer.analysis.flow import likeliest_next
from minitransformer.analysis.hooks import in_each_block
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.system.data import Data

SHOWN = 4  # entries of each map in a report


@dataclass(frozen=True)
class PatchingMaps(Data):
    """The effects of patching each site, and their estimates by attribution.

    The arrays in `effects` and `attributions` have the following keys. "residual" (L + 1, T) patches the stream after
    each stage, and "attention" and "feed_forward" (L, T) patch the outputs of layers, one position at a time. "heads"
    (L, H) patches the output of a head at all positions together.
    """

    clean_tokens: list[str]  # T strings
    corrupted_tokens: list[str]
    answer: str  # to the clean prompt
    other: str  # the answer to the corrupted prompt
    clean_metric: float  # logit[answer] − logit[other]
    corrupted_metric: float
    stages: tuple[str, ...]  # L + 1 names: "embedding", "blocks.0", …
    effects: dict[str, np.ndarray]
    attributions: dict[str, np.ndarray]

    derived = ("agreement",)

    @property
    def agreement(self) -> dict:
        """Return Pearson's correlation of attribution with patching for each map, or NaN if it is undefined."""
        return {name: pearson(effect.ravel(), self.attributions[name].ravel()) for name, effect in self.effects.items()}

    def tokens_at(self, position: int) -> str:
        """Return the token at a position, or both tokens if the prompts differ there."""
        both = self.clean_tokens[position], self.corrupted_tokens[position]
        return " / ".join(dict.fromkeys(map(shown, both)))

    def layers(self, name: str) -> tuple[str, ...]:
        return self.stages if name == "residual" else self.stages[1:]

    def __str__(self):
        return "\n".join(map_lines(self))


def patch_prompts(lm, clean: str, corrupted: str, answers: tuple[str, str] | None = None) -> PatchingMaps:
    """Compute the patching maps of two prompts with the same number of tokens.

    `answers` are the answers to the clean and the corrupted prompt, each a single token (default: the model's
    predictions). The cost is about 3 L T + L H forward passes over T tokens. Raises ValueError if the prompts differ in
    length, exceed the context or have the same answer, and if an answer is not a single token.
    """
    ids, other_ids = lm.encode(clean), lm.encode(corrupted)
    answer, other = answer_ids(lm, ids, other_ids, answers)
    metric = patching.logit_difference(answer, other)
    low, high = patching.metric_range(lm.model, ids, other_ids, metric)

    def mapped(effects_of):
        patches = map_patches(lm.model, len(ids))
        effects = {kind: effects_of(lm.model, ids, other_ids, flat, metric) for kind, flat in patches.items()}
        columns = dict.fromkeys(effects, len(ids)) | {"heads": lm.model.config.n_heads}
        return {kind: effects[kind].reshape(-1, columns[kind]) for kind in effects}

    return PatchingMaps(
        clean_tokens=token_strings(lm.tokenizer, ids),
        corrupted_tokens=token_strings(lm.tokenizer, other_ids),
        answer=token_strings(lm.tokenizer, [answer])[0],
        other=token_strings(lm.tokenizer, [other])[0],
        clean_metric=high,
        corrupted_metric=low,
        stages=("embedding", *in_each_block(lm.model)),
        effects=mapped(patching.patch_effects),
        attributions=mapped(patching.attribution_effects),
    )


def map_patches(model, T: int) -> dict:
    names = {
        "residual": ["embedding", *in_each_block(model)],
        "attention": in_each_block(model, "attention"),
        "feed_forward": in_each_block(model, "feed_forward"),
    }
    patches = {
        kind: [{name: patching.site(name, t)} for name in rows for t in range(T)] for kind, rows in names.items()
    }
    outputs, heads = in_each_block(model, "attention.heads"), range(model.config.n_heads)
    return patches | {"heads": [{name: patching.site(name, head=head)} for name in outputs for head in heads]}


def answer_ids(lm, clean, corrupted, answers) -> list[int]:
    if answers is None:
        pair = [likeliest_next(lm, ids) for ids in (clean, corrupted)]
    elif isinstance(answers, str) or len(answers) != 2:
        raise ValueError(f"answers must be a pair of tokens, for the clean and the corrupted prompt, not {answers!r}")
    else:
        encoded = [lm.encode(answer) for answer in answers]
        for answer, ids in zip(answers, encoded, strict=True):
            if len(ids) != 1:
                raise ValueError(f"answers must be single tokens, but {answer!r} has {len(ids)} tokens")
        pair = [int(ids[0]) for ids in encoded]
    if pair[0] == pair[1]:
        text = shown(token_strings(lm.tokenizer, pair)[0])
        raise ValueError(f"the answers must be different tokens, but both are {text!r}; pass other answers")
    return pair


def map_lines(maps: PatchingMaps):
    yield f"logit of {shown(maps.answer)!r} minus logit of {shown(maps.other)!r}"
    clean, corrupted = (" ".join(map(shown, tokens)) for tokens in (maps.clean_tokens, maps.corrupted_tokens))
    metrics = f"{maps.clean_metric:+.3f}", f"{maps.corrupted_metric:+.3f}"
    yield from table([("clean", metrics[0], clean), ("corrupted", metrics[1], corrupted)], "<><")
    yield ""
    rows: list[tuple] = [("fraction of the difference restored by one clean activation", "effect", "estimate")]
    for name, effects in maps.effects.items():
        order = np.argsort(-np.abs(effects), axis=None, kind="stable")[:SHOWN]
        for row, column in zip(*np.unravel_index(order, effects.shape), strict=True):
            where = f"{name.replace('_', '-')}, {maps.layers(name)[row]}, at {column} {maps.tokens_at(column)}"
            entry = f"head {row}.{column}" if name == "heads" else where
            rows.append((f"  {entry}", *(f"{grid[row, column]:z.2f}" for grid in (effects, maps.attributions[name]))))
    yield from table(rows, indent=0)
    yield ""
    agreement = ", ".join(f"{name} {value:.2f}" for name, value in maps.agreement.items())
    yield f"Correlation of the estimates with the effects: {agreement}."
    yield "Not shown: information in both prompts, and whether a patched activation is necessary."
