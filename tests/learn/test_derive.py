"""Derivations judged line by line: right lines hold, and a false step is found on its line."""

import json
import random
import re
from pathlib import Path

import pytest

from minitransformer import cli
from minitransformer.learn.derivations.files import read, text_of
from minitransformer.learn.derivations.judging import judged

STYLES = [
    block.partition("\n")[::2]
    for block in (Path(__file__).parent / "right_derivations.txt").read_text("utf-8").split("== ")[1:]
]


BLOCKS = (Path(__file__).parent / "lines_of_derivations.txt").read_text("utf-8").split("\n== ")[1:]
# (derivation, line of one of STYLES, false step, words of the remark)
FALSE = [
    ("silu", "∂s/∂x = s - s^2", "∂s/∂x = s + s^2", "the left is"),
    ("linear", "dW = x.T @ dy", "dW = dy.T @ x", "a transpose is missing"),
    ("linear", "dx = dy @ W.T", "dx = dy @ W", "sums over o on the left and i on the right"),
    ("linear", "db = sum_p dy", "db = dy", "is a Σ_p missing?"),
    ("softmax", "∂y_i/∂x_j = y_i δ_ij − y_i y_j", "∂y_i/∂x_j = y_i − y_i y_j", "the left is"),
    (
        "softmax",
        "dx_j = dy_j y_j − y_j Σ_i dy_i y_i",
        "dx_j = dy_j y_j + y_j Σ_i dy_i y_i",
        "x = (1), dy = (1): the left is (0), the right (2)",
    ),
    ("cross_entropy", "dz = e/S − T", "dz = T − e/S", "the left is"),
    ("layer_norm", "∂v/∂x_j = (2/C)(x_j − μ)", "∂v/∂x_j = (x_j − μ)/C", "the left is"),
    ("layer_norm", "dv (2/C)(x_i - mu) + dmu/C", "dv (2/C)(x_i - mu)", "the left is"),
    ("rms_norm", "dx̂ = dy · γ", "dx̂ = dy", "the left is"),
    ("attention", "dw = dy @ v.T", "dw = dy @ v", "is a transpose missing?"),
    ("attention", "sum_t(w * dw)", "sum_p(w * dw)", "the left is"),
]


@pytest.fixture
def judgement(tmp_path):
    """Judge lines below the header of an exercise. Returns the judgements, and the gradients that are missing."""

    def judge(header, lines):
        path = tmp_path / "derivation.txt"
        path.write_text(header + lines, "utf-8")
        return judged(read(path))

    return judge


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name, lines", STYLES, ids=[f"{name}-{at}" for at, (name, _) in enumerate(STYLES)])
def test_right_derivations_of_other_styles_are_complete_and_right(judgement, name, lines):
    found, missing = judgement(text_of(name), lines)
    assert [line for line in found if line.verdict not in ("holds", "defines")] == []
    assert missing == []


@pytest.mark.one_in(6)
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_lines_in_vectors_matrices_indices_and_velocities_are_judged_as_they_are(judgement, block):
    head, right, wrong = re.split(r"\n-- (?:right|wrong)\n", block)
    header, misjudged = f"{head}\n" if "\n" in head else text_of(head), []
    for is_right, text in ((True, right), (False, wrong.strip())):
        assert len(text.splitlines()) >= 4
        found, at = judgement(header, text.replace(" ⏎ ", "\n"))[0], header.count("\n")
        for line in text.splitlines():
            begin, at = at, at + 1 + line.count(" ⏎ ")
            verdicts = [each.verdict for each in found if begin < each.line <= at]
            if ({*verdicts} <= {"holds", "defines"}) != is_right or (verdicts[-1] == "does not hold") == is_right:
                misjudged.append((line, verdicts))
    assert misjudged == []


EDITS = [
    ("+", "−"),
    ("−", "+"),
    ("Σ ", ""),
    ("_i", "_j"),
    ("/C", ""),
    ("²", "³"),
    ("2 ", ""),
    ("ᵀ", ""),
    (".T", ""),
    ("dw", "dy"),
]
TRUE_ALL_THE_SAME = 2  # because of δ_ij, or since p and T have the same sum


@pytest.mark.slow
def test_an_edit_of_a_right_line_does_not_hold(judgement):
    draw, held, tried = random.Random(0), [], 0
    for name, text in STYLES:
        lines = text.splitlines()
        for at, line in enumerate(lines):
            left, _, right = line.partition("=")
            old, new = draw.choice([pair for pair in EDITS if pair[0] in right] or [("", "")])
            if old:
                edited = f"{left}={right.replace(old, new, 1)}"
                found, _ = judgement(text_of(name), "\n".join([*lines[:at], edited]))
                tried += 1
                held += [edited] if found[-1].verdict == "holds" else []
    assert tried > 100 and len(held) <= TRUE_ALL_THE_SAME, held


