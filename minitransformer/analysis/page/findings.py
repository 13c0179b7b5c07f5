"""The content of the page as JSON-serializable values.

For each of the last positions of the text, the content has the model's prediction, the attention of each head, and the
contributions of each position (see contributions.py) and each component (see residual.py). The logit lens covers the
whole text. All analyses explain the next token of the text or, at its end, the most likely next token.
"""

import numpy as np

from minitransformer.analysis.contributions import MEASURES, position_contributions
from minitransformer.analysis.flow import likeliest_next
from minitransformer.analysis.heads import attention_weights
from minitransformer.analysis.lens import logit_lens
from minitransformer.analysis.patching_maps import PatchingMaps
from minitransformer.analysis.residual import direct_contributions
from minitransformer.analysis.tokens import shown, token_strings
from minitransformer.language_model import LanguageModel
from minitransformer.system.validation import check_int

PREDICTIONS = 8  # number of most likely next tokens for each position
COMPONENTS = 12  # number of components listed by name; the others are summed
PER_MILLE = 1000  # attention is rounded to thousandths, which is finer than a picture can show


def page_findings(
    lm: LanguageModel,
    text: str,
    *,
    last: int = 32,
    patching: PatchingMaps | None = None,
    progress=None,
) -> dict:
    """Return the content of the page for a text.

    last       number of positions to explain, counted from the end; the cost of a position is one forward pass for each
               token up to it
    patching   patching maps to add to the page, see patching_maps.py
    progress   called as progress(done, total) after each position

    Raises ValueError if the text is empty or longer than the context, or `last` is below 1.
    """
    check_int("last", last, minimum=1)
    model, ids = lm.model, lm.encode(text)
    check_int("the number of tokens of the text", len(ids), maximum=model.config.context)
    targets = np.append(ids[1:], likeliest_next(lm, ids))
    weights = attention_weights(model, ids)
    lens = logit_lens(model, ids, answers=targets, k=PREDICTIONS)
    explained = range(max(len(ids) - last, 0), len(ids))
    positions = []
    for i in explained:
        positions.append(explain(lm, ids[: i + 1], int(targets[i]), weights[:, :, i, : i + 1]))
        positions[-1] |= {
            "in_text": i + 1 < len(ids),
            "rank": int(lens.answer_ranks[-1, i]),
            "predictions": with_probabilities(lm, lens.top_ids[-1, i], lens.top_probabilities[-1, i]),
        }
        if progress is not None:
            progress(len(positions), len(explained))
    layers = zip(lens.top_ids[..., :3], lens.top_probabilities[..., :3], strict=True)
    cells = [[with_probabilities(lm, *cell) for cell in zip(*layer, strict=True)] for layer in layers]
    return {
        "model": {"parameters": model.n_parameters(), "layers": len(weights), "heads": weights.shape[1]},
        "tokens": names(lm, ids),
        "positions": positions,
        "lens": {"layers": list(lens.layers), "cells": cells},
        "patching": None if patching is None else maps(patching),
    }


def explain(lm, ids, target: int, weights) -> dict:
    """Explain the prediction of `target` after ids (n,). `weights` (L, H, n) is the last row of the attention."""
    contributions = position_contributions(lm.model, ids, target)
    direct = direct_contributions(lm.model, ids, target)
    written = [[name, rounded(value)] for name, value in direct.largest(COMPONENTS)]
    return {
        "index": len(ids) - 1,
        "target": names(lm, [target])[0],
        "probability": rounded(np.exp(contributions.log_probability)),
        "attention": np.rint(weights * PER_MILLE).astype(int).tolist(),
        "measures": {name: rounded(getattr(contributions, name)) for name in (*MEASURES, "ablation")},
        "correlations": {
            name: None if np.isnan(pair["spearman"]) else rounded(pair["spearman"])
            for name, pair in contributions.correlations.items()
        },
        "direct": {"total": rounded(direct.total), "components": written},
    }


def maps(patching: PatchingMaps) -> dict:
    """Return the patching maps as nested lists, beginning with the first token that differs."""
    both = list(zip(patching.clean_tokens, patching.corrupted_tokens, strict=True))
    start = next(i for i, (clean, corrupted) in enumerate(both) if clean != corrupted)
    tokens = [patching.tokens_at(t) for t in range(start, len(both))]
    found = []
    for name, effects in patching.effects.items():
        columns = [f"head {i}" for i in range(effects.shape[1])] if name == "heads" else tokens
        last = (slice(None), slice(-len(columns), None))
        numbers = {"effects": rounded(effects[last]), "estimates": rounded(patching.attributions[name][last])}
        title, rows = name.replace("_", "-"), list(patching.layers(name))
        found.append({"name": title, "rows": rows, "columns": columns, **numbers})
    return {"answer": shown(patching.answer), "other": shown(patching.other), "maps": found}


def with_probabilities(lm, ids, probabilities):
    return [[token, rounded(p)] for token, p in zip(names(lm, ids), probabilities, strict=True)]


def names(lm, ids) -> list[str]:
    return [shown(token) for token in token_strings(lm.tokenizer, ids)]


def rounded(values):
    return np.round(np.asarray(values, np.float64), 5).tolist()
