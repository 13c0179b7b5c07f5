"""Numbers that docstrings give, counted again."""

import numpy as np
import pytest

from minitransformer import causal_mask, gelu
from minitransformer.experiments.patterns import training as simple_patterns
from minitransformer.fast.query_blocks import keys_seen
from minitransformer.layers import activations, softmax
from minitransformer.text import PATTERNS, corpora, default_corpus


def test_exp_overflows_where_softmax_says():
    assert "exp overflows at x = 89 in float32" in " ".join(softmax.softmax.__doc__.split())
    with np.errstate(over="ignore"):
        assert np.isfinite(np.exp(np.float32(88))) and not np.isfinite(np.exp(np.float32(89)))
        assert np.isfinite(np.exp(np.float16(11))) and not np.isfinite(np.exp(np.float16(12)))


def test_both_forms_of_gelu_differ_by_at_most_what_is_said():
    assert "differ by at most 5e-4" in activations.gelu.__doc__
    x = np.linspace(-6, 6, 100_001)
    assert 4e-4 < np.abs(gelu(x)[0] - gelu(x, approximate="tanh")[0]).max() <= 5e-4


def test_eight_blocks_of_queries_keep_nine_sixteenths_of_the_scores():
    mask = causal_mask(512, 512)
    kept = sum(64 * len(range(512)[keys_seen(mask[start : start + 64])]) for start in range(0, 512, 64))
    assert kept == 9 / 16 * 512 * 512


def test_there_are_as_many_rows_of_count_as_is_said():
    assert "only 1,380 rows" in simple_patterns.__doc__
    settings, rng = simple_patterns.PatternSettings(), np.random.default_rng(0)
    pattern, rows = PATTERNS["count"], 0
    for length in range(pattern.shortest, simple_patterns.greatest_length("count", settings.longest) + 1):
        rows += len(np.unique(pattern.sample(rng, 20_000, length)[0], axis=0))
    assert rows == 1380


def test_the_default_corpus_is_as_large_as_is_said_and_as_often_repeats_itself():
    assert "about half a million characters" in corpora.default_corpus.__doc__
    text = default_corpus()
    assert len(text) == pytest.approx(500_000, rel=0.2)  # it differs from one Python to the next
    cut = len(text) * 9 // 10
    before = {text[i : i + 64] for i in range(cut - 64)}
    again = np.mean([text[i : i + 64] in before for i in range(cut, len(text) - 64)])
    assert "a twelfth of the last tenth" in corpora.default_corpus.__doc__
    assert again == pytest.approx(1 / 12, rel=0.15)
