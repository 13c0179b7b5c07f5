"""Pages that compute: the reader types, drags and plants mistakes, and each number shown is NumPy's."""

import json
import re
import sys
import types
from functools import partial

import numpy as np
import pytest
from small_book import every_chapter
from translated import TEXTBOOK, differences

from minitransformer.book.appendix import cases_by_file
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.film import WEIGHTS, H
from minitransformer.book.five_letters import five_letters
from minitransformer.book.live import TAGS
from minitransformer.book.observation import watched
from minitransformer.book.page import Words
from minitransformer.book.writing import chapter, write_pages
from minitransformer.module import plain
from minitransformer.one_page import adamw, gpt

pytestmark = pytest.mark.slow  # a browser

WITHOUT_LADDER = ("one_page.py", "transformer.py", "layers/block.py", "layers/multi_head_attention.py")
STEPS = """
let state = 2017; // of Park and Miller's generator
const random = () => (state = (state * 16807) % 2147483647) / 2147483647;
const number = (value) => (Number.isFinite(value) ? value : String(value));
const plain = (value) => {
  if (value instanceof NDArray) return { shape: value.shape, data: [...value.data].map(number) };
  return ["number", "boolean"].includes(typeof value) ? value : null;
};
(async (done) => {
const found = [], pause = () => new Promise((next) => setTimeout(next, 50));
for (const section of document.querySelectorAll(".ladder:has(script.example)")) {
  const example = JSON.parse(section.querySelector("script.example").textContent);
  const select = section.querySelector("select");
  const inputs = [...section.querySelectorAll(".matrix input")], steps = [];
  const cells = [...section.querySelectorAll(".matrix[data-array] td")];
  const texts = cells.map((cell) =>
    cell.closest(".given").hidden ? null : cell.querySelector("input")?.value ?? cell.textContent);
  const take = async (planted) => {
    const verdict = section.querySelector("output");
    while (verdict?.textContent.includes("…")) await pause();
    steps.push({
    planted, verdict: section.querySelector("output")?.textContent,
    given: inputs.map(({ dataset, value }) => [dataset.name, Number(value)]),
    variables: Object.fromEntries(Object.entries(section.variables).map(([name, value]) => [name, plain(value)])),
    });
  };
  await take(null);
  const planted = select ? [...select.options].slice(1).map((option) => option.textContent) : [];
  for (const [k, sentence] of [null, ...planted].entries()) {
    for (const input of inputs) {
      if (random() < 0.5 || input.step === "1") continue;
      input.value = ((random() < 0.5 ? -1 : 1) * (0.3 + 1.7 * random())).toFixed(2);
      input.dispatchEvent(new Event("input"));
    }
    if (k) { select.selectedIndex = k; select.dispatchEvent(new Event("change")); }
    await take(sentence);
  }
  found.push({ example, texts, steps });
}
done(JSON.stringify(found));
})(arguments[0]);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All chapters, with planted mistakes and without the checks of their cases."""
    folder, pages = tmp_path_factory.mktemp("live"), {}
    for leaf, derivations in every_chapter():
        cases = [] if leaf.file in WITHOUT_LADDER else cases_by_file().get(leaf.file, [])
        pages[leaf.page] = (leaf.title, *chapter(leaf.title, leaf.path, Words(derivations), {}, cases, leaf))
    write_pages(folder, pages)
    return folder


