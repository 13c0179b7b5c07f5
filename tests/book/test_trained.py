"""The figures of the trained model: every number is the model's, and the reader chooses a token and perhaps a head."""

import json
import re
from html import unescape

import numpy as np
import pytest
from small_book import write_unchecked
from stored_model import SHAKESPEARE, held_out

import minitransformer
from minitransformer.book.reading import STORED, trained
from minitransformer.book.trained import SECTIONS, trained_section
from minitransformer.book.trained_heads import heads
from minitransformer.language_model import mean_loss
from minitransformer.system.archive import open_archive


def seen_plainly(lm, text, parts):
    """Return {name: activation} of the textbook's layers on a text; the logits have the name lm_head."""
    found = {}

    def keeper(name):
        def kept(y, backward):
            found[name] = y
            return y, backward

        return kept

    with minitransformer.plain(), lm.model.hooked({name: keeper(name) for name in parts}):
        logits, _ = lm.model(lm.encode(text)[None])
    return {name: y.squeeze(0) if y.ndim > 2 else y for name, y in found.items()} | {"lm_head": logits[0]}


def plainly(lm, text):
    """Return the attention weights (layers · heads, T, T) of the textbook's layers, and the logits."""
    names = [f"blocks.{i}.attention.weights" for i in range(lm.model.config.n_layers)]
    seen = seen_plainly(lm, text, names)
    return np.concatenate([seen[name] for name in names]), seen["lm_head"]


