"""The ladder: each gradient beside the equations that it mirrors, with the numbers that NumPy computes."""

import json
import re

import numpy as np
import pytest
from small_book import derivations, every_chapter

from minitransformer.book import writing
from minitransformer.book.chapters import CHAPTERS
from minitransformer.book.ladder import Drawing
from minitransformer.book.page import Words


def ladders():
    for chapter, derived in every_chapter():
        words = Words(derived)
        for ladder in words.ladders.values():
            yield chapter, words, ladder


def test_each_gradient_is_in_the_rung_of_the_equations_that_its_line_mirrors():
    for chapter, _, ladder in ladders():
        known = {number for cell in ladder.forward for number in cell.numbers}
        placed = [cell for _, backward in ladder.rungs for cell in backward]
        assert len(placed) == len(ladder.backward) and all(any(c is p for p in placed) for c in ladder.backward)
        assert [cell for forward, _ in ladder.rungs for cell in forward] == ladder.forward
        for forward, backward in ladder.rungs:
            numbers = {number for cell in forward for number in cell.numbers}
            for cell in backward:
                assert cell.mirrors & known <= numbers, (chapter.page, cell.numbers)


def test_the_rungs_of_layer_norm_and_attention_are_those_of_the_derivation():
    def numbers(file, function):
        rungs = Words(derivations(file)).ladders[function].rungs
        return [[[cell.numbers for cell in cells] for cells in rung] for rung in rungs]

    assert numbers("layers/layer_norm.py", "layer_norm") == [[[[1], [2], [3], [4]], [[7]]], [[[5]], [[6], [6], [6]]]]
    expected = [[[[1]], [[6], [6]]], [[[2]], [[5]]], [[[3]], [[4], [4]]]]
    assert numbers("layers/attention.py", "scaled_dot_product") == expected


@pytest.mark.slow
def test_the_cells_contain_the_arrays_of_the_call_and_the_script_its_inputs():
    count = scripts = 0
    for _, words, ladder in ladders():
        words.mistakes = []
        page = Drawing(ladder, words).html()
        values = ladder.inputs | ladder.dy
        for cell in ladder.forward + ladder.backward:
            values = values | (cell.arrays if cell.function.startswith(ladder.function) else {})
        for name, table in re.findall('data-array="(.*?)".*?<tbody>(.*?)</tbody>', page):
            if " " in name:  # a result, or a variable of another function, which test_live.py compares
                continue
            entries = re.findall(r'<td data-i="(\d+)".*?>(.*?)</td>', table)
            assert [int(at) for at, _ in entries] == list(range(np.size(values[name])))
            read = [{"yes": 1, "no": 0}.get(text) for _, text in entries]
            texts = [text.replace("\N{MINUS SIGN}", "-").replace("\N{INFINITY}", "inf") for _, text in entries]
            read = [float(text) if known is None else known for text, known in zip(texts, read, strict=True)]
            np.testing.assert_allclose(read, np.ravel(values[name]).astype(float), rtol=0, atol=0.00501)
            count += 1
        if script := re.search('class="example">(.*?)</script>', page):  # otherwise it has no translation
            given = json.loads(script[1])["inputs"]
            scripts += 1
            for name, value in ladder.inputs.items():
                if name in given and isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    np.testing.assert_array_equal(given[name]["float"], np.ravel(value))
                    assert given[name]["shape"] == list(value.shape)
    assert count > 150 and scripts > 20


@pytest.mark.parametrize("page, right, wrong", [("softmax", "exp(x) /", "exp(x) ·"), ("attention", "kᵀ", "qᵀ")])
def test_a_formula_that_differs_from_the_code_ends_the_command(page, right, wrong):
    (chapter,) = (chapter for chapter in CHAPTERS if chapter.page == page)
    words = Words(derivations(chapter.file))
    assert "formula-of-all" in writing.opening(chapter, words)
    edited = chapter.__class__(**(vars(chapter) | {"formula": chapter.formula.replace(right, wrong)}))
    with pytest.raises(ValueError, match=r"contents\.md: .* differs from its line|does not hold"):
        writing.opening(edited, words)
