"""The figures of the trained model: every number is the model's, and the reader chooses a head and a token."""

import re

import numpy as np
import pytest
from small_book import write_unchecked
from stored_model import SHAKESPEARE, held_out

import minitransformer
from minitransformer.book.trained import STORED, heads, trained, trained_section
from minitransformer.language_model import mean_loss
from minitransformer.system.archive import open_archive


def plainly(lm, text):
    """Return the attention weights (layers, heads, T, T) of the textbook's layers, and the logits."""
    found = []

    def kept(y, backward):
        found.append(y)
        return y, backward

    names = [f"blocks.{i}.attention.weights" for i in range(lm.model.config.n_layers)]
    with minitransformer.plain(), lm.model.hooked(dict.fromkeys(names, kept)):
        logits, _ = lm.model(lm.encode(text)[None])
    return np.concatenate(found), logits[0]


def test_the_losses_beside_the_model_are_its_losses():
    lm, facts = trained()
    with minitransformer.plain():
        assert mean_loss(lm.model, lm.encode(facts["passage"])) == pytest.approx(facts["loss_of_passage"], abs=1e-4)
    if not SHAKESPEARE.exists():
        pytest.skip("the whole held-out text is not here")
    held = held_out(SHAKESPEARE.read_text("utf-8"))
    ids = lm.encode(held)
    assert facts["passage"] in held and facts["sentence"] in facts["passage"] and len(ids) == facts["tokens"]
    assert mean_loss(lm.model, ids) == pytest.approx(facts["loss"], abs=1e-4)


def test_the_stored_model_is_small_and_needs_no_pickle():
    assert STORED.stat().st_size < 400_000
    with open_archive(STORED) as archive:
        assert all(archive.header(name).dtype == np.float32 for name in archive.members)


def test_the_command_is_one_that_train_accepts():
    from minitransformer.cli import build_parser

    _, facts = trained()
    arguments = build_parser().parse_args(facts["command"].split()[1:])
    assert (arguments.seed, arguments.steps, arguments.d_model) == (0, 3000, 64)


def test_a_head_has_a_name_only_if_its_score_passes_the_bound():
    lm, facts = trained()
    ids = lm.encode(facts["passage"])
    rows = [ids[at : at + 64] for at in range(0, len(ids) - 63, 64)]
    weights = np.mean([[np.diagonal(w, -1, 1, 2).mean(-1) for w in layers_of(lm, row)] for row in rows], axis=0)
    named = heads()
    assert len(named) == weights.size
    for head, score in zip(named, weights.ravel(), strict=True):
        assert (head.name == "the token before") == (score >= 0.5)
        if head.name == "the token before":
            assert head.score == pytest.approx(score, abs=1e-5)
    assert {head.name for head in named} >= {"the token before", ""}


def layers_of(lm, ids):
    from minitransformer.analysis.heads import attention_weights

    return attention_weights(lm.model, ids)


def test_the_sentence_said_of_each_head_and_token_follows_from_the_weights():
    lm, facts = trained()
    weights, logits = plainly(lm, facts["sentence"])
    section = trained_section("attention")
    import json

    data = json.loads(re.search(r'<script type="application/json" class="reading-data">(.*?)</script>', section)[1])
    expected = np.rint(100 * weights).astype(int).reshape(-1, *weights.shape[2:])
    for head, rows in enumerate(data["weights"]):
        for query, row in enumerate(rows):
            assert np.abs(np.array(row) - expected[head, query, : query + 1]).max() <= 1  # a tie may round up
            said, most = data["said"][head][query], expected[head, query].max()
            assert f"{most}%" in said or f"{most + 1}%" in said or f"{most - 1}%" in said
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    assert f"({np.rint(100 * probabilities[3].max()):.0f}%)" in data["said"][0][3]


@pytest.mark.slow
def test_a_reader_chooses_a_head_and_a_token_by_keyboard_and_mouse(browser, tmp_path):
    from selenium.webdriver import ActionChains, Keys

    lm, facts = trained()
    weights, _ = plainly(lm, facts["sentence"])
    write_unchecked(tmp_path)
    browser.get((tmp_path / "attention.html").as_uri())

    def assert_shows(head, query):
        shown = [found.text for found in browser.find_elements("css selector", ".reading .token output")]
        expected = weights.reshape(-1, *weights.shape[2:])[head, query, : query + 1]
        for text, weight in zip(shown, expected, strict=False):
            assert abs(float(text.removesuffix("%")) - 100 * weight) < 0.51
        assert len(shown) == weights.shape[-1] and set(shown[query + 1 :]) <= {""}

    def chosen(name):
        return int(browser.execute_script(f"return document.querySelector('.reading [name={name}]:checked').value"))

    head, query = chosen("head"), chosen("query")
    assert_shows(head, query)
    for name in ("query", "head"):
        radio = browser.find_element("css selector", f".reading [name={name}]:checked")
        radio.send_keys(Keys.ARROW_LEFT)
    assert (chosen("head"), chosen("query")) == (head - 1, query - 1)
    assert_shows(head - 1, query - 1)
    tokens = browser.find_elements("css selector", ".reading .token")
    ActionChains(browser).move_to_element(tokens[4]).perform()
    assert_shows(head - 1, 4)
    browser.find_elements("css selector", ".reading .head")[2].click()
    assert_shows(2, query - 1)  # the pointer has left the token
    tokens[5].click()
    assert chosen("query") == 5
    assert_shows(2, 5)
    for width in (320, 390, 768, 1024, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    assert axe.run(browser, context=".reading")["violations"] == []
