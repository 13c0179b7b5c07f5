"""A backward pass line by line: the line that is wrong is found, and no line that is right is called wrong."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus import compiled
from verdicts import normal

import gradcheck
import minitransformer
from gradcheck import Call, randomize_parameters
from gradcheck.__main__ import main
from gradcheck.adapters import from_pair, from_value_and_gradient
from gradcheck.call import to_float64
from gradcheck.lines import steps_of_call
from minitransformer.cases import CASES

FOLDER = Path(minitransformer.__file__).parent
TEXTBOOK = [case for case in CASES if not case.name.startswith(("fast.", "in_", "Transformer"))]


def row(report, name):
    """Return the last row of that name."""
    return [row for row in report.rows if row.name == name][-1]


@pytest.fixture
def plant(tmp_path):
    """Import a file of the textbook with a mistake in it: plant(file, old, new)."""
    planted = []

    def plant_mistake(file, old, new):
        source = (FOLDER / file).read_text("utf-8")
        assert source.count(old) == 1, old
        name = f"planted_{len(planted)}_{Path(file).stem}"
        path = tmp_path / f"{name}.py"
        path.write_text(source.replace(old, new), "utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        planted.append(name)
        return module

    yield plant_mistake
    for name in planted:
        del sys.modules[name]


# Right code


@pytest.mark.parametrize(
    "cases", [TEXTBOOK[5::20], pytest.param(TEXTBOOK, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_nothing_right_is_called_wrong_and_nearly_all_of_it_is_followed(cases):
    numbered = []
    for case in cases:
        with minitransformer.plain():
            report = steps_of_call(case.call(np.random.default_rng(0)))
        assert report.passed and report.first_wrong is None, report
        numbered += [row.verdict for row in report.rows if row.equation]
    assert set(numbered) <= {"right", "not followed"}
    assert numbered.count("right") > 0.95 * len(numbered) > 2 * len(cases)


# Mistakes


def call_of(module, kind, rng):
    """Return a Call of a function of the textbook."""
    drawn = rng.normal
    x = drawn(size=(2, 3, 4))
    calls = {
        "linear": lambda: Call(module.linear, x, drawn(size=(4, 4)), drawn(size=4)),
        "softmax": lambda: Call(module.softmax, x),
        "layer_norm": lambda: Call(module.layer_norm, x, drawn(size=4), drawn(size=4)),
        "attention": lambda: Call(module.scaled_dot_product, *(drawn(size=(2, 2, n, 3)) for n in (4, 5, 5))),
        "relu": lambda: Call(module.relu, x),
        "gelu": lambda: Call(module.gelu, x),
        "gelu, tanh": lambda: Call(module.gelu, x, approximate="tanh"),
        "dropout": lambda: Call(module.dropout, x, keep=rng.random(x.shape) < 0.7, p=0.3),
        "embedding": lambda: Call(module.embedding, np.array([[1, 2, 1], [0, 3, 2]]), drawn(size=(4, 5))),
        "FeedForward": lambda: Call(module.FeedForward(4, 5), x),
        "GatedFeedForward": lambda: Call(module.GatedFeedForward(4, 5), x),
        "MultiHeadAttention": lambda: Call(module.MultiHeadAttention(4, 2), x),
        "TransformerBlock": lambda: Call(module.TransformerBlock(4, 2, 5), x),
    }
    call = calls[kind]()
    to_float64(call.target)
    randomize_parameters(call.target, rng)
    return call


FILES = {kind: f"layers/{kind.partition(',')[0]}.py" for kind in ("linear", "softmax", "layer_norm", "attention")}
FILES |= dict.fromkeys(("relu", "gelu", "gelu, tanh"), "layers/activations.py")
FILES |= dict.fromkeys(("FeedForward", "GatedFeedForward"), "layers/feed_forward.py")
FILES |= {"dropout": "layers/dropout.py", "embedding": "layers/embedding.py", "TransformerBlock": "layers/block.py"}
FILES |= {"MultiHeadAttention": "layers/multi_head_attention.py"}
PLANTED = r"""
linear | dx = dy @ weight.T → dx = dy @ weight | dx: weight is not transposed
linear | rows(dy).sum(axis=0) → rows(dy).mean(axis=0) | dbias: a mean stands where a sum belongs
softmax | dx = y * (dy - weighted_sum) → dx = y * dy | dx: y \* weighted_sum is not subtracted
layer_norm | shift - x_hat * scale) → shift) | dx: the path from x to the output through variance
layer_norm | dx_hat = dy * gamma → dx_hat = dy | dx_hat: the factor gamma is missing
layer_norm | shift = dx_hat.mean( → shift = dx_hat.sum( | shift: a sum stands
layer_norm | return dx, dgamma, dbeta → return dx, dbeta, dgamma | dgamma: dbeta stands where dgamma
relu | dx = np.where(off, 0, dy) → dx = dy | dx: should be 0
gelu | slope = Phi + x * phi → slope = Phi - x * phi | slope: x \* phi is subtracted where it
gelu, tanh | 1 + 3 * 0.044715 → 1 + 0.044715 | u_slope: 0.044715 stands where 3 \* 0.044715 belongs
dropout | dx = dy * keep * scale → dx = dy * scale | dx: should be 0 where keep is False
embedding | np.add.at(dweight, ids, dy) → dweight[ids] = dy | dweight: come twice get one
FeedForward | dh = activation_backward(da) → dh = da | dh: activation_backward is not applied to da
GatedFeedForward | dx = gate_backward(dg) + → dx = | dx: the path from x to the output through g is missing
MultiHeadAttention | k_backward(dk) → k_backward(dq) | dxk: dq stands where dk belongs
TransformerBlock | dr = dy + norm2_ → dr = norm2_ | dr: the term d[fy] is missing
""".strip().split("\n")  # kind | old → new | name of the row: diagnosis; three of four are slow


@pytest.mark.one_in(8)
@pytest.mark.parametrize("row", PLANTED)
def test_the_line_of_a_planted_mistake_is_found_and_it_is_named(row, plant):
    kind, old, new, name, said = re.fullmatch(r"(.*) \| (.*) → (.*) \| (\w+): (.*)", row).groups()
    line = 1 + (FOLDER / FILES[kind]).read_text("utf-8").partition(old)[0].count("\n")
    module = plant(FILES[kind], old, new)
    with minitransformer.plain():
        report = steps_of_call(call_of(module, kind, np.random.default_rng(0)))
    assert not report.passed
    assert {row.line for row in report.rows if row.verdict == "WRONG"} == {line}, report
    assert report.first_wrong.name == name
    assert re.search(said, report.first_wrong.sentence), report


def test_an_axis_that_is_an_argument_is_called_by_its_name(plant):
    softmax = plant("layers/softmax.py", "(y * dy).sum(axis=axis", "(y * dy).sum(axis=-1").softmax
    report = gradcheck.steps(softmax, normal(3, 4, 5), axis=1)
    assert report.first_wrong.sentence == "the sum runs over axis -1 where it should run over axis"


@pytest.mark.slow
def test_a_mistake_within_what_a_line_calls_is_said_to_be_there(plant):
    old = "dx = q_backward(dxq) + k_backward(dxk) + v_backward(dxv)"
    module = plant("layers/multi_head_attention.py", old, old.replace(" + v_backward(dxv)", ""))
    report = steps_of_call(call_of(module, "MultiHeadAttention", np.random.default_rng(0)))
    assert report.first_wrong.sentence == "the mistake is within projections_backward, which the line calls"
    assert row(report, "w_v.weight.grad").sentence == "no gradient arrives there"


def test_the_gradients_of_parameters_are_rows_too_and_follow(plant):
    module = plant("layers/feed_forward.py", "dh = activation_backward(da)", "dh = 2 * activation_backward(da)")
    report = steps_of_call(call_of(module, "FeedForward", np.random.default_rng(0)))
    assert row(report, "down.weight.grad").verdict == "right"
    assert (row(report, "up.weight.grad").verdict, row(report, "up.weight.grad").sentence) == ("follows", "from dh")
    assert str(report).startswith("FeedForward.backward: 2 of 5 gradients right")


def affine_forward(x, w, b):
    """tanh(x w + b), with the arrays that backward needs."""
    z = x @ w + b
    a = np.tanh(z)
    return a, (x, w, a)


def affine_backward(da, cache):
    """Of which the derivative of tanh is wrong."""
    x, w, a = cache
    dz = da * (1 - a)  # (2)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def test_two_functions_with_a_cache_between_them_are_looked_at_too():
    report = gradcheck.steps(from_pair(affine_forward, affine_backward), normal(4, 3), normal(3, 2), normal(2))
    assert str(report) == (
        "affine_forward.backward: 0 of 3 gradients right\n"
        "   (2) dz  WRONG: a is not squared\n"
        "       dx  follows from dz\n"
        "       dw  follows from dz\n"
        "       db  follows from dz\n"
        "   with the correct dz, dx, dw and db are right"
    )


# Names that cannot be followed


def test_a_name_that_is_rebound_written_into_or_of_another_shape_is_said_to_be():
    def awkward(x, w):
        h = x @ w
        h = np.tanh(h)
        a = np.zeros_like(h)
        a[...] = h
        b = a.sum(axis=0)
        y = a * b

        def backward(dy):
            db = dy * a
            da = dy * b + db.sum(axis=0)
            dh = da * (1 - h * h)
            return dh @ w.T, x.T @ dh

        return y, backward

    report = gradcheck.steps(awkward, normal(4, 3), normal(3, 2, seed=1))
    assert report.passed
    assert {row.name: row.sentence for row in report.rows if row.verdict == "not followed"} == {
        "db": "it does not have the shape of b, (2,)",
        "da": "the forward pass binds a, or writes into it, more than once",
        "dh": "the forward pass binds h, or writes into it, more than once",
    }


def test_without_a_backward_within_or_without_source_it_says_so():
    scope = {}
    exec(
        "def double(x):\n    def backward(dy):\n        dx = 2 * dy\n        return dx\n    return 2 * x, backward",
        scope,
    )
    with pytest.raises(ValueError, match=r"double: .* cannot be read: there is no file <string>"):
        gradcheck.steps(scope["double"], normal(3))
    pair = from_value_and_gradient(lambda x: np.sum(x * x), np.zeros_like)
    with pytest.raises(ValueError, match="no function `backward` is defined within its forward pass"):
        gradcheck.steps(pair, normal(3))


def test_a_source_that_changed_since_is_not_taken_for_what_runs(tmp_path):
    path = tmp_path / "changing.py"
    text = "def double(x):\n    def backward(dy):\n        dx = 2 * dy\n        return dx\n    return 2 * x, backward\n"
    path.write_text(text, "utf-8")
    scope = {}
    exec(compile(text.replace("2 * dy", "3 * dy"), str(path), "exec"), scope)
    with pytest.raises(ValueError, match=r"changing\.py was changed after it was loaded"):
        gradcheck.steps(scope["double"], normal(3))


@pytest.mark.parametrize("wrong", ["x.T * dy", "x.T + dy", "(x.T @ dy) * x"])
def test_the_lines_can_be_read_after_a_check_whose_backward_raises(wrong, tmp_path):
    path, scope = tmp_path / "raising.py", {}
    backward = f"    def backward(dy):\n        dw = {wrong}\n        return dy @ w.T, dw\n"
    path.write_text(f"def product(x, w):\n{backward}    return x @ w, backward\n", "utf-8")
    exec(compile(path.read_text("utf-8"), str(path), "exec"), scope)
    report = gradcheck.check(scope["product"], normal(4, 3), normal(3, 2), raises=False)
    assert "raises ValueError in line 3" in str(report)
    assert gradcheck.steps(scope["product"], normal(4, 3), normal(3, 2)).first_wrong.line == 3


def test_a_gradient_of_another_shape_is_refused_in_one_line():
    def flat(x):
        def backward(dy):
            dx = 2 * dy.ravel()
            return dx

        return 2 * x, backward

    with pytest.raises(ValueError, match=r"dx has shape \(6,\), but x has \(2, 3\).*; this must be corrected"):
        gradcheck.steps(flat, normal(2, 3))


def test_what_a_function_writes_into_and_does_not_bind_stays_that_of_whoever_does():
    seen, total = {}, np.zeros(3)

    def tanh(x):
        seen["x"] = x
        t = np.tanh(x)

        def backward(dy):
            seen["dy"] = dy
            total[...] = dy
            dx = dy * (1 - t)
            return dx

        return t, backward

    report = gradcheck.steps(tanh, normal(3))
    assert (row(report, "dx").verdict, row(report, "dx").sentence) == ("WRONG", "t is not squared")
    assert set(seen) == {"x", "dy"} and total.any()


def test_what_a_check_cannot_tell_is_no_mistake():
    def wavy(x):
        def backward(dy):
            dx = dy * 1e9 * np.cos(1e9 * x)
            return dx

        return np.sin(1e9 * np.abs(x)), backward

    report = gradcheck.steps(wavy, 1 + normal(3) ** 2)
    assert report.first_wrong is None


SHAPES = """
def affine(x, w, b):
    return x @ w + b, (x, w)

def without_transpose(dout, cache):
    x, w = cache
    dx = dout @ w
    return dx, x.T @ dout, dout.sum(axis=0)

def without_sum(dout, cache):
    x, w = cache
    db = np.zeros(w.shape[1])
    db += dout
    return dout @ w.T, x.T @ dout, db

def without_either(dout, cache):
    x, w = cache
    dx = dout @ w
    return dx, x.T @ dout, dout.sum(axis=0) * 2
"""


@pytest.mark.parametrize(
    "name, number, line, shapes",
    [
        ("without_transpose", 7, "dx = dout @ w", "dout has shape (4, 2), w has shape (3, 2); w is not transposed"),
        ("without_sum", 13, "db += dout", "db has shape (2,), dout has shape (4, 2); the sum over axis 0 is missing"),
        ("without_either", 18, "dx = dout @ w", "dout has shape (4, 2), w has shape (3, 2)"),
    ],
)
def test_an_error_of_shapes_comes_with_its_line_and_with_the_mistake_that_explains_it(name, number, line, shapes):
    scope = compiled(SHAPES)
    call = from_pair(scope["affine"], scope[name]), normal(4, 3), normal(3, 2), normal(2)
    with pytest.raises(gradcheck.GradientError) as raised:
        gradcheck.check(*call)
    assert str(raised.value) == f"affine: backward raises ValueError in line {number}, `{line}`: {shapes}"
    row = gradcheck.steps(*call).first_wrong
    assert (row.name, row.line, row.sentence) == (line[:2], number, f"it raises ValueError: {shapes}")


# No other side effects


def test_functions_arguments_and_parameters_are_afterwards_what_they_were():
    module, x = minitransformer.FeedForward(6, 7), normal(2, 5, 6)
    code, scope = type(module).forward.__code__, set(type(module).forward.__globals__)
    data = module.up.weight.data
    before = data.copy(), x.copy()
    first, again = gradcheck.steps(module, x, seed=3), gradcheck.steps(module, x, seed=3)
    assert first == again and first.passed
    assert type(module).forward.__code__ is code and set(type(module).forward.__globals__) == scope
    assert module.up.weight.data is data and module.up.weight.grad is None
    np.testing.assert_array_equal(data, before[0])
    np.testing.assert_array_equal(x, before[1])


# Where else it is shown


def test_the_guide_shows_the_lines_of_attention_as_they_are_printed(plant):
    readme = (FOLDER.parent / "gradcheck/GUIDE.md").read_text("utf-8")
    (shown,) = re.findall(r"^```text\n(scaled_dot_product\.backward.*?)\n```$", readme, re.DOTALL | re.MULTILINE)
    module = plant("layers/attention.py", "dscores = weigh_backward(dweights)", "dscores = weights * dweights")
    assert str(steps_of_call(call_of(module, "attention", np.random.default_rng(0)))) == shown


def squared(x):
    def backward(dy):
        dx = x * dy
        return dx

    return x * x, backward


def test_a_named_repair_is_shown_as_a_statement_for_programs():
    assert gradcheck.steps(squared, normal(4, 3)).first_wrong.repair == "dx = x * dy * 2"


def test_a_fault_of_the_look_hides_nothing_that_is_known_without(monkeypatch):
    def fail(*_, **__):
        raise AttributeError("no such thing")

    monkeypatch.setattr("gradcheck.lines.lines_beside", fail)
    with pytest.raises(gradcheck.GradientError) as caught:
        gradcheck.check(squared, normal(4, 3))
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("squared: dx: 12 of 12 entries disagree")
    assert last == "  (the lines of backward could not be examined: AttributeError: no such thing)"


def test_the_command_prints_a_table_for_each_case(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = """
import numpy as np
from gradcheck import Call, Case

def square(x, *, factor=2):
    def backward(dy):
        dx = factor * x * dy  # (2)
        return dx

    return x * x, backward

CASES = [
    Case("right", lambda rng: Call(square, rng.normal(size=3))),
    Case("wrong", lambda rng: Call(square, rng.normal(size=3), factor=3)),
    Case("lambda", lambda rng: Call(lambda x: (2 * x, np.negative), rng.normal(size=3))),
]
"""
    (tmp_path / "mine_by_line.py").write_text(source, "utf-8")
    assert main(["steps", "mine_by_line.py"]) == 1
    out = capsys.readouterr().out
    assert "right\nsquare.backward: 1 of 1 gradients right\n   (2) dx  right\n" in out
    assert "wrong\nsquare.backward: 0 of 1 gradients right\n   (2) dx  WRONG: " in out
    assert (
        "lambda: not examined: ValueError: <lambda>: no function `backward` is defined within its forward pass" in out
    )
    assert out.endswith("2 gradients in 2 functions: 1 function with a wrong gradient, 1 function not examined\n")
    assert main(["steps", "mine_by_line.py:right"]) == 0
    assert main(["steps", "mine_by_line.py", "-k", "LAMB"]) == 2
    capsys.readouterr()
    assert main(["steps", "mine_by_line.py:wronk"]) == 2
    assert capsys.readouterr().err == "gradcheck steps: mine_by_line.py has no case 'wronk'; the nearest is 'wrong'\n"