def in_numpy(example, given, mistake=None):
    """Return the variables of a call, with the line of a mistake as the page shows it in the place of the right one."""
    path = PACKAGE / example["file"]
    lines = path.read_text("utf-8").split("\n")
    for k, at in enumerate(mistake["lines"] if mistake else ()):
        margin = len(lines[at - 1]) - len(lines[at - 1].lstrip())
        lines[at - 1] = "" if k else " " * margin + mistake["code"]
    module = types.ModuleType(as_module(example["file"]))
    exec(compile("\n".join(lines), path, "exec"), vars(module))

    def decoded(value):
        if not isinstance(value, dict):
            return [decoded(one) for one in value] if isinstance(value, list) else value
        (kind, content), *_ = value.items()
        if kind == "function":
            of_file = module if content == example["file"] else sys.modules[as_module(content)]
            keywords = {name: decoded(one) for name, one in value["keywords"].items()}
            return partial(getattr(of_file, value["name"]), **keywords)
        return decoded_dict(content) if kind == "dict" else np.array(content, kind).reshape(value["shape"])

    def decoded_dict(values):
        return {name: decoded(value) for name, value in values.items()}

    typed: dict = {}
    for name, value in given:
        typed.setdefault(name, []).append(value)
    inputs, dy = decoded_dict(example["inputs"]), decoded_dict(example["dy"])
    for values in (inputs, dy):
        for name in typed.keys() & values.keys():
            values[name] = np.array(typed[name], values[name].dtype).reshape(values[name].shape)
    with plain(), watched(*TEXTBOOK) as seen, np.errstate(all="ignore"):
        returned = getattr(module, example["function"])(*inputs.values(), **decoded_dict(example["options"]))
        if dy:
            returned[-1](*dy.values())
    own = [example["shown"], f"{example['shown']}.<locals>.backward"]
    return {name: value for one in own if one in seen for name, value in seen[one][-1].names.items()}


def is_number(value):
    return isinstance(value, (int, float, np.ndarray, np.generic))


def as_module(file):
    return f"minitransformer.{file.removesuffix('.py').replace('/', '.')}"


def test_after_random_inputs_and_with_each_planted_mistake_all_variables_equal_numpys(browser, folder):
    count = 0
    browser.set_script_timeout(300)
    for page in sorted(folder.glob("*.html")):
        browser.get(page.as_uri())
        after = page.read_text("utf-8").split('<section class="ladder"')[1:]
        ladders = [part for part in (text.partition("</section>")[0] for text in after) if 'class="example"' in part]
        texts = [re.findall(r'<td data-i="\d+"[^>]*>([^<]*)</td>', part) for part in ladders]
        for static, ladder in zip(texts, json.loads(browser.execute_async_script(STEPS)), strict=True):
            example = ladder["example"]
            pairs = zip(static, ladder["texts"], strict=True)
            assert [(a, b) for a, b in pairs if b is not None and a.replace("−", "-") != b.replace("−", "-")] == []
            mistakes = {f"{one['code']}: {one['sentence']}": one for one in example["mistakes"]}
            for step in ladder["steps"]:
                mistake = mistakes.get(step["planted"])
                expected = in_numpy(example, step["given"], mistake)
                found = {
                    name: fault
                    for name, value in expected.items()
                    if is_number(value) and (fault := differences(value, step["variables"].get(name)))
                }
                assert found == {}, (page.stem, example["shown"], mistake)
                if example["dy"]:
                    words = ("Wrong", "Not found") if mistake else "Right"
                    assert step["verdict"].startswith(words), (page.stem, step)
                if mistake and (step["verdict"] or "").startswith("Not found"):  # in NumPy's gradients, neither
                    without = in_numpy(example, step["given"], None)
                    for name in {f"d{name}" for name in example["inputs"]} & without.keys() & expected.keys():
                        np.testing.assert_allclose(without[name], expected[name], rtol=0, atol=1e-5, err_msg=page.stem)
                count += 1
        assert browser.get_log("browser") == [], page.stem
    assert count > 250


@pytest.fixture
def ladder(browser, folder):
    browser.get((folder / "layer_norm.html").as_uri())
    return browser.find_element("css selector", ".ladder")


