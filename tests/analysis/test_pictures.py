"""The pictures of information flow, patching and context influence, tested by their pixels."""

import sys

import numpy as np
import pytest
from strategies import random_model

from minitransformer import ByteTokenizer, Config, LanguageModel, trace_information_flow, visualize_context_influence
from minitransformer.analysis import patch_prompts
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


@pytest.mark.parametrize(
    "text", [pytest.param(TEXT, id="short"), pytest.param("a$b" * 25, id="long", marks=pytest.mark.slow)]
)
def test_a_flow_is_drawn_with_bars_of_both_signs(lm, tmp_path, text):
    pytest.importorskip("matplotlib")
    flow = trace_information_flow(lm, text, -1)
    flow.draw(tmp_path / "flow.png")
    picture = pixels(tmp_path / "flow.png")
    assert picture.shape[1] == 1800
    lost = flow.contributions.ablation[-60:].max() > 0
    assert (count(picture, (230, 97, 1)) > 0) == lost
    assert count(picture, (94, 60, 153)) > 0 and count(picture, (76, 120, 168)) > 0


@pytest.mark.slow
def test_patching_is_drawn_above_its_estimate(lm, tmp_path):
    pytest.importorskip("matplotlib")
    maps = patch_prompts(lm, "To be", "To go", answers=("a", "b"))
    maps.draw(tmp_path / "patching.png")
    picture = pixels(tmp_path / "patching.png")
    whole = picture[: len(picture) // 2]  # the value 1: the last position of the last layer, in the maps above
    from matplotlib import colormaps

    one = np.rint(np.array(colormaps["PuOr_r"](1.0)[:3]) * 255)
    assert count(whole, one) > 1000


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
        trace_information_flow(lm, TEXT, 3).draw(tmp_path / "flow.png")