@pytest.mark.parametrize(
    "line, remark",
    [("ẏ = ẋ W + x Ẇ", "with b held fixed"), ("ẏ = ẋ W", "with W, b held fixed"), ("ẏ = ẋ W + x Ẇ + 1 ḃᵀ", "")],
)
def test_a_velocity_along_some_inputs_names_those_that_do_not_move(judgement, line, remark):
    (found,), _ = judgement(text_of("linear"), line)
    assert (found.verdict, found.remark) == ("holds", remark)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name, right, wrong, words", FALSE)
def test_a_false_step_does_not_hold_and_is_the_only_line_that_does_not(judgement, name, right, wrong, words):
    (lines,) = (lines for its_name, lines in STYLES if its_name == name and lines.count(right) == 1)
    text = text_of(name) + lines
    found, _ = judgement("", text.replace(right, wrong))
    place = text.partition(right)[0].count("\n") + 1
    assert [(line.line, words in line.remark) for line in found if line.verdict == "does not hold"] == [(place, True)]


def test_words_may_stand_around_an_equation_and_between_equations(judgement):
    lines = """
    We need the sum over i, since x_j reaches every y_i; the case i = j is special.
    By the chain rule, dx_j = Σ_i dy_i ∂y_i/∂x_j by definition of dx.
    (1) Insert: ∂y_i/∂x_j = y_i (δ_ij − y_j)
    Hence dx = y · (dy − Σ y · dy), which is the result (because Σ_i y_i = 1).
    """
    found, missing = judgement(text_of("softmax"), lines)
    assert [(line.line - 7, line.verdict) for line in found] == [(3, "holds"), (4, "holds"), (5, "holds"), (5, "holds")]
    assert missing == []


@pytest.mark.parametrize(
    "line, verdicts",
    [
        ("Using y = e / S, we find dx = y · dy", ["holds", "does not hold"]),
        ("With c = Σ dy · y we get dx = y · (dy + c)", ["defines", "does not hold"]),
        ("Inserting (1) gives dx_i = dy_i", ["does not hold"]),
        ("dx ≡ dy  # by (3)", ["does not hold"]),
        ("(e/S) S = S", ["does not hold"]),
        ("∂y_i/∂x_j = −y_i y_j for i ≠ j", ["holds"]),
        ("∂y_i/∂x_j = y_i y_j for i ≠ j", ["does not hold"]),
        (r"\frac{e_i}{S^{2}} = (y_i)^2/e_i, where c = 1/n Σ dy", ["defines", "holds"]),
        ("yᵢ = eᵢ/S and Σ_j [j ≠ i] y_j = 1 − y_i", ["holds", "holds"]),
    ],
)
def test_every_equation_of_a_line_is_judged(judgement, line, verdicts):
    found, _ = judgement(text_of("softmax"), line)
    assert [each.verdict for each in found] == verdicts


@pytest.mark.parametrize(
    "lines, is_complete",
    [
        ("u = dx\ndx = u", False),
        ("dS = −Σ dy · e / S²\ndx = dy · y + e dS", True),
        ("∂y_i/∂x_j = y_i (δ_ij − y_j)\ndx_j = Σ_i dy_i ∂y_i/∂x_j", False),
        ("u = ∂L/∂x\ndx = u", False),
        ("u_j = Σ_i dy_i ∂y_i/∂x_j\ndx = u", False),
        ("dx = de · e\nde = dy/S + dS\ndS = −Σ dy · e / S²", True),
        ("g = y · dy\ndx = g − y · Σ g", True),
    ],
)
def test_a_gradient_is_closed_if_all_names_of_its_form_are_in_whatever_order(judgement, lines, is_complete):
    found, missing = judgement(text_of("softmax"), lines)
    assert {line.verdict for line in found} <= {"holds", "defines"} and (missing == []) == is_complete


