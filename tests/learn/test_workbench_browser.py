"""The page of the workbench in a browser: type, see each line judged, correct it, take a hint, solve it."""

import re
import threading
import time
from contextlib import closing

import pytest

from minitransformer.learn import workspace
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import exercise_set, named_exercise
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.planting import with_bug
from minitransformer.learn.workbench.actions import Actions
from minitransformer.learn.workbench.book import Book
from minitransformer.learn.workbench.checking import Checks
from minitransformer.learn.workbench.serving import Server

pytestmark = pytest.mark.slow  # a browser

LAYER_NORM = {
    "positions": "tuple(range(dy.ndim - 1))",
    "dbeta": "dy.sum(positions)",
    "dgamma": "(dy * x_hat).sum(positions)",
    "dx_hat": "dy * gamma",
    "shift": "dx_hat.mean(-1, keepdims=True)",
    "scale": "(dx_hat * x_hat).mean(-1, keepdims=True)",
    "dx": "r * (dx_hat - shift - x_hat * scale)",
}
PATIENCE = 120  # seconds that a slow machine may take


class Bench:
    """The page in a browser, and the folder of its exercises."""

    def __init__(self, browser, address, folder):
        self.browser, self.address, self.folder = browser, address, folder

    def load(self, name=""):
        self.browser.get("about:blank")
        self.browser.get(self.address)
        self.until(lambda: self.find("#exercises li"))
        if name:
            self.find(f'a[href="#/{name}"]').click()
            self.until(lambda: self.text.is_displayed() and self.browser.title == name)

    def find(self, selector):
        found = self.browser.find_elements("css selector", selector)
        return found[0] if found else None

    @property
    def text(self):
        return self.find("#text")

    @property
    def rows(self):
        return self.find("#rows").text

    @property
    def status(self):
        return self.find("#status").text

    def until(self, condition):
        """Wait for a condition of the page, and return its value."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{self.status!r}, {self.rows!r}, {self.find('#failure').text!r}"
            time.sleep(0.02)
        return found

    def fill(self, name, code):
        """Replace the right-hand side of a line by typing."""
        script = """
            const text = document.getElementById("text");
            const match = new RegExp(`^ +${arguments[0]} = ([^#\\n]*?)(?=  #|$)`, "m").exec(text.value);
            const start = match.index + match[0].length - match[1].length;
            text.focus();
            text.setSelectionRange(start, start + match[1].length);
        """
        self.browser.execute_script(script, name)
        self.text.send_keys(code)


@pytest.fixture
def bench(browser, tmp_path):
    browser.set_window_size(1280, 900)
    folder = tmp_path / "learn"
    workspace.start(folder, exercise_set("all"), 0)
    book = Book(tmp_path / "book")
    with closing(Checks(folder)) as checks, Server(Actions(folder, checks, book), book) as server:
        thread = threading.Thread(target=server.serve_until_idle, daemon=True)
        thread.start()
        yield Bench(browser, server.address, folder)
        browser.get("about:blank")
        server.shutdown()
        thread.join()
    messages = [entry["message"] for entry in browser.get_log("browser")]
    expected = "status of 409|/do/numbers.* 400"  # a change from outside, and numbers of a text that is no longer saved
    assert [message for message in messages if not re.search(expected, message)] == []


def test_a_wrong_line_is_named_then_corrected_then_solved(bench):
    bench.load("layer_norm")
    for name, code in LAYER_NORM.items():
        bench.fill(name, "dy" if name == "dx_hat" else code)
    bench.until(lambda: "(6) dx_hat WRONG: the gain γ is missing" in bench.rows)
    wrong = bench.find("#painted .row.wrong")
    assert "dx_hat = dy" in wrong.text and "the gain γ is missing" in wrong.text
    number = int(re.search(r"\d+", wrong.find_element("css selector", ".at").text)[0])
    assert (bench.folder / "layer_norm.py").read_text("utf-8").split("\n")[number - 1].strip() == "dx_hat = dy  # (6)"
    assert "dbeta" in bench.find("#painted .row.right").text
    bench.fill("dx_hat", "dy * gamma")
    bench.until(lambda: bench.status == "right")
    assert bench.find("#painted .row.wrong") is None and bench.find("#following").is_displayed()
    bench.find("#back").click()
    bench.until(lambda: bench.find("#progress").text == "1 of 46 solved")


def test_the_map_leads_to_the_exercises_and_shows_those_that_are_solved(bench):
    marks = (
        "return [...document.querySelectorAll('#map .mark.solved')].map((one) => one.nextElementSibling.textContent)"
    )
    bench.load()
    bench.until(lambda: "looking" not in bench.find("#progress").text)
    assert bench.browser.execute_script(marks) == []
    bench.find('#map a[href="#/layer_norm"]').click()
    bench.until(lambda: bench.text.is_displayed())
    for name, code in LAYER_NORM.items():
        bench.fill(name, code)
    bench.until(lambda: bench.status == "right")
    bench.load()
    bench.until(lambda: bench.browser.execute_script(marks) == ["layer_norm"])


def test_the_first_line_is_judged_while_the_others_are_blank(bench):
    bench.load("layer_norm")
    bench.fill("dbeta", "dy.sum(tuple(range(dy.ndim - 1)))")
    bench.until(lambda: "(6) dbeta right" in bench.rows and "dx blank" in bench.rows)
    bench.find("#mistake").click()
    chosen = "const t = document.activeElement; return t.value.slice(t.selectionStart, t.selectionEnd)"
    assert bench.browser.execute_script(chosen) == "..."
    heights = (
        "const at = (id) => document.getElementById(id); return [at('painted').scrollHeight, at('text').scrollHeight, "
    )
    painted, text, scrolled = bench.browser.execute_script(f"{heights} at('text').scrollTop]")
    assert painted == text == bench.text.size["height"] and scrolled == 0  # so that the caret is at the painted letters


def test_an_endless_loop_does_not_block_the_next_verdict(bench):
    bench.load("relu")
    bench.fill("dx", "[1 for _ in iter(int, 1)]")
    bench.until(lambda: "iter(int, 1)" in (bench.folder / "relu.py").read_text("utf-8"))
    bench.fill("dx", "dy * (x > 0)")
    bench.until(lambda: bench.status == "right")


def test_small_numbers_mark_the_wrong_entries(bench):
    bench.load("softmax")
    bench.fill("dx", "dy * y")
    assert bench.find("#numbers").get_property("open") is False
    bench.until(lambda: "WRONG" in bench.rows)  # which opens the numbers
    read = """return [...document.querySelectorAll("#numbers table")].map((one) => [one.caption.textContent,
        [...one.rows].map((row) => row.textContent), one.querySelectorAll("td.wrong").length])"""
    given_x, given_dy, yours, right = bench.until(lambda: bench.browser.execute_script(read))
    captions = [caption for caption, *_ in (given_x, given_dy, yours, right)]
    assert captions == ["x, given", "dy, given", "dx, yours", "dx, right"] and yours[2] and not right[2]
    bench.fill("dx", "y * (dy - (dy * y).sum(axis=axis, keepdims=True))")
    bench.until(lambda: bench.status == "right" and not bench.find("#numbers td.wrong"))
    *_, yours, right = bench.browser.execute_script(read)
    assert yours[1] == right[1]


def test_hints_become_more_detailed(bench):
    bench.load("softmax")
    for _ in range(2):
        before = len(bench.browser.find_elements("css selector", "#hints li"))
        bench.find("#hint").click()
        bench.until(lambda before=before: len(bench.browser.find_elements("css selector", "#hints li")) > before)
    assert [line.partition(":")[0][:6] for line in bench.find("#hints").text.split("\n")] == ["hint 1", "hint 2"]
    while bench.find("#hint").is_enabled():
        before = bench.find("#hints").text
        bench.find("#hint").click()
        bench.until(lambda before=before: bench.find("#hints").text != before or not bench.find("#hint").is_enabled())
    assert bench.find("#hints").text.endswith("(the last hint)")
    bench.fill("dx", "dy")
    assert bench.find("#hint").is_enabled()


def test_a_hint_is_seen_when_it_is_asked_for_and_leaves_with_its_mistake(bench):
    is_seen = """
        const box = document.querySelector("#hints li:last-child").getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight;
    """
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    bench.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        bench.load("layer_norm")
        for name, code in LAYER_NORM.items():
            bench.fill(name, "dy" if name == "dx_hat" else code)
        bench.until(lambda: bench.find("#numbers table"))
        bench.find("#hint").click()
        bench.until(lambda: bench.find("#hints li"))
        bench.until(lambda: bench.browser.execute_script(is_seen))
    finally:
        bench.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    bench.fill("dx_hat", "dy * ")
    bench.until(lambda: "not Python" in bench.find("#sentences").text)
    bench.until(lambda: "not Python" in bench.find("#numbers .scroll").text)
    assert bench.find("#hints li")
    bench.fill("dx_hat", "dy * gamma")
    bench.fill("dx", "dx_hat")
    bench.until(lambda: "dx_hat right" in bench.rows and not bench.find("#hints li"))


def test_the_next_mistake_is_also_a_bare_ellipsis_or_the_line_of_an_error(bench):
    chosen = """
        const text = document.activeElement, at = text.selectionStart;
        return text.value.slice(0, at).split("\\n").at(-1) + "|" + text.value.slice(at, text.selectionEnd);
    """
    path = bench.folder / "linear.py"
    path.write_text(cut(named_exercise("linear"), 1), "utf-8")
    bench.load("linear")
    bench.find("#mistake").click()
    assert bench.browser.execute_script(chosen) == "        |..."
    bench.text.send_keys("dx = (")
    bench.until(lambda: "never closed" in bench.find("#sentences").text)
    sign = "return document.querySelector('#painted .row.wrong .sign')?.textContent"  # at once: it is painted again
    bench.until(lambda: bench.browser.execute_script(sign) == "✗")
    bench.browser.execute_script("document.getElementById('text').setSelectionRange(0, 0)")
    bench.text.send_keys("\ue00an")  # Alt-N
    assert bench.browser.execute_script(chosen) == "        |"


def test_an_exercise_that_is_not_begun_begins_anew_without_a_question(bench):
    bench.load("relu")
    bench.until(lambda: bench.status == "not begun")
    bench.find("#level option[value='3']").click()
    bench.find("#reset").click()
    bench.until(lambda: "nothing is given" in bench.find("#task").text)
    assert (bench.folder / "relu.py").read_text("utf-8") == cut(named_exercise("relu"), 3)


def test_a_change_from_an_editor_is_offered(bench):
    bench.load("relu")
    path = bench.folder / "relu.py"
    path.write_text(path.read_text("utf-8").replace("dx = ...", "dx = dy * (x > 0)"), "utf-8")
    bench.until(lambda: bench.find("#outside").is_displayed())
    assert "dx = ..." in bench.text.get_property("value")
    bench.find("#take").click()
    bench.until(lambda: bench.status == "right" and "dx = dy * (x > 0)" in bench.text.get_property("value"))


def test_a_bug_hunt_is_a_file_like_any_other(bench):
    exercise = named_exercise("rms_norm")
    with Grader() as grader:
        text = with_bug(exercise, 1, seed=3, grader=grader)
    (bench.folder / "rms_norm.py").write_text(text, "utf-8")
    bench.load("rms_norm")
    bench.until(lambda: "WRONG_LINE is still blank" in bench.find("#sentences").text)
    assert bench.status == "begun" and "WRONG_LINE = ..." in bench.text.get_property("value")
    assert bench.find("#task").text.startswith("One line of backward has a mistake.")


def test_a_chapter_of_the_book_is_edited_in_place(bench):
    book = bench.folder.parent / "book"
    book.mkdir()
    head = '<html lang="en"><link rel="icon" href="data:,"><script src="live.js" defer></script><main>'
    (book / "live.js").write_text("""new Function("document.body.dataset.live = 'yes'")()""", "utf-8")
    page = f'{head}<section class="ladder" data-function="softmax">lines</section></main></html>'
    for name in ("index.html", "softmax.html"):
        (book / name).write_text(page, "utf-8")
    bench.load("softmax")
    bench.find("#chapter").click()
    bench.until(lambda: bench.find("details.editor")).click()
    assert bench.find("body").get_attribute("data-live") == "yes"  # the scripts of the book compile its functions
    bench.browser.switch_to.frame(bench.find("iframe"))
    bench.until(lambda: bench.text and bench.text.is_displayed())
    assert not bench.find("#task").is_displayed() and not bench.find("#reset").is_displayed()
    bench.fill("weighted_sum", "(y * dy).sum(axis=axis, keepdims=True)")
    bench.fill("dx", "y * (dy + weighted_sum)")
    bench.until(lambda: "(3) dx WRONG: weighted_sum is added where it should be subtracted" in bench.rows)
    assert "dy + weighted_sum" in (bench.folder / "softmax.py").read_text("utf-8")


def test_docstrings_fold_without_a_change_of_the_file(bench):
    bench.load("layer_norm")
    whole = cut(named_exercise("layer_norm"), 0)
    assert "Normalize x" not in bench.text.get_property("value")
    bench.find("#docstrings").click()
    assert bench.text.get_property("value") == whole
    bench.find("#docstrings").click()
    bench.fill("shift", "0")
    bench.until(
        lambda: (bench.folder / "layer_norm.py").read_text("utf-8") == whole.replace("shift = ...", "shift = 0")
    )


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_the_screen(bench, width):
    bench.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        for name in ("", "layer_norm"):
            bench.load(name)
            assert bench.browser.execute_script("return document.documentElement.scrollWidth") <= width
        cut_off = "const text = document.getElementById('painted'); return text.scrollWidth - text.clientWidth"
        assert bench.browser.execute_script(cut_off) == 0  # a long line is reached by scrolling the editor
    finally:
        bench.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(bench, scheme):
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    feature = {"name": "prefers-color-scheme", "value": scheme}
    bench.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        for name in ("", "layer_norm"):
            bench.load(name)
            if name:
                bench.fill("dbeta", "dy")
                bench.until(lambda: "WRONG" in bench.rows)
            assert [(v["id"], v["nodes"][0]["html"]) for v in axe.run(bench.browser)["violations"]] == []
    finally:
        bench.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