def tables_of(page):
    """Return the cells of each view of a chapter's figure: a list of rows of texts."""
    views = re.findall(r'<div class="view"(?: hidden)?>(.*?)</table>', trained_section(page), re.DOTALL)
    rows = [re.findall(r"<tr>(.*?)</tr>", view)[1:] for view in views]
    return [
        [[unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td>(.*?)</td>", row)] for row in some]
        for some in rows
    ]


def number(text):
    return float(text.replace("−", "-"))


def test_the_streams_are_those_that_the_norms_read():
    lm, facts = trained()
    names = ["embedding", "blocks.0", "blocks.1", "blocks.2"]
    norms = ["blocks.0.norm1", "blocks.1.norm1", "blocks.2.norm1", "ln_final"]
    seen, modules = seen_plainly(lm, facts["sentence"], [*names, *norms]), dict(lm.model.named_modules())
    views, section = tables_of("layer_norm"), trained_section("layer_norm")
    assert len(views) == len(seen["embedding"])
    for row, (name, norm) in enumerate(zip(names, norms, strict=True)):
        mean = seen[name].mean(-1)
        deviation = np.sqrt(((seen[name] - mean[:, None]) ** 2).mean(-1))
        read = (seen[name] - mean[:, None]) / np.sqrt(deviation[:, None] ** 2 + lm.model.config.eps)
        read = read * modules[norm].gamma.data + modules[norm].beta.data
        assert np.abs(read - seen[norm]).max() < 1e-4  # so this is the stream that the norm reads
        for at, view in enumerate(views):
            assert abs(number(view[row][2]) - deviation[at]) < 0.0051
        assert np.abs(mean).max() <= float(re.search(r"means μ are small, at most (\d\.\d\d)", section)[1])


def test_the_bars_of_a_token_are_its_channels_before_and_after_each_norm():
    lm, facts = trained()
    names = ["embedding", "blocks.0", "blocks.1", "blocks.2"]
    seen = seen_plainly(lm, facts["sentence"], names)
    before = np.array([seen[name][3] for name in names])
    after = before - before.mean(-1, keepdims=True)
    after /= np.sqrt((after**2).mean(-1, keepdims=True) + lm.model.config.eps)
    view = re.findall(r'<div class="view"(?: hidden)?>(.*?)</table>', trained_section("layer_norm"), re.DOTALL)[3]
    drawings = re.findall("<svg.*?</svg>", view)
    for side, expected in enumerate((before, after)):
        for svg, values in zip(drawings[side::2], expected, strict=True):
            bars = sorted((float(x), float(y)) for x, y in re.findall(r"M([\d.]+) 20V([\d.]+)", svg))
            heights = 20 - np.array([y for _, y in bars])
            assert np.abs(heights - 20 * values / np.abs(expected).max()).max() < 0.06  # rounded to a decimal


def test_the_shares_of_the_scores_are_the_attention_of_the_head():
    lm, facts = trained()
    weights, _ = plainly(lm, facts["sentence"])
    views = tables_of("softmax")
    for query, view in enumerate(views):
        *rows, total = view
        assert [row[1] for row in rows[query + 1 :]] == ["not seen"] * (len(views) - query - 1)
        scores, exponentials, shares = (np.array([number(row[k]) for row in rows[: query + 1]]) for k in (1, 2, 3))
        assert np.abs(shares - weights[7, query, : query + 1]).max() < 0.0051
        assert np.abs(exponentials - np.exp(scores - scores.max())).max() < 0.016
        assert number(total[2]) == pytest.approx(np.exp(scores - scores.max()).sum(), abs=0.15) and total[3] == "1.00"


def test_the_losses_of_the_tokens_and_their_gradients_are_those_of_the_model():
    lm, facts = trained()
    ids = lm.encode(facts["sentence"])
    logits = seen_plainly(lm, facts["sentence"], [])["lm_head"].astype(float)
    section, views = trained_section("losses"), tables_of("losses")
    with minitransformer.plain():
        assert f"is the loss of the sentence, {lm.model.loss(ids[None, :-1], ids[None, 1:])[0]:.2f} nats" in section
    shown = [float(loss) for loss in re.findall(r"<output>(.*?)</output>", section)]
    for at, (target, view) in enumerate(zip(ids[1:], views, strict=True)):
        p = np.exp(logits[at]) / np.exp(logits[at]).sum()
        assert shown[at] == pytest.approx(-np.log(p[target]), abs=0.0051)
        (is_next,) = (row for row in view if row[0].endswith("is next"))
        assert number(is_next[2]) == pytest.approx(p[target], abs=6e-4)
        assert number(is_next[3]) == pytest.approx(p[target] - 1, abs=6e-4)
        assert [number(row[2]) for row in view[:5]] == pytest.approx(np.sort(p)[:-6:-1], abs=6e-4)
        for column, total in ((2, 1), (3, 0)):  # rounded to three decimals
            assert sum(number(row[column]) for row in view) == pytest.approx(total, abs=0.004)


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
    assert {head.name for head in named} >= {"the token before", ""}


def layers_of(lm, ids):
    from minitransformer.analysis.heads import attention_weights

    return attention_weights(lm.model, ids)


def test_the_sentence_said_of_each_head_and_token_follows_from_the_weights():
    lm, facts = trained()
    weights, logits = plainly(lm, facts["sentence"])
    section = trained_section("attention")
    data = json.loads(re.search(r'<script type="application/json" class="reading-data">(.*?)</script>', section)[1])
    expected = np.rint(100 * weights).astype(int)
    for head, rows in enumerate(data["weights"]):
        for query, row in enumerate(rows):
            assert np.abs(np.array(row) - expected[head, query, : query + 1]).max() <= 1  # a tie may round up
            said, most = data["said"][head][query], expected[head, query].max()
            assert f"{most}%" in said or f"{most + 1}%" in said or f"{most - 1}%" in said
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    assert f"probability, {np.rint(100 * probabilities[3].max()):.0f}%;" in data["said"][0][3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_unchecked(folder)
    return folder


def assert_fits_every_width_and_is_accessible(browser):
    for width in (320, 390, 768, 1024, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert axe.run(browser, context=".trained")["violations"] == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(SECTIONS.keys() - {"attention", "multi_head_attention"}))
def test_a_reader_chooses_a_token_by_keyboard_and_mouse(browser, folder, page):
    from selenium.webdriver import ActionChains, Keys

    browser.get((folder / f"{page}.html").as_uri())
    expected = tables_of(page)

    def assert_shows(at):
        views = browser.find_elements("css selector", ".reading .view")
        assert [view.is_displayed() for view in views] == [k == at for k in range(len(expected))]
        shown = [
            [cell.text for cell in row.find_elements("tag name", "td")]
            for row in views[at].find_elements("tag name", "tr")[1:]
        ]
        assert shown == expected[at]

    checked = browser.find_element("css selector", ".reading [name=query]:checked")
    at = int(checked.get_attribute("value"))
    assert_shows(at)
    said = browser.find_element("css selector", ".reading p").text
    checked.send_keys(Keys.ARROW_LEFT)
    assert_shows(at - 1)
    assert browser.find_element("css selector", ".reading p").text != said
    tokens = browser.find_elements("css selector", ".reading .token")
    ActionChains(browser).move_to_element(tokens[2]).perform()
    assert_shows(2)
    tokens[4].click()
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    assert_shows(4)
    assert_fits_every_width_and_is_accessible(browser)


@pytest.mark.slow
def test_a_reader_chooses_a_head_and_a_token_by_keyboard_and_mouse(browser, folder):
    from selenium.webdriver import ActionChains, Keys

    lm, facts = trained()
    weights, _ = plainly(lm, facts["sentence"])
    browser.get((folder / "attention.html").as_uri())

    def assert_shows(head, query):
        shown = [found.text for found in browser.find_elements("css selector", ".reading .token output")]
        expected = weights[head, query, : query + 1]
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
    assert_fits_every_width_and_is_accessible(browser)
