"""The pages of the book: whole, linked, loading nothing from elsewhere, whatever a docstring holds."""

import re
import xml.etree.ElementTree as ElementTree
from html import escape

import numpy as np
import pytest
from html_pages import Page, assert_loads_only_its_own
from small_book import derivations, every_chapter, write_unchecked

from minitransformer.book.chapters import CHAPTERS
from minitransformer.book.derivations import EQUAL, names_of
from minitransformer.book.handout import handout
from minitransformer.book.listing import passages
from minitransformer.book.observation import numbers_of_lines
from minitransformer.book.typesetting import mathml
from minitransformer.cli import main
from minitransformer.learn.exercises import EXERCISES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    written = write_unchecked(folder)
    assert written.faults == []
    assert {path.name for path in written.pages} == {path.name for path in folder.glob("*.html")}
    return folder


@pytest.fixture(scope="module")
def pages(folder):
    return {path.name: Page(path) for path in sorted(folder.glob("*.html"))}


def test_no_page_loads_anything_from_elsewhere_or_runs_a_script(pages, folder):
    assert len(pages) == len(CHAPTERS) + 9
    for page in pages.values():
        assert_loads_only_its_own(page, folder)
    style = (folder / "book.css").read_text("utf-8")
    assert re.findall(r"url\(\"?(.*?)\"?\)", style) == ["book-math.woff2"] and "@import" not in style
    assert (folder / "book-math.woff2").read_bytes()[:4] == b"wOF2"