def test_a_number_follows_the_mouse_the_arrow_keys_and_what_is_typed(browser, ladder):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    field = ladder.find_element("css selector", '[data-array="beta"] input')

    def shown(name):
        texts = ladder.find_elements("css selector", f'[data-array="{name}"] tr:first-child td')
        return [float(found.text.replace("−", "-")) for found in texts]

    before, y = float(field.get_attribute("value")), shown("y")
    ActionChains(browser).click_and_hold(field).move_by_offset(30, 0).release().perform()
    assert float(field.get_attribute("value")) == pytest.approx(before + 0.5)
    assert shown("y") == pytest.approx([y[0] + 0.5, *y[1:]], abs=0.011)
    field.send_keys(Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert float(field.get_attribute("value")) == pytest.approx(before + 0.6)
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("-1.5")
    assert shown("y") == pytest.approx([y[0] - 1.5 - before, *y[1:]], abs=0.011)
    assert ladder.find_element("css selector", "output").text.startswith("Right: dx, dgamma, dbeta agree")


def test_a_mistake_marks_its_line_its_arrays_and_the_verdict_and_dy_of_ones_can_hide_it(browser, ladder):
    from selenium.webdriver.support.select import Select

    mistakes = Select(ladder.find_element("css selector", "select"))
    (chosen,) = [option.text for option in mistakes.options if option.text.startswith("dx_hat = dy: ")]
    mistakes.select_by_visible_text(chosen)
    assert ladder.find_element("css selector", ".line.wrong").text == "dx_hat = dy"
    marked = [found.get_attribute("data-array") for found in ladder.find_elements("css selector", ".matrix.wrong")]
    assert sorted(marked) == ["dx", "dx_hat"]
    assert ladder.find_element("css selector", "output").text.startswith("Wrong by central differences: dx is off by")
    (hidden,) = [option.text for option in mistakes.options if option.text.startswith("dgamma = x_hat.sum(")]
    mistakes.select_by_visible_text(hidden)
    ones, again = ladder.find_elements("css selector", ".controls button")
    ones.click()
    said = "Not found: in spite of the mistake, dx, dgamma, dbeta agree with central differences"
    assert ladder.find_element("css selector", "output").text == said
    again.click()
    assert ladder.find_element("css selector", "output").text.startswith(
        "Wrong by central differences: dgamma is off by"
    )
    mistakes.select_by_visible_text("none")
    assert ladder.find_elements("css selector", ".wrong") == []
    assert ladder.find_element("css selector", "output").get_attribute("class") == "right"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_a_live_ladder(browser, ladder, scheme):
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    plant = "const s = document.querySelector('select'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))"
    browser.execute_script(plant)
    found = axe.run(browser, context=".ladder")["violations"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280])
def test_no_live_ladder_is_wider_than_the_screen(browser, folder, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wide, right = (
        [],
        "return [...document.querySelectorAll('.ladder')].map((made) => made.getBoundingClientRect().right)",
    )
    for page in ("attention", "losses", "mixture_of_experts", "linear"):
        browser.get((folder / f"{page}.html").as_uri())
        wide += [(page, edge) for edge in browser.execute_script(right) if edge > width]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == []


def test_the_model_is_trained_on_the_readers_five_letters_with_numpys_numbers(browser, tmp_path):
    write_pages(tmp_path, {"five": ("Five letters", [five_letters(), TAGS])})
    browser.get((tmp_path / "five.html").as_uri())
    field = browser.find_element("css selector", ".controls input")
    field.clear()
    field.send_keys("hello")
    button = next(b for b in browser.find_elements("css selector", "button") if b.text == "Train 200 steps here")
    button.click()
    letters = sorted([*"helo", *"ab"])
    ids = np.array([[letters.index(letter) for letter in "hello"]])
    theta = WEIGHTS
    m = v = [np.zeros_like(w) for w in theta]
    for t in range(1, 202):
        loss, logits, backward = gpt(*theta, ids=ids[:, :-1], targets=ids[:, 1:], H=H)
        theta, m, v = zip(*[adamw(*one, t=t) for one in zip(theta, backward(), m, v, strict=True)], strict=True)
    shown = browser.execute_script("return [...document.querySelector('.ladder').variables.logits.data]")
    np.testing.assert_allclose(shown, logits.ravel(), rtol=1e-9)
    said = browser.find_element("css selector", ".controls output").text
    assert f"After 200 steps it is {loss:.3f}, and the likeliest next letters are e l l o." in said
