"""The step curve: its slopes, its verdicts, its two drawings, and its command."""

import re
import subprocess
import sys

import numpy as np
import pytest
from verdicts import normal

from gradcheck import Call, GradientError
from gradcheck.__main__ import main
from gradcheck.curve import CENTRAL, COMPLEX, FORWARD, LESSON, STEPS, draw, measure, save
from minitransformer import LayerNorm
from minitransformer.cases import CASES

MINE = """
import numpy as np
from gradcheck import Call, Case

def square(x, *, factor=2):
    return x * x, lambda dy: factor * x * dy

def fails(x):
    raise ZeroDivisionError("no way")

CASES = [
    Case("square", lambda rng: Call(square, rng.normal(size=3))),
    Case("half", lambda rng: Call(square, rng.normal(size=3), factor=1)),
    Case("fails", lambda rng: Call(fails, np.ones(2))),
]
"""


def exponential(x, *, factor=1.0):
    y = np.exp(x)
    return y, lambda dy: factor * (dy * y)


def absolute(x, *, at_zero=0.0):
    return np.where(x.real > 0, x, -x), lambda dy: dy * np.where(x == 0, at_zero, np.sign(x))


def test_the_truncation_errors_are_those_of_taylors_series():
    # A single number: L(t) = dy · exp(x + t v) with v = ±1, so every derivative of L is ±L.
    curve = measure(Call(exponential, np.array([0.3])))
    i = int(np.argmin(np.abs(STEPS - 1e-2)))
    h = STEPS[i]
    for method, error in ((FORWARD, h / 2), (CENTRAL, h * h / 6), (COMPLEX, h * h / 6)):
        assert curve.error(method)[i] == pytest.approx(error, rel=0.01)


def test_rounding_grows_as_the_step_shrinks_and_spares_the_complex_step():
    curve = measure(Call(exponential, normal(50)))
    small, smaller = STEPS < 1e-9, STEPS < 1e-12
    for method in (FORWARD, CENTRAL):
        assert np.median(curve.error(method)[smaller]) > 100 * np.median(curve.error(method)[small & ~smaller])
    assert np.max(curve.error(COMPLEX)[small]) < 1e-14
    assert 1e-10 < curve.best(FORWARD)[1] < 1e-6 and curve.best(FORWARD)[0] < 1e-7  # the best step of theory
    assert 1e-7 < curve.best(CENTRAL)[1] < 1e-3 and curve.best(CENTRAL)[0] < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_of_the_model_is_right_and_complex_safe(case):
    curve = measure(case.call(np.random.default_rng(0)))
    assert curve.verdict == "right" and curve.obstacle is None
    assert curve.error(COMPLEX)[-1] < 1e-11
    for method, order in ((FORWARD, 1), (CENTRAL, 2), (COMPLEX, 2)):
        assert curve.slope(method) is None or curve.slope(method) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1.5, 0.0, -1.0])
def test_a_planted_factor_is_a_flat_line_at_its_height(factor):
    curve = measure(Call(exponential, normal(6), factor=factor))
    assert curve.verdict == "wrong"
    assert curve.height == pytest.approx(abs(factor - 1) / max(1, abs(factor)), rel=1e-4)
    assert f"flat line at {curve.height:.1e}" in curve.notes[-1]


@pytest.mark.parametrize("at_zero", [0.0, 1.0, -0.7])
def test_a_kink_is_called_a_kink_with_both_slopes_whatever_backward_gives(at_zero):
    curve = measure(Call(absolute, np.zeros(1), at_zero=at_zero))
    assert curve.verdict == "at a kink"
    left, right = curve.slopes
    assert left == pytest.approx(-right, rel=1e-6)
    assert f"the slope is {left:.6g} to the left, {right:.6g} to the right" in curve.notes[-1]
    assert measure(Call(absolute, normal(6))).verdict == "right"


def test_a_backward_that_gives_nan_is_wrong_and_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curve = measure(Call(exponential, normal(3), factor=np.nan))
    assert curve.verdict == "wrong" and curve.notes[-1].startswith("Wrong: backward gives nan, central differences ")
    assert "Wrong: backward gives nan" in draw(curve)
    save([curve], tmp_path / "curve.png")


