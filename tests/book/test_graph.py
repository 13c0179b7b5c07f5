"""The picture of a derivation: its paths are those of the equations, and nothing overlaps."""

import re

import pytest
from small_book import derivations, every_chapter

from minitransformer.book.chapters import CHAPTERS
from minitransformer.book.graph import assigned, drawn, picture_of, predicted, values_of
from minitransformer.book.run import BACKWARD

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.page)


def pictured(chapter):
    """Yield (function, derivations) of each picture of a chapter."""
    read = derivations(chapter.file)
    yield from ((f, read) for f in dict.fromkeys(s.function for s in read.statements) if values_of(f, read))


def derivations_of(page):
    return next(derivations for chapter, derivations in every_chapter() if chapter.page == page)


@each_chapter
def test_the_equation_of_a_gradient_reads_the_gradients_of_the_values_that_read_its_value(chapter):
    for function, derived in pictured(chapter):
        values, checked = values_of(function, derived), 0
        arrays = {name for run in derived.runs if run.specimen.function == function for name in run.values}
        for statement in derived.statements:
            if statement.function == function + BACKWARD and statement.number is not None:
                for name, reads in assigned(statement.equation, arrays):
                    if name[1:] in values:
                        checked += 1
                        of = {read[1:] for read in reads if read[1:] in values and read[0] == "d"}
                        assert of - {name[1:]} == predicted(values, name[1:]), statement.text  # dS_t reads dS_{t+1}
        assert checked


def test_layer_norm_has_three_paths_into_dx():
    values = values_of("layer_norm", derivations_of("layer_norm"))
    assert {name for name, value in values.items() if "x" in value.sources} == {"μ", "σ", "x̂"}
    assert {name for name, value in values.items() if value.is_saved} == {"x̂", "r", "γ"}
    assert [values[name].gradient for name in ("x", "γ", "x̂", "r", "y")] == [7, 6, 6, 0, 0]
    assert not values["r"].is_derived and values["y"].is_derived
    assert values["x"].shape == "P × C" and values["σ"].label == "σ²"


def test_what_is_not_on_a_path_to_the_output_has_no_gradient():
    assert sum(len(list(pictured(chapter))) for chapter in CHAPTERS) >= 25
    assert picture_of("adamw", derivations_of("optim")) == ""
    assert values_of("masked_softmax", derivations_of("attention"))["mask"].gradient is None
    assert values_of("gelu_exact", derivations_of("activations"))["φ"].gradient is None


@each_chapter
def test_no_two_boxes_overlap_and_all_are_within_the_picture(chapter):
    for function, derived in pictured(chapter):
        picture = drawn(values_of(function, derived))
        left, top, width, height = map(float, re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', picture).groups())
        boxes = [tuple(map(float, found)) for found in re.findall(
            r'<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', picture)]  # fmt: skip
        for x, y, w, h in boxes:
            assert left <= x and x + w <= left + width and top <= y and y + h <= height
        for i, (x, y, w, _) in enumerate(boxes):
            for x2, y2, w2, _ in boxes[:i]:
                assert y != y2 or x + w <= x2 + 1 or x2 + w2 <= x + 1
