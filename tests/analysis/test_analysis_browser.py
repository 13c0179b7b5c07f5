"""The page of `analyze` in a browser: hover, keyboard, light and dark, and a phone's width."""

import numpy as np
import pytest
from strategies import random_model

from minitransformer import CharTokenizer, Config, LanguageModel
from minitransformer.analysis.page import page_findings, render_page

pytestmark = pytest.mark.slow  # a browser

TEXT = "abba cab"


@pytest.fixture(scope="module")
def findings():
    tokenizer = CharTokenizer.train(TEXT)
    config = Config(vocab_size=tokenizer.vocab_size, context=8, d_model=16, n_heads=2, dtype="float64")
    return page_findings(LanguageModel(random_model(config, np.random.default_rng(1)), tokenizer), TEXT, last=6)


@pytest.fixture
def page(browser, findings, tmp_path):
    """The browser, with the page freshly loaded, and nothing to complain about at the end."""
    path = tmp_path / "page.html"
    path.write_text(render_page(findings, "a page"), "utf-8")
    browser.set_window_size(1200, 900)
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def tokens(page):
    return page.find_elements("css selector", "#tokens [role=option]")


def heads(page):
    return page.find_elements("css selector", "#heads [role=option]")


def summary(page):
    return page.find_element("id", "summary").text


def chosen(page):
    return [i for i, token in enumerate(tokens(page)) if token.get_attribute("aria-selected") == "true"]


def strengths(page, elements):
    script = "return arguments[0].map((made) => Number(getComputedStyle(made).getPropertyValue('--strength')))"
    return page.execute_script(script, elements)


def hover(page, element):
    from selenium.webdriver import ActionChains

    ActionChains(page).move_to_element(element).perform()


def press(page, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def test_pointing_at_a_token_shows_its_prediction_and_leaving_it_shows_the_kept_one(page, findings):
    assert chosen(page) == [7]
    hover(page, tokens(page)[4])
    position = findings["positions"][4 - 2]
    assert chosen(page) == [4]
    assert summary(page).startswith(f"After “{findings['tokens'][4]}”: “{position['target']}” comes next in the text")
    losses = np.abs(position["measures"]["ablation"])
    shades = strengths(page, tokens(page))
    np.testing.assert_allclose(shades[:5], losses / losses.max(), atol=1e-3)
    assert shades[5:] == [0, 0, 0]
    names = [name.text for name in page.find_elements("css selector", "#direct .name")]
    assert names == [name for name, _ in position["direct"]["components"]]
    hover(page, page.find_element("tag name", "h1"))
    assert chosen(page) == [7]


def test_each_head_says_where_it_looks_and_shades_the_text_when_pointed_at(page, findings):
    hover(page, tokens(page)[5])
    attention = np.array(findings["positions"][5 - 2]["attention"]) / 1000
    for i, box in enumerate(heads(page)):
        weights = attention[divmod(i, 2)]
        assert box.text == findings["tokens"][weights.argmax()]
    tokens(page)[5].click()
    hover(page, heads(page)[3])
    assert "the attention of head 1.1" in summary(page)
    np.testing.assert_allclose(strengths(page, tokens(page)[:6]), attention[1, 1], atol=1e-3)


def test_everything_can_be_done_from_the_keyboard(page, findings):
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('#tokens [tabindex=\"0\"]').focus()")
    press(page, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert chosen(page) == [5]
    press(page, Keys.HOME)
    assert chosen(page) == [2]  # the first that is explained
    press(page, Keys.ARROW_LEFT)
    assert chosen(page) == [2]
    press(page, Keys.ENTER, Keys.TAB, Keys.ARROW_DOWN)  # on to the shadings: attention
    assert "values of attention, averaged over all heads" in summary(page) and chosen(page) == [2]
    press(page, Keys.TAB, Keys.ARROW_UP)  # on to the heads
    assert "the attention of head 0.1" in summary(page)


def test_it_is_dark_where_dark_is_preferred(page):
    def background(scheme):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        return page.find_element("tag name", "body").value_of_css_property("background-color")

    assert background("light") == "rgba(255, 255, 255, 1)"
    assert background("dark") == "rgba(22, 24, 28, 1)"
    background("light")


def test_on_a_phone_the_page_is_as_wide_as_the_screen(page):
    page.set_window_size(500, 900)
    width, screen = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= screen
