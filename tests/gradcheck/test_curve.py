"""The step curve: its slopes, its verdicts, its two drawings, and its command."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradcheck import Call, GradientError
from gradcheck.__main__ import main
from gradcheck.curve import CENTRAL, COMPLEX, FORWARD, LESSON, STEPS, draw, measure, save, softmax
from gradcheck.museum import EXHIBITS
from minitransformer import LayerNorm
from minitransformer.cases import CASES

MINE = """
import numpy as np
from gradcheck import Call, Case

def square(x):
    def backward(dy):
        return 2 * x * dy
    return x * x, backward

def half(x):
    def backward(dy):
        return x * dy
    return x * x, backward

CASES = [
    Case("square", lambda rng: Call(square, rng.normal(size=3))),
    Case("half", lambda rng: Call(half, rng.normal(size=3))),
]
"""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def exponential(x):
    y = np.exp(x)

    def backward(dy):
        return dy * y

    return y, backward


def absolute(x, *, at_zero=0.0):
    def backward(dy):
        return dy * np.where(x == 0, at_zero, np.sign(x))

    return np.where(x.real > 0, x, -x), backward


def test_truncation_has_slope_one_for_forward_and_two_for_central_differences_and_the_complex_step():
    curve = measure(Call(exponential, normal(5)))
    assert curve.slope(FORWARD) == pytest.approx(1, abs=0.03)
    assert curve.slope(CENTRAL) == pytest.approx(2, abs=0.03)
    assert curve.slope(COMPLEX) == pytest.approx(2, abs=0.03)


def test_the_truncation_errors_are_those_of_taylors_series():
    # A single number: L(t) = dy · exp(x + t v) with v = ±1, so every derivative of L is ±L.
    curve = measure(Call(exponential, np.array([0.3])))
    i = int(np.argmin(np.abs(STEPS - 1e-2)))
    h = STEPS[i]
    assert curve.error(FORWARD)[i] == pytest.approx(h / 2, rel=0.01)
    assert curve.error(CENTRAL)[i] == pytest.approx(h * h / 6, rel=0.01)
    assert curve.error(COMPLEX)[i] == pytest.approx(h * h / 6, rel=0.01)


def test_rounding_grows_as_the_step_shrinks_and_spares_the_complex_step():
    curve = measure(Call(exponential, normal(50)))
    small, smaller = STEPS < 1e-9, STEPS < 1e-12
    for method in (FORWARD, CENTRAL):
        assert np.median(curve.error(method)[smaller]) > 100 * np.median(curve.error(method)[small & ~smaller])
    assert np.max(curve.error(COMPLEX)[small]) < 1e-14


def test_the_best_steps_lie_where_theory_says():
    curve = measure(Call(exponential, normal(50)))
    assert 1e-10 < curve.best(FORWARD)[1] < 1e-6 and curve.best(FORWARD)[0] < 1e-7
    assert 1e-7 < curve.best(CENTRAL)[1] < 1e-3 and curve.best(CENTRAL)[0] < 1e-9


FEW = {"layer_norm", "attention, masked row", "gelu", "cross_entropy, weighted, smoothed", "Transformer, Llama-like"}
DRAWN = [pytest.param(case, marks=() if case.name in FEW else pytest.mark.slow, id=case.name) for case in CASES]


@pytest.mark.parametrize("case", DRAWN)
def test_every_case_of_the_model_is_right_and_complex_safe(case):
    curve = measure(case.call(np.random.default_rng(0)))
    assert curve.verdict == "right" and curve.obstacle is None
    assert curve.error(COMPLEX)[-1] < 1e-11
    for method, order in ((FORWARD, 1), (CENTRAL, 2), (COMPLEX, 2)):
        assert curve.slope(method) is None or curve.slope(method) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_the_wrong_gradients_of_the_museum_are_flat_lines_and_the_right_ones_are_not(exhibit):
    inputs, options = exhibit.draw(np.random.default_rng(0))
    assert measure(Call(exhibit.version(wrong=False), *inputs, **options)).verdict == "right"
    try:
        curve = measure(Call(exhibit.version(wrong=True), *inputs, **options))
    except GradientError:
        return  # the contract itself is broken: there is no gradient to draw
    assert curve.verdict == "wrong" and not curve.height <= 1e-5


@pytest.mark.parametrize("factor", [1 + 1e-5, 1.5, 0.0, -1.0])
def test_a_planted_factor_is_a_flat_line_at_its_height(factor):
    def planted(x):
        y, exact = exponential(x)

        def backward(dy):
            return factor * exact(dy)

        return y, backward

    curve = measure(Call(planted, normal(6)))
    assert curve.verdict == "wrong"
    assert curve.height == pytest.approx(abs(factor - 1) / max(1, abs(factor)), rel=1e-4)
    assert f"flat line at {curve.height:.1e}" in curve.caption


@pytest.mark.parametrize("at_zero", [0.0, 1.0, -0.7])
def test_a_kink_is_called_a_kink_with_both_slopes_whatever_backward_gives(at_zero):
    curve = measure(Call(absolute, np.zeros(1), at_zero=at_zero))
    assert curve.verdict == "at a kink"
    left, right = curve.one_sided
    assert left == pytest.approx(-right, rel=1e-6)
    assert f"the slope is {left:.6g} to the left, {right:.6g} to the right" in curve.caption


def test_beside_a_kink_there_is_none():
    assert measure(Call(absolute, normal(6))).verdict == "right"


def test_a_backward_that_gives_nan_is_wrong_and_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")

    def spoilt(x):
        def backward(dy):
            return np.nan * dy

        return x * x, backward

    curve = measure(Call(spoilt, normal(3)))
    assert curve.verdict == "wrong" and curve.caption.startswith("Wrong: backward gives nan, central differences ")
    assert "Wrong: backward gives nan" in draw(curve)
    save([curve], tmp_path / "curve.png")


def test_a_forward_pass_that_is_not_complex_safe_is_left_out_and_says_so():
    def modulus(x):
        def backward(dy):
            return dy * np.sign(x)

        return np.abs(x), backward

    curve = measure(Call(modulus, normal(6)))
    assert COMPLEX not in curve.derivatives and curve.verdict == "right"
    assert re.match(r"complex numbers give 0, central differences -?\d", curve.obstacle)
    assert "No complex step: the forward pass is not complex-safe" in draw(curve)


def test_a_forward_pass_that_raises_on_complex_numbers_says_so():
    def ceiling(x):
        np.ceil(x)

        def backward(dy):
            return 2 * dy

        return 2 * x, backward

    assert measure(Call(ceiling, normal(3))).obstacle.startswith(
        "on complex arguments it raises TypeError: ufunc 'ceil'"
    )


def test_a_forward_pass_that_drops_the_imaginary_part_is_not_complex_safe():
    def filled(x):
        y = np.empty(x.shape)
        y[...] = 3 * x

        def backward(dy):
            return 3 * dy

        return y, backward

    assert "casts to real numbers" in measure(Call(filled, normal(3))).obstacle


def test_one_argument_alone_can_be_moved():
    def product(x, w):
        def backward(dy):
            return dy * w, dy * x * 2  # dw is wrong

        return x * w, backward

    call = Call(product, normal(3), normal(3, seed=1))
    assert measure(call, argument="x").verdict == "right"
    assert measure(call, argument="w").verdict == "wrong"
    assert measure(call).verdict == "wrong"
    with pytest.raises(ValueError, match="product has no argument 'xx'; the nearest is 'x'"):
        measure(call, argument="xx")


def test_inputs_and_parameters_are_left_as_they_were():
    call = next(case for case in CASES if case.name == "LayerNorm").call(np.random.default_rng(0))
    before = [call.inputs[0].copy(), call.target.gamma.data.copy()]
    data = call.target.gamma.data
    measure(call)
    assert call.target.gamma.data is data
    np.testing.assert_array_equal(call.inputs[0], before[0])
    np.testing.assert_array_equal(data, before[1])


def test_a_float32_module_is_measured_in_float64():
    layer = LayerNorm(5)
    data = layer.gamma.data
    curve = measure(Call(layer, normal(3, 5)))
    assert curve.best(CENTRAL)[0] < 1e-9
    assert layer.gamma.data is data and data.dtype == np.float32 and np.all(data == 1)


def test_the_same_seed_gives_the_same_curve_and_another_one_another():
    call = Call(exponential, normal(4))
    first, again, other = (measure(call, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.error(CENTRAL), again.error(CENTRAL))
    assert first.analytic != other.analytic


# Drawings


def test_the_drawing_in_the_terminal_has_its_axes_its_slopes_and_its_caption():
    text = draw(measure(Call(exponential, normal(5))))
    assert "1e-16" in text and "1e-01  step h" in text
    assert "+ forward differences  truncation ∝ h^1.00, rounding ∝ 1/h" in text
    assert "o central differences  truncation ∝ h^2.00" in text
    assert "Right along this direction" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_point_of_the_drawing_stands_at_its_error():
    text = draw(measure(Call(exponential, np.array([0.3]))))
    rows = {}
    for row, line in enumerate(text.splitlines()[2:21]):
        for column, symbol in enumerate(line[9:]):
            if column == 75:
                rows[symbol] = 1 - row
    assert rows["+"] == round(np.log10(0.1 / 2))  # h/2 at h = 0.1
    assert rows["*"] == round(np.log10(0.1**2 / 6))


def test_a_flat_line_is_one_row_of_the_drawing():
    curve = measure(LESSON[1].call(np.random.default_rng(0)))
    rows = [line for line in draw(curve).splitlines() if "│" in line and line.count("*") > 0]
    assert len(rows) == 1 and rows[0].count("*") >= 55


def test_the_picture_is_a_png_of_one_panel_for_each_curve(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [measure(case.call(np.random.default_rng(0))) for case in LESSON]
    widths = []
    for n in (1, 2):
        save(curves[:n], tmp_path / "curve.png")
        data = (tmp_path / "curve.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        widths.append(int.from_bytes(data[16:20], "big"))
    assert widths[1] > 1.8 * widths[0]


# The command


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MINE)
    yield "mine.py"
    sys.modules.pop("_cases_of_mine", None)


def test_without_a_target_it_teaches_with_a_right_and_a_wrong_softmax(capsys):
    assert main(["curve"]) == 0
    out = capsys.readouterr().out
    assert "softmax, right: error" in out and "wrong: error" in out
    assert "Right along this direction" in out and "Wrong: a flat line" in out


@pytest.mark.parametrize("name, status", [("square", 0), ("half", 1)])
def test_the_exit_status_is_the_verdict_on_the_target(mine, name, status, capsys):
    assert main(["curve", f"{mine}:{name}"]) == status
    assert capsys.readouterr().out.startswith(f"{name}: error of the derivative along a random direction")


def test_an_argument_is_chosen_by_name(mine, capsys):
    assert main(["curve", f"{mine}:square", "--argument", "x", "--seed", "2"]) == 0
    assert "through x" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{mine}"], "mine.py has 2 cases; name one, as in 'mine.py:square'"),
        (["{mine}:sqare"], "mine.py has no case 'sqare'; the nearest is 'square'"),
        (["nowhere:x"], "there is no module named 'nowhere'"),
        (["{mine}:square", "--argument", "y"], "square has no argument 'y'; the nearest is 'x'"),
        (["{mine}:square", "--out", "no/such/folder.png"], "gradcheck: no/such/folder.png: No such file or directory"),
        (["{mine}:square", "--out", "curve.docx"], "docx"),
    ],
)
def test_bad_use_is_answered_in_one_line(mine, arguments, message, capsys):
    if "--out" in arguments:
        pytest.importorskip("matplotlib")
    assert main(["curve", *(argument.format(mine=mine) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and re.match("gradcheck(?: curve)?: ", err) and err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of a disk that is full")
def test_a_picture_for_which_there_is_no_room_is_named(mine, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "curve.png").symlink_to("/dev/full")
    assert main(["curve", f"{mine}:square", "--out", str(tmp_path / "curve.png")]) == 2
    assert capsys.readouterr().err == f"gradcheck: {tmp_path / 'curve.png'}: No space left on device\n"


def test_a_picture_that_cannot_be_finished_leaves_the_one_before(mine, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "curve.png").write_bytes(b"older")
    monkeypatch.setattr(os, "fsync", full)
    assert main(["curve", f"{mine}:square", "--out", "curve.png"]) == 2
    assert capsys.readouterr().err == "gradcheck: curve.png: No space left on device\n"
    assert (tmp_path / "curve.png").read_bytes() == b"older" and not [n for n in os.listdir() if n.endswith(".tmp")]


def test_what_a_case_raises_is_answered_in_one_line(mine, tmp_path, capsys):
    failing = "def fails(x):\n    raise ZeroDivisionError('no way')\n\n"
    cases = "CASES = [Case('fails', lambda rng: Call(fails, np.ones(2)))]\n"
    (tmp_path / "mine.py").write_text(f"{MINE}\n{failing}{cases}")
    assert main(["curve", f"{mine}:fails"]) == 2
    assert capsys.readouterr().err == "gradcheck curve: fails raises ZeroDivisionError: no way\n"


def test_without_matplotlib_the_terminal_still_works_and_a_picture_is_refused_in_one_line(tmp_path):
    code = """
import sys
sys.modules["matplotlib"] = None
from gradcheck.__main__ import main
assert main(["curve"]) == 0
sys.exit(main(["curve", "--out", "curve.png"]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert "install it with pip install matplotlib" in run.stderr and run.stderr.count("\n") == 1


def test_the_lesson_is_a_softmax():
    x = normal(2, 4)
    y, backward = softmax(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1)
    np.testing.assert_allclose(backward(np.ones_like(y)), 0, atol=1e-15)
