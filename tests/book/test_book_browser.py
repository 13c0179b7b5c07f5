"""The book in a browser, on a wide screen, on a phone, and on paper."""

import base64
import re

import pytest
from small_book import every_chapter, write_unchecked

from minitransformer.book.chapters import CHAPTERS
from minitransformer.book.handout import handout
from minitransformer.book.live import SCRIPTS
from minitransformer.book.problems import TOPICS
from minitransformer.book.worksheets import sheets, worksheet_page
from minitransformer.book.writing import write_pages

pytestmark = pytest.mark.slow  # a browser

WIDE, PHONE = 1400, 400
LONG = ("first_steps", "module", "attention", "latent_attention")  # chapters on more sheets of paper than the others


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    write_unchecked(folder)
    return folder


@pytest.fixture(autouse=True)
def as_it_was(browser):
    """Give the window its own size and colours again, for the tests of other pages."""
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def visit(browser, page, width=WIDE):
    """Load a page in a window of this width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def printed(browser, page):
    """Return how many sheets of paper a page takes."""
    visit(browser, page)
    browser.execute_async_script("document.fonts.ready.then(arguments[0])")  # printing before that fails now and then
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    return len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(pdf["data"])))


@pytest.mark.parametrize("width", [WIDE, 1280, 1024, 768, PHONE, 320])
def test_no_page_is_wider_than_the_screen_or_asks_for_anything_but_its_own_files(browser, folder, width):
    for page in sorted(folder.glob("*.html")):
        visit(browser, page, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page.name
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map((made) => made.name)")
        assert set(loaded) <= {(folder / name).as_uri() for name in ("book.css", "book-math.woff2", *SCRIPTS)}
        assert browser.get_log("browser") == []


def test_no_formula_is_cut_off(browser, folder):
    cut_off = """return [...document.querySelectorAll(".formula, .formula-of-all")]
        .filter((found) => found.clientWidth && found.scrollWidth > found.clientWidth + 1)
        .map((found) => found.textContent)"""
    for page in sorted(folder.glob("*.html")):
        visit(browser, page)
        assert browser.execute_script(cut_off) == [], page.name


@pytest.mark.parametrize(
    "scheme, rules, step", [("light", {}, 2), ("dark", {"runOnly": ["color-contrast", "link-in-text-block"]}, 5)]
)
def test_axe_finds_no_barrier_on_a_sample_of_the_pages(browser, folder, scheme, rules, step):
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for page in sorted(folder.glob("*.html"))[::step]:
        visit(browser, page)
        assert [
            (found["id"], found["nodes"][0]["html"]) for found in axe.run(browser, options=rules)["violations"]
        ] == [], page.name


def test_mathematics_is_set_in_the_font_of_the_book(browser, folder):
    visit(browser, folder / "layer_norm.html")
    heights = "return [...document.querySelectorAll('mfrac, msqrt')].map((made) => made.getBoundingClientRect().height)"
    assert min(browser.execute_script(heights)) > 8 and max(browser.execute_script(heights)) > 30
    fonts = "return [...document.fonts].map((made) => [made.family, made.status])"
    assert browser.execute_script(fonts) == [["Book Math", "loaded"]]


def test_an_equation_and_its_line_light_up_together(browser, folder):
    from selenium.webdriver import ActionChains

    visit(browser, folder / "layer_norm.html")
    equation, line, other = (
        browser.find_element("css selector", chosen)
        for chosen in (".cell .equation.e3", ".why-step .line.e3", ".why-step .line.e4")
    )

    def colours():
        return [element.value_of_css_property("background-color") for element in (equation, line, other)]

    dark, dim, also_dim = colours()
    assert dark == dim == also_dim
    for pointed_at in (equation, line):
        ActionChains(browser).move_to_element(pointed_at).perform()
        light, its, of_another = colours()
        assert light == its != dim and of_another == dim


def test_a_chapter_takes_four_sheets_at_most_long_ones_five_and_the_worked_example_two(browser, folder):
    counts = {chapter.page: printed(browser, folder / f"{chapter.page}.html") for chapter in CHAPTERS}
    assert all(counts.pop(page) <= 5 for page in LONG)
    assert {page: count for page, count in counts.items() if not 1 <= count <= 4} == {}
    assert printed(browser, folder / "worked_example.html") == 2


def test_a_handout_takes_two_sheets_at_most_long_ones_three_and_a_worksheet_one(browser, tmp_path):
    pages = {}
    for chapter, derived in every_chapter():
        if not any(statement.is_of_gradient for statement in derived.statements):
            continue  # there is no handout
        body = handout(chapter, derived, answers=chapter.page == "attention")
        pages[chapter.page] = (chapter.title, body)
    for name, topic in TOPICS.items():
        made = sheets(topic, seed=1, level=2, count=2)
        for answers in (False, True):
            body = worksheet_page(topic, made, seed=1, level=2, answers=answers)
            pages[f"{name}-{answers}"] = (topic.title, body)
    for path in write_pages(tmp_path, pages).pages:
        most = 3 if path.stem in LONG else 2
        assert (2 if "-" in path.stem else 1) <= printed(browser, path) <= most, path.stem