@pytest.mark.parametrize(
    "name, lines",
    [
        ("softmax", "g_i = dy_i y_i\n∂g_i/∂x_j = dy_i y_i (δ_ij − y_j)"),
        ("softmax", "∂(log y_i)/∂x_j = δ_ij − y_j\nd(log S)/dx_j = y_j\n∂y_i/∂x_j = y_i ∂(log y_i)/∂x_j"),
        ("softmax", "c = Σ dy · y, dx = y · (dy − c)\ndx_j = y_j (1 − y_j) dy_j − y_j sum_{i != j} dy_i y_i"),
        ("silu", "y' = x' s + x s'\ndx = dy y'\nd(log s)/dx = 1 − s"),
        ("softmax", "c = log S\n∂c/∂x_j = y_j"),
        ("softmax", "b = dy · e\na = Σ b\n∂a/∂e_j = dy_j"),
        ("silu", "∂s/∂x = σ'(x)\nσ′(x) = s (1 − s)\nexp'(x) = exp(x)\ntanh'(x) = 1 − tanh(x)²"),
        ("layer_norm", "dx_j = r (dx̂_j − mean_i dx̂_i − x̂_j mean_i (dx̂_i x̂_i))"),
        ("layer_norm", "dx = r (dx̂ − mean dx̂ − x̂ mean (dx̂ x̂))"),
        ("linear", "Σ_i b_i + Σ_i Σ_p x_pi = Σ_o b_o + Σ_p Σ_i x_pi"),
    ],
)
def test_right_lines_in_a_notation_of_their_own_are_accepted(judgement, name, lines):
    found, _ = judgement(text_of(name), lines)
    assert {line.verdict for line in found} <= {"holds", "defines"}, found


@pytest.mark.parametrize(
    "name, line, words",
    [
        ("linear", "∂y_po/∂x_pi = W_oi", "W_oi has o for the axis i"),
        ("linear", "∂y_po/∂W_io = x_po", "x_po has o for the axis i"),
        ("attention", "dv_tc = Σ_p w_pt dy_tc", "dy_tc has t for the axis p"),
        ("silu", "σ′(x) = s (1 + s)", "the left is"),
        ("silu", "y' = s + s'", "the left is"),
        ("softmax", "∂(log y_i)/∂x_j = δ_ij + y_j", "the left is"),
        ("softmax", "dx_j = y_j dy_j − y_j Σ_{i≠j} dy_i y_i", "the left is"),
        ("softmax", "g_i = dy_i y_i\n∂g_i/∂x_j = dy_i y_i (δ_ij + y_j)", "the left is"),
        ("layer_norm", "dx_j = r (dx̂_j − mean_i dx̂_i + x̂_j mean_i (dx̂_i x̂_i))", "the left is"),
    ],
)
def test_false_lines_in_a_notation_of_their_own_do_not_hold(judgement, name, line, words):
    found, _ = judgement(text_of(name), line)
    assert found[-1].verdict == "does not hold" and words in found[-1].remark


def test_a_derivative_of_one_number_by_another_may_be_used_in_a_closed_form(judgement):
    lines = "∂r/∂v = −r³/2\ndv = (∂r/∂v) Σ dy · γ · (x − μ)\n"
    found, missing = judgement(text_of("layer_norm"), lines + "dx = r dy · γ − r mean(dy · γ) + dv (2/C) (x − μ)")
    assert {line.verdict for line in found} == {"holds"} and missing == ["dγ", "dβ"]


def test_the_smallest_numbers_for_which_a_line_fails_are_shown(judgement):
    found, _ = judgement("exercise\ngiven x_i\n    y = x²\nasked dx\n", "dx = −2 x · dy")
    assert found[0].remark == "x = (1), dy = (1): the left is (2), the right (−2)"


@pytest.mark.parametrize(
    "line, verdict",
    [
        ("x xᵀ x = (x xᵀ) x", "holds"),
        ("(x xᵀ)ᵀ = x xᵀ", "holds"),
        ("A xᵀ = (x Aᵀ)ᵀ", "holds"),
        ("A Aᵀ = Aᵀ A", "does not hold"),
        ("A = Aᵀ", "does not hold"),
        ("∂y_pi/∂x_qj = δ_pq A_ji", "holds"),
        ("∂y_pi/∂x_qj = δ_pq A_ij", "does not hold"),
    ],
)
def test_two_axes_may_have_one_letter(judgement, line, verdict):
    ((found,), _) = judgement("exercise\ngiven x_pi, A_ii\n    y = x A\nasked dx\n", line)
    assert found.verdict == verdict, found


def test_a_line_that_fails_for_no_small_numbers_says_so(judgement):
    zero = "(x_i − 1) (x_i + 1) (x_i − 2) (x_i − 3) x_i (x_i + 2) (x_i + 3)"
    found, _ = judgement("exercise\ngiven x_i\n    y = x²\nasked dx\n", f"∂y_i/∂x_i = 2 x_i + {zero}")
    assert found[0].verdict == "does not hold" and "random numbers" in found[0].remark


@pytest.mark.parametrize("line", ["dx = dx", "dx_j = Σ_i dy_i ∂y_i/∂x_j", "dx = de · e"])
def test_a_line_without_a_closed_form_holds_and_completes_nothing(judgement, line):
    found, missing = judgement(text_of("softmax"), line)
    assert [each.verdict for each in found] == ["holds"] and missing == ["dx"]


