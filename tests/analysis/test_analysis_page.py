"""The page of `analyze`: its contents, and that it loads nothing from elsewhere."""

import json
import re

import numpy as np
import pytest
from strategies import random_model

from minitransformer import CharTokenizer, Config, LanguageModel
from minitransformer.analysis import attention_weights, logit_lens, patch_prompts, trace_information_flow
from minitransformer.analysis.page import page_findings, render_page
from minitransformer.cli import main

TEXT = "abba cab </script>"


@pytest.fixture(scope="module")
def lm():
    tokenizer = CharTokenizer.train("abc<>/script ")
    config = Config(vocab_size=tokenizer.vocab_size, context=20, d_model=16, n_heads=4, n_kv_heads=2, dtype="float64")
    return LanguageModel(random_model(config, np.random.default_rng(1)), tokenizer)


def test_its_numbers_are_those_of_the_analyses(lm):
    found = page_findings(lm, TEXT, last=3)
    ids = lm.encode(TEXT)
    weights, lens = attention_weights(lm.model, ids), logit_lens(lm.model, ids)
    assert [position["index"] for position in found["positions"]] == [15, 16, 17]
    for position in found["positions"]:
        i = position["index"]
        flow = trace_information_flow(lm, TEXT, i + 1)
        assert position["target"] == flow.target.replace(" ", "·") and position["in_text"] == flow.in_text
        assert position["probability"] == pytest.approx(flow.probability, abs=1e-5) and position["rank"] == flow.rank
        np.testing.assert_allclose(np.array(position["attention"]) / 1000, weights[:, :, i, : i + 1], atol=6e-4)
        np.testing.assert_allclose(position["measures"]["ablation"], flow.contributions.ablation, atol=1e-4)
        total = sum(value for _, value in position["direct"]["components"])
        assert total == pytest.approx(position["direct"]["total"], abs=1e-3)
        assert position["predictions"][0][1] == pytest.approx(float(lens.top_probabilities[-1, i, 0]), abs=1e-5)
    assert len(found["lens"]["cells"]) == 3 and len(found["lens"]["cells"][0]) == len(ids)


def test_the_maps_of_patching_begin_where_the_prompts_differ(lm):
    maps = patch_prompts(lm, "abcab", "abbab", answers=("a", "c"))
    shown = page_findings(lm, "abcab", patching=maps)["patching"]
    residual = next(entry for entry in shown["maps"] if entry["name"] == "residual")
    assert residual["columns"] == ["c / b", "a", "b"]
    np.testing.assert_allclose(residual["effects"], maps.effects["residual"][:, 2:], atol=1e-5)
    heads = next(entry for entry in shown["maps"] if entry["name"] == "heads")
    np.testing.assert_allclose(heads["estimates"], maps.attributions["heads"], atol=1e-5)


def test_the_page_refers_to_nothing_outside_itself(lm):
    page = render_page(page_findings(lm, TEXT), "a title")
    assert not re.search(r"https?:|//[a-z]|\bsrc=|\bhref=|url\(|@import|fetch\(|import\(", page)


def test_what_the_text_says_stays_text(lm):
    title = '<b>{{findings}}"&'
    page = render_page(page_findings(lm, TEXT), title)
    assert page.count("</script>") == 2  # those of the skeleton
    assert "<title>&lt;b&gt;{{findings}}&quot;&amp;</title>" in page
    data = re.search(r'<script type="application/json" id="findings">(.*?)</script>', page, re.DOTALL).group(1)
    assert "".join(json.loads(data)["tokens"]) == TEXT.replace(" ", "·")


@pytest.fixture(scope="module")
def model_file(lm, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    lm.save(path)
    return str(path)


def test_the_command_writes_the_page_and_says_where(model_file, tmp_path, capsys):
    out = tmp_path / "page.html"
    compared = ["--text", "abcab", "--against", "abbab", "--answers", "a", "c"]
    assert main(["analyze", model_file, *compared, "--out", str(out)]) == 0
    assert capsys.readouterr() == ("", f"{out}: open it in a browser\n")
    assert "Activations that carry the difference" in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "abz"], "'z' (U+007A) at position 2"),
        (["--text", "ab", "--answers", "a", "b"], "--answers can only be used together with --against"),
        (["--text", "ab", "--against", "abc"], "tokens"),
        (["--text", "ab", "--last", "0"], "last must be at least 1"),
        (["--text", "a" * 21], "the number of tokens of the text must be at most 20, not 21"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(model_file, arguments, message, capsys):
    assert main(["analyze", model_file, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/page.html", "nowhere/page.html: its folder does not exist"),
        (".", ".: is a folder, not a file to write"),
    ],
)
def test_the_command_says_before_the_work_that_it_cannot_write_there(model_file, out, message, capsys, monkeypatch):
    monkeypatch.setattr(LanguageModel, "load", pytest.fail)
    assert main(["analyze", model_file, "--text", "ab", "--out", out]) == 1
    assert capsys.readouterr().err == f"minitransformer: error: {message}\n"
