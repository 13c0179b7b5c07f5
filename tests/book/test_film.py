"""The film of a training step: its numbers are those of one_page.py, and a planted mistake shows where it begins."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gradcheck import check
from minitransformer import one_page
from minitransformer.book.film import IDS, MISTAKES, WEIGHTS, H, film, film_page, filmed
from minitransformer.book.worked_example import NAMES
from minitransformer.book.writing import write_pages


@pytest.fixture(scope="module")
def shown():
    return film()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    written = write_pages(tmp_path_factory.mktemp("film"), {"film": ("The film", film_page())})
    return written.pages[0]


def place_of(shown, name):
    return next(i for i, line in enumerate(shown["lines"]) if name in line["made"])


def test_the_numbers_are_those_of_the_one_page(shown):
    loss, logits, backward = one_page.gpt(*WEIGHTS, ids=IDS[:, :-1], targets=IDS[:, 1:], H=H)
    gradients = backward()
    assert shown["values"]["loss"]["data"] == [pytest.approx(loss, rel=5e-3)]
    np.testing.assert_allclose(shown["values"]["logits"]["data"], logits.ravel(), rtol=5e-3)
    for name, gradient in zip(NAMES, gradients, strict=True):
        np.testing.assert_allclose(shown["values"][f"d{name}"]["data"], gradient.ravel(), rtol=5e-3, atol=1e-15)


def test_every_numbered_line_is_shown_once_and_reads_only_earlier_lines(shown):
    lines, count = shown["lines"], shown["forward"]
    source = Path(one_page.__file__).read_text("utf-8")
    assert count == len(re.findall(r" # +\d+  \(", source)) and len(lines) - count == source.count("# ←")
    assert all(source_line < i for i, line in enumerate(lines) for source_line in line["from"])
    assert all(set(line["reads"]) <= set(shown["values"]) for line in lines)


@pytest.mark.parametrize(
    "made, entry, read, expected",
    [
        ("weights", 4, "e", [4, 5, 6, 7]),  # the second row of the first head
        ("dWo", 1, "merged", [0, 4, 8, 12]),  # its first column
        ("dWo", 1, "dr", [1, 5, 9, 13]),  # its second column
        ("a", 10, "Phi", [10]),
    ],
)
def test_a_number_depends_on_those_from_which_it_is_computed(shown, made, entry, read, expected):
    changed = shown["lines"][place_of(shown, made)]["depends"][made][read]
    assert [i for i, entries in enumerate(changed) if entry in entries] == expected


@pytest.mark.parametrize("title, edit", [(title, edit) for title, _, edit in MISTAKES])
def test_the_first_difference_is_at_the_planted_line_and_a_check_finds_all_but_the_mask(shown, title, edit):
    found = next(m for m in shown["mistakes"] if m["title"] == title)
    assert found["first"] == found["line"] and edit.partition(" → ")[2] in found["code"]
    assert set(shown["lines"][found["line"]]["made"]) & set(found["values"])
    if "mask" in title:
        assert found["wrong"] == [] and "loss" in found["values"]
    else:
        assert found["wrong"] and found["error"] > 0.01 and "loss" not in found["values"]
        assert set(found["wrong"]) == {f"d{name}" for name in NAMES} & set(found["values"])


def test_the_one_page_itself_has_no_wrong_gradient():
    right = filmed()
    assert right.wrong == [] and right.error < 1e-12

    def loss(*theta):
        loss, _, backward = one_page.gpt(*theta, ids=IDS[:, :-1], targets=IDS[:, 1:], H=H)
        return loss, backward

    check(loss, *WEIGHTS)


def test_the_page_is_small_asks_for_nothing_and_has_all_lines_without_its_script(page, shown):
    text = page.read_text("utf-8")
    assert len(text.encode()) < 200_000
    assert not re.search(r"\b(src|url|fetch|import)\s*[=(]", text)
    without = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert without.count("<li ") == len(shown["lines"]) == without.count('class="box')
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data) == shown


@pytest.mark.slow
def test_in_a_browser_arrow_keys_step_and_a_mistake_shows_what_should_be(browser, page):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    browser.get(page.as_uri())
    body = browser.find_element("css selector", "body")

    def text(place):
        return browser.find_element("css selector", place).text

    body.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert text(".lines li.now code").startswith("mu1 = mean(x)")
    assert text("#now figure var") == "mu1" and len(browser.find_elements("css selector", ".strip .box.read")) == 1
    cell = browser.find_element("css selector", '#now td[data-entry="1"]')
    cell.click()
    lit = browser.find_elements("css selector", "#read-x td.lit")
    assert [int(found.get_attribute("data-entry")) for found in lit] == [4, 5, 6, 7]
    Select(browser.find_element("id", "mistake")).select_by_visible_text("The residual's direct path is forgotten")
    assert text("#now s") == "dr = dy + r2 * (dx2_hat - mean(dx2_hat) - x2_hat * mean(dx2_hat * x2_hat))"
    assert "should be" in text("#now .should") and "A gradient check finds it" in text("#consequence")
    assert browser.find_elements("css selector", "#now td.wrong")
    assert browser.get_log("browser") == []
