"""The picture of a context's influence, tested by its pixels."""

import sys

import numpy as np
import pytest
from strategies import random_model

from minitransformer import ByteTokenizer, Config, LanguageModel, visualize_context_influence
from minitransformer.analysis.pictures import SHADES
from minitransformer.system.extras import MissingExtra

TEXT = "To be\nor $x$ é"


@pytest.fixture(scope="module")
def lm():
    config = Config(vocab_size=256, context=80, d_model=8, n_heads=2, n_layers=2, norm="rms_norm", positions="rotary")
    return LanguageModel(random_model(config, np.random.default_rng(5)), ByteTokenizer())


def pixels(path):
    image = pytest.importorskip("matplotlib.image").imread(path)
    return np.rint(image[..., :3] * 255).astype(int)


def count(picture, colour):
    return int((picture == colour).all(axis=-1).sum())


def test_context_is_drawn_in_shades_of_attention_and_ablation(lm, tmp_path):
    pytest.importorskip("matplotlib")
    found = visualize_context_influence(lm, TEXT, 10, out=tmp_path / "context.png")
    picture = pixels(tmp_path / "context.png")
    shades = {name: [int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)] for name, hexadecimal in SHADES.items()}
    assert count(picture, shades["attention"]) > 100
    largest = found.ablation[np.abs(found.ablation).argmax()]
    assert count(picture, shades["lost" if largest > 0 else "gained"]) > 100
    assert count(picture, shades["gained" if largest > 0 else "lost"]) == 0


def test_without_matplotlib_it_is_said_how_to_get_it(lm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="matplotlib is not installed"):
        visualize_context_influence(lm, TEXT, 3, out=tmp_path / "context.png")