@pytest.mark.parametrize(
    "function, obstacle",
    [
        (lambda x: (np.abs(x), lambda dy: dy * np.sign(x)), r"complex numbers give 0, central differences -?\d"),
        (lambda x: (2 * x + 0 * np.ceil(x), lambda dy: 2 * dy), "on complex .* raises TypeError: ufunc 'ceil'"),
        (lambda x: (3 * x.astype(float), lambda dy: 3 * dy), "it casts to real numbers"),
    ],
)
def test_a_forward_pass_that_is_not_complex_safe_is_left_out_and_says_so(function, obstacle):
    curve = measure(Call(function, normal(6)))
    assert COMPLEX not in curve.derivatives and curve.verdict == "right" and re.match(obstacle, curve.obstacle)
    assert "No complex step: the forward pass is not complex-safe" in draw(curve)


def test_one_argument_alone_can_be_moved():
    def product(x, w):
        return x * w, lambda dy: (dy * w, dy * x * 2)  # dw is wrong

    call = Call(product, normal(3), normal(3, seed=1))
    assert [measure(call, argument=name).verdict for name in ("x", "w", None)] == ["right", "wrong", "wrong"]
    with pytest.raises(ValueError, match="product has no argument 'xx'; the nearest is 'x'"):
        measure(call, argument="xx")
    with pytest.raises(GradientError, match="backward changed dy in place"):
        measure(Call(lambda x: (2 * x, lambda dy: np.multiply(dy, 2, out=dy)), normal(3)))


def test_a_float32_module_is_measured_in_float64_and_everything_left_as_it_was():
    layer, x = LayerNorm(5), normal(3, 5)
    data = layer.gamma.data
    curve = measure(Call(layer, x))
    assert curve.best(CENTRAL)[0] < 1e-9
    assert layer.gamma.data is data and data.dtype == np.float32 and np.all(data == 1)
    np.testing.assert_array_equal(x, normal(3, 5))


# Drawings


def test_the_drawing_in_the_terminal_has_its_axes_its_slopes_and_its_caption():
    text = draw(measure(Call(exponential, normal(5))))
    assert "1e-16" in text and "1e-01  step h" in text
    assert (
        "+ forward differences, truncation ∝ h^1.00\n" in text and "o central differences, truncation ∝ h^2.0" in text
    )
    assert "Right along this direction: central differences come as close as " in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_point_of_the_drawing_stands_at_its_error_and_a_flat_line_is_one_row():
    lines = draw(measure(Call(exponential, np.array([0.3])))).splitlines()[2:21]
    rows = {line[9 + 75]: 1 - row for row, line in enumerate(lines) if len(line) > 9 + 75}
    assert rows["+"] == round(np.log10(0.1 / 2)) and rows["*"] == round(np.log10(0.1**2 / 6))  # at h = 0.1
    text = draw(measure(LESSON[1].call(np.random.default_rng(0))))
    (row,) = [line for line in text.splitlines() if "│" in line and "*" in line]
    assert row.count("*") >= 55 and "lowest" not in text


def test_the_picture_is_a_png_of_one_panel_for_each_curve(tmp_path):
    pytest.importorskip("matplotlib")
    save([measure(case.call(np.random.default_rng(0))) for case in LESSON], tmp_path / "curve.png")
    data = (tmp_path / "curve.png").read_bytes()
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert data.startswith(b"\x89PNG") and width > 2 * height


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
    assert main(["curve", f"{mine}:{name}", "--argument", "x", "--seed", "2"]) == status
    assert capsys.readouterr().out.startswith(f"{name}: error of the derivative along a random direction through x")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("mine.py", "mine.py has 3 cases; name one, as in 'mine.py:square'"),
        ("mine.py:sqare", "mine.py has no case 'sqare'; the nearest is 'square'"),
        ("mine.py:fails", "gradcheck curve: fails raises ZeroDivisionError: no way\n"),
        ("nowhere:x", "No module named 'nowhere'"),
        ("mine.py:square --argument y", "square has no argument 'y'; the nearest is 'x'"),
        ("mine.py:square --out no/such/folder.png", "No such file or directory"),
        ("mine.py:square --out curve.docx", "docx"),
    ],
)
def test_bad_use_is_answered_in_one_line(mine, arguments, message, capsys):
    if "--out" in arguments:
        pytest.importorskip("matplotlib")
    assert main(["curve", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and re.match("gradcheck(?: curve)?: ", err) and err.count("\n") == 1


def test_without_matplotlib_a_picture_is_refused_in_one_line():
    code = "import sys; sys.modules['matplotlib'] = None; from gradcheck.__main__ import main; sys.exit(main())"
    for arguments, status in (([], 0), (["--out", "curve.png"], 2)):
        run = subprocess.run([sys.executable, "-c", code, "curve", *arguments], capture_output=True, text=True)
        assert run.returncode == status
    assert "install it with pip install matplotlib" in run.stderr and run.stderr.count("\n") == 1
