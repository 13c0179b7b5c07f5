"""The parts of a chapter next to its derivation (the question, the cost, planted mistakes), the whys, and the index."""

import re
from itertools import pairwise

import numpy as np
import pytest
from small_book import SPECIMENS, derivations

from minitransformer.book import choices
from minitransformer.book.appendix import cases_by_file, mistakes
from minitransformer.book.chapters import CHAPTERS, PAPERS, TERMS
from minitransformer.book.costs import Counted, operations
from minitransformer.book.index import index_page
from minitransformer.book.planted import classic, planted_mistakes
from minitransformer.book.prose import inline
from minitransformer.book.worksheets import small_example
from minitransformer.module import Parameter


def of(file, function):
    return next(specimen for specimen in SPECIMENS[file] if specimen.function == function)


def test_every_chapter_has_a_question_and_a_reason():
    for chapter in CHAPTERS:
        assert chapter.question.endswith("?") and chapter.about.endswith(".")


def test_a_chapter_with_a_worksheet_has_an_example_with_short_exact_numbers():
    (section,) = small_example("layers/softmax.py")
    assert section.count('<div class="ask">') == 3 and "ln 2" in section and "--worksheet softmax" in section
    assert small_example("layers/block.py") == []


def test_operations_are_those_of_the_formulas():
    P, I, O = 3, 4, 2  # noqa: E741
    product = 2 * P * I * O
    assert operations(of("layers/linear.py", "linear")) == (product + P * O, 2 * product + P * O)
    forward, backward = operations(of("layers/dropout.py", "dropout"))
    assert (forward, backward) == (24, 24)  # two products for each of 12 entries
    assert operations(of("first_steps.py", "neuron")) is None  # computes with single numbers
    assert operations(of("layers/positions.py", "frequencies")) is None


def test_counting_leaves_the_parameters_as_they_were():
    specimen = of("layers/block.py", "TransformerBlock.forward")
    assert min(operations(specimen)) > 1000
    for parameter in specimen.call.parameters():
        assert isinstance(parameter, Parameter) and not isinstance(parameter.data, Counted) and parameter.grad is None


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "page, line, hidden", [("layer_norm", "dgamma = x_hat.sum", True), ("linear", "dx = dy @ w", False)]
)
def test_planted_mistakes_have_the_errors_that_they_cause(page, line, hidden):
    (chapter,) = (chapter for chapter in CHAPTERS if chapter.page == page)
    cases = cases_by_file()[chapter.file]
    found = classic(planted_mistakes(chapter.path, cases))
    (one,) = (one for one in found if one.mutant.difference()[1][0].strip().startswith(line))
    assert len(found) >= 2 and one.error > 0.1 and (one.error_of_ones < 1e-9) == hidden
    section = "".join(mistakes(found))
    assert section.count("<tr><td>") == len(found) and ("0: not found" in section) == hidden
    assert derivations(chapter.file).source == chapter.path.read_text("utf-8")


def test_the_whys_are_shown_by_their_measurements():
    page = "".join(choices.choices_page())
    assert page.count("<section>") == 6 and page.count('<figure class="chart">') == 5
    first, *others = choices.gradients_at_blocks(choices.norms_after_additions)
    shares = [np.linalg.norm(dx) / np.linalg.norm(first) for dx in others]
    assert all(a > b for a, b in pairwise(shares)) and shares[-1] < 1e-3
    assert "<td>softmax</td><td>1 of 1</td>" in page


def test_the_error_of_a_central_difference_over_the_step_is_a_v_and_that_of_the_complex_step_falls(monkeypatch):
    drawn = []
    monkeypatch.setattr(choices, "line_chart", lambda title, xs, series, across, decades: drawn.append(series) or "")
    _, _, _, answer = choices.step_of_a_difference()
    central, exact = drawn[0].values()
    assert central[0] / central[1] == pytest.approx(100, rel=0.05)  # truncation, h²
    lowest = int(central.argmin())
    assert 3 <= lowest <= 6 and central[lowest] < 1e-9
    assert min(central[lowest + 4 :]) > 100 * central[lowest]  # rounding
    assert exact[-1] < 1e-14 and f"the best step, here 1e-0{lowest + 1}, leaves" in answer.lower()


def test_the_index_has_the_definition_and_the_uses_of_a_symbol():
    page = "".join(index_page({chapter: derivations(chapter.file) for chapter in CHAPTERS}))
    row = next(row for row in page.split("<tr>") if row.startswith("<td><math><mrow><mi>σ</mi></mrow></math>"))
    assert re.findall(r'href="(\w+\.html#eq-\d+)"', row) == ["layer_norm.html#eq-2", "activations.html#eq-3"]
    assert "the mean (layer_norm)" in page and "average of the squared gradient (optim)" in page
    symbols = dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", page))
    unexplained = [re.sub("<.*?>", "", symbol) for symbol, meaning in symbols.items() if not meaning]
    assert set(unexplained) == {"dxk", "dxv", "e1", "e2", "j", "xq"}  # the text explains them
    assert "<td>lr, min_lr, max_norm, decayed: the learning rate, its last value" in page
    assert "<td>channels per head</td>" in page and "<td>batch; the second adapter (lora)</td>" in page
    assert "Softmax" in page and all(f"<dt>{term}</dt>" in page for term in TERMS)


def test_the_numbers_of_an_equation_include_a_name_that_begins_the_name_on_its_left():
    schedule = [s for s in derivations("optim.py").statements if s.number in (8, 9)]
    given = [s.shown_on.given([s]) for s in schedule]
    assert len(given) == 2 and all("lr" in names and "lr_t" not in names for names in given)


def test_a_citation_links_to_its_paper():
    paper = "Ba, Kiros and Hinton, 2016"
    assert inline(f"A norm ({paper}).") == f'A norm (<a href="{PAPERS[paper]}">{paper}</a>).'
    text = " ".join(" ".join(derivations(chapter.file).source.split()) for chapter in CHAPTERS)
    cited = set(re.findall(r"[A-Z]\w+(?: et al\.|(?:, [A-Z]\w+)* and [A-Z]\w+), (?:19|20)\d\d", text))
    assert cited - {"DeMillo, Lipton and Sayward, 1978"} <= set(PAPERS)