def test_a_negative_number_outside_code_has_a_true_minus(folder):
    for path in sorted(folder.glob("*.html")):
        text = re.sub(r"<(script|style|code|pre)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"(?<=[\s=(])-\d[^<]{0,20}", re.sub("<.*?>", " ", text)), path.name


def test_every_link_leads_somewhere_and_every_anchor_is_there_once(pages):
    for name, page in pages.items():
        assert len(set(page.ids())) == len(page.ids())
        for link in page.links():
            file, _, anchor = link.partition("#")
            if not link.startswith(("https://", "http://")):
                assert (file or name) in pages
                assert not anchor or anchor in pages[file or name].ids()


def test_every_numbered_equation_has_its_number_its_line_and_its_values_or_a_reason(folder):
    for chapter, derived in every_chapter():
        page = (folder / f"{chapter.page}.html").read_text("utf-8")
        for statement in derived.statements:
            if statement.in_prose or statement.number is None:
                continue
            tag = f"({statement.number})"
            formula = re.escape(mathml(statement.equation, names_of(derived.statements)))
            shown = re.search(rf'id="eq-{statement.number}".*?href="#L(\d+)">\({statement.number}\)</a>', page)
            assert re.search(formula, page), statement.text
            if statement.verdict != EQUAL:
                assert f"not executed: {escape(statement.verdict)}" in page
            elif shown:
                listed = re.search(rf'id="L{shown[1]}".*?</a>(.*?)</span>\n?<', page + "<", re.DOTALL)[1]
                assert f'href="#eq-{statement.number}">{tag}' in listed


def test_all_mathematics_is_well_formed(folder):
    found = [m for path in folder.glob("*.html") for m in re.findall("<math.*?</math>", path.read_text("utf-8"))]
    assert len(found) > 250
    for markup in found:
        ElementTree.fromstring(markup)


def test_every_line_of_code_is_listed_once_as_it_is_in_the_file():
    for _, derived in every_chapter():
        source = derived.source.split("\n")
        listed = [line for passage in passages(derived.source) for line in passage.lines]
        assert len({at for at, _ in listed}) == len(listed)
        assert all(source[at - 1] == text for at, text in listed)


def test_the_contents_say_what_each_chapter_is_about(folder):
    index = (folder / "index.html").read_text("utf-8")
    for chapter in CHAPTERS:
        (card,) = re.findall(f'<a class="chapter" href="{chapter.page}.html">(.*?)</a>', index)
        assert f"<b>{escape(chapter.title)}</b><span>{escape(chapter.question)}</span>" in card


def test_a_chapter_that_has_exercises_ends_in_their_commands_and_so_do_its_handout_and_no_other(folder):
    start, asked = "<code>minitransformer learn start</code>", set()
    for chapter in CHAPTERS:
        names = [exercise.name for exercise in EXERCISES if exercise.source == chapter.path]
        page = (folder / f"{chapter.page}.html").read_text("utf-8")
        last = page[page.rindex("<p>To derive") if names else page.rindex("<p>") : page.rindex("<nav")]
        assert [start in last, page.count(start)] == [bool(names)] * 2
        assert re.findall("<code>minitransformer learn check (.*?)</code>", page) == names
        asked.update(names)
        if names and any(s.is_of_gradient for s in derivations(chapter.file).statements):
            for answers in (False, True):
                sheet = "".join(handout(chapter, derivations(chapter.file), answers, names))
                assert re.findall("<code>minitransformer learn check (.*?)</code>", sheet) == names * (not answers)
    assert asked == {exercise.name for exercise in EXERCISES if exercise.source.name != "lessons.py"}


def maps_of(folder, name):
    """Return [(name, the numbers of its entries)] of the Jacobians on a page."""
    found = []
    for title, table in re.findall(
        'data-array="(∂.*?)".*?<tbody>(.*?)</tbody>', (folder / f"{name}.html").read_text("utf-8")
    ):
        rows = [re.findall("<td.*?>(.*?)</td>", row) for row in table.split("</tr>")[:-1]]
        found.append((title, np.array([[float(e.replace("\N{MINUS SIGN}", "-")) for e in row] for row in rows])))
    return found


def inputs_of(file, function, k=0):
    return [run.specimen for run in derivations(file).runs if run.specimen.function == function][k].inputs


def assert_drawn(maps, **wanted):
    """Assert that the maps are those of these names, in their order, and have these numbers, to two decimals."""
    assert [title for title, _ in maps] == [f"∂{name.replace('_by_', '/∂')}" for name in wanted]
    for (_, drawn), matrix in zip(maps, wanted.values(), strict=True):
        np.testing.assert_allclose(drawn, matrix, atol=0.0051)


def test_entries_that_share_an_index_are_drawn_for_one_of_it(folder):
    x, weight, _ = inputs_of("layers/linear.py", "linear")
    assert_drawn(maps_of(folder, "linear"), y_by_x=weight.T, y_by_W=x)
    for name, letter in (("linear", "p"), ("linear", "o"), ("embedding", "c")):
        assert f" for one <i>{letter}</i>: a row for each" in (folder / f"{name}.html").read_text("utf-8")


def test_what_a_query_a_key_and_a_value_reach_is_drawn_beside_each_other(folder):
    q, k, v = (array.ravel() for array in inputs_of("layers/attention.py", "scaled_dot_product", 1))
    weights = np.where(np.tri(4, dtype=bool), np.exp(np.outer(q, k)), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    by_scores = weights * (v - (weights @ v)[:, None])  # of y_i by scores_ij
    wanted = {"y_by_q": np.diag(by_scores @ k), "y_by_k": by_scores * q[:, None], "y_by_v": weights}
    assert_drawn(maps_of(folder, "attention"), **wanted)


# Handouts.


@pytest.mark.one_in(4)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.page)
def test_a_handout_has_none_of_the_answers_and_its_key_all(chapter):
    derived = derivations(chapter.file)
    backward = [s for s in derived.statements if s.is_of_gradient]
    if not backward:
        return  # there is no handout
    sheet, key = ("".join(handout(chapter, derived, answers)) for answers in (False, True))
    names = names_of(derived.statements)
    assert sheet.count('class="blank"') >= len(backward) and "<svg" not in sheet
    for statement in backward:
        whole = mathml(statement.equation, names)
        assert whole in key and whole not in sheet
        assert mathml(statement.equation, names, only_left=True) in sheet
    source, numbers = derived.source.split("\n"), numbers_of_lines(derived.source)
    sheet, key = (re.sub("<.*?>", "", page) for page in (sheet, key))
    for at in {at for at, tags in numbers.items() if {s.number for s in backward} & {*tags}}:
        code = escape(source[at - 1].partition("  # ")[0].strip())
        assert code in key and code not in sheet


def sheet_of(page, answers=False):
    """Return the handout of a chapter, or its key, without markup."""
    chapter = next(chapter for chapter in CHAPTERS if chapter.page == page)
    return re.sub("<.*?>", "", "".join(handout(chapter, derivations(chapter.file), answers)))


def test_a_handout_does_not_give_away_a_gradient_in_its_prose_or_remarks():
    for page, given_away in (
        ("lora", "both sides equal"),
        ("activations", "every backward here is"),
        ("linear", "sums over"),
    ):
        assert given_away in sheet_of(page, answers=True) and given_away not in sheet_of(page)


def test_a_blank_has_room_in_proportion_to_the_derivation_that_is_left_out():
    chapter = next(chapter for chapter in CHAPTERS if chapter.page == "layer_norm")
    body = "".join(handout(chapter, derivations(chapter.file)))
    *first, last = sorted(int(height) for height in re.findall(r'class="blank" style="height:(\d+)mm"', body))
    assert len(set(first)) == 1 and last > 3 * first[0] > 0


def test_a_chapter_without_a_backward_pass_has_no_handout(tmp_path, capsys):
    assert main(["book", "--handout", "generation", "--out", str(tmp_path / "out")]) == 1
    assert "there is no handout of 'generation'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_handouts_and_worksheets_are_whole_pages_too(tmp_path):
    assert main(["book", "--handout", "linear", "--out", str(tmp_path), "--quiet"]) == 0
    assert "<code>minitransformer learn check linear</code>" in (tmp_path / "linear-handout.html").read_text("utf-8")
    assert main(["book", "--handout", "linear", "--answers", "--out", str(tmp_path), "--quiet"]) == 0
    assert main(["book", "--worksheet", "relu", "--count", "2", "--out", str(tmp_path), "--quiet"]) == 0
    names = {"linear-handout.html", "linear-key.html", "relu-2-0-worksheet.html", "relu-2-0-key.html"}
    assert {path.name for path in tmp_path.glob("*.html")} == names
    for path in tmp_path.glob("*.html"):
        page = Page(path)
        assert_loads_only_its_own(page, tmp_path)
        assert all(link.startswith("#") and link[1:] in page.ids() for link in page.links())