def test_an_own_name_for_a_product_that_does_not_fit_does_not_hold(judgement):
    ((found,), _) = judgement(text_of("linear"), "g = dy W")
    assert found.verdict == "does not hold" and "is a transpose missing?" in found.remark


def test_a_derivative_keeps_the_reading_that_a_line_has_decided(judgement):
    partial, total = "∂y_i/∂e_j = δ_ij/S", "∂y_i/∂e_j = δ_ij/S − e_i/S²"
    chain = "de_j = Σ_i dy_i ∂y_i/∂e_j"
    mixed = "de_j = Σ_i dy_i ∂y_i/∂e_j − (1/S²) Σ_i dy_i e_i"
    verdicts = {
        (first, second): judgement(text_of("softmax"), f"{first}\n{second}")[0][1].verdict
        for first in (partial, total)
        for second in (chain, mixed)
    }
    assert verdicts == {
        (partial, chain): "does not hold",
        (partial, mixed): "holds",
        (total, chain): "holds",
        (total, mixed): "does not hold",
    }


def test_a_name_that_the_student_defines_becomes_a_part_of_the_forward_pass(judgement):
    found, _ = judgement(text_of("layer_norm"), "c = x − μ\ndc = r dx̂ + (2/C) c dv\ndv = −½ r³ Σ dx̂ · c\ndc = r dx̂")
    assert [line.verdict for line in found] == ["defines", "holds", "holds", "does not hold"]


def test_a_stroke_is_read_so_that_the_line_holds_with_a_remark_if_that_is_not_its_first_reading(judgement):
    header = "exercise\ngiven x_i, a, b\n    y = x · a/b\nasked dx\n"
    found, _ = judgement(header, "dx = dy a / b\ndx = a / b dy\ndx = a/b dy\ndx = b / a dy")
    assert [line.verdict for line in found] == ["holds", "holds", "holds", "does not hold"]
    assert [line.remark for line in found[:3]] == ["", "a stroke divides by the next factor only", ""]


@pytest.mark.parametrize(
    "line, words",
    [
        ("dx = y ? dy", "column 8: '?' is not a character of this notation"),
        ("dx = foo(x)", "the function foo is unknown"),
        ("dx = q · dy", "q has no value"),
        ("dx_ij = y_i", "dx has the axes i, so it cannot have the indices ij"),
        ("dx ≤ y = dy", "only equations are judged"),
    ],
)
def test_what_cannot_be_decided_is_told_with_its_reason(judgement, line, words):
    ((found,), missing) = judgement(text_of("softmax"), line)
    assert found.verdict == "cannot tell" and words in found.remark and missing == ["dx"]


@pytest.mark.parametrize(
    "header, words",
    [
        ("given x_i\n    y = x²\n", "no line begins with 'asked'"),
        ("asked dx\n", "must have a line 'given' and at least one forward equation"),
        ("given x_i\n    y = x ²²²?\nasked dx\n", "line 2: '?' is not a character"),
        ("given x_i\n    y = x · u\nasked dx\n", "the forward equations cannot be evaluated: u has no value"),
        ("given x_i\n    y = x²\nasked dz\n", "asked dz, but the forward pass has no z; it has x, y"),
    ],
)
def test_a_header_that_is_not_valid_is_refused_with_the_file(judgement, header, words):
    with pytest.raises(ValueError, match=r"derivation\.txt: ") as refused:
        judgement(header, "")
    assert words in str(refused.value)


def test_a_file_that_is_no_text_is_refused_by_its_name(tmp_path):
    path = tmp_path / "binary.txt"
    path.write_bytes(b"exercise\xff")
    with pytest.raises(ValueError, match=r"binary\.txt: a derivation is UTF-8 text, but byte 8 is 0xff"):
        read(path)


def test_the_command_writes_a_file_and_judges_it(tmp_path, capsys):
    def run(*arguments):
        status = cli.main(["learn", "derive", *map(str, arguments)])
        return status, capsys.readouterr().out

    assert "softmax" in run()[1]
    path = tmp_path / "softmax.txt"
    assert run("softmax", "--out", tmp_path)[0] == 0
    assert run("--check", path) == (1, "\nnot complete: dx in closed form\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("dx = y * (dy - sum(y * dy))\n")
    assert "not overwritten" in run("softmax", "--out", tmp_path)[1]
    status, out = run("--check", path)
    assert status == 0 and out.endswith("complete and right\n")
    status, out = run("--check", path, "--json")
    assert status == 0
    assert json.loads(out) == [{"line": 8, "verdict": "holds", "remark": "read as dx = y · (dy − Σ(y · dy))"}]
    path.write_text(path.read_text("utf-8").replace("* (dy", "* (1 + dy"), "utf-8")
    status, out = run("--check", path)
    assert status == 1 and "look at line 8 first" in out
