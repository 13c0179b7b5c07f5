"""The one page computes the same as the package, and the comment of each line is true."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import rngs

from minitransformer import AdamW, Config, Transformer, one_page

SOURCE = Path(one_page.__file__).read_text("utf-8")
LINE = re.compile(r"^ +([\w, ]+) = .*?  # (?: ?(\d+)|← ([\d, ]+))  (\(.*)$", re.MULTILINE)


def drawn(rng, B=2, T=5, C=12, F=7, V=11, H=3):
    """Return the package's model of one block in float64 with random weights, ids and targets."""
    options = {"n_layers": 1, "bias": False, "feed_forward": "gelu_tanh", "dtype": "float64"}
    model = Transformer(Config(vocab_size=V, context=T, d_model=C, n_heads=H, d_ff=F, **options))
    for parameter in model.parameters():
        parameter.data = rng.normal(size=parameter.data.shape)
    return model, rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))


def weights_of(model):
    return [parameter.data for parameter in model.parameters()]


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@given(rngs, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(2, 4), st.integers(1, 9))
def test_logits_loss_and_every_gradient_are_those_of_the_package(rng, B, T, H, D, F):
    C = H * D + H  # at least 3: of two features, layer norm makes ±1, and all of dx cancels
    model, ids, targets = drawn(rng, B, T, C, F, 11, H)
    loss, logits, backward = one_page.gpt(*weights_of(model), ids=ids, targets=targets, H=H)
    expected, model_backward = model.loss(ids, targets)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert_equal(logits.reshape(B, T, 11), model.predict(ids))
    model_backward(-0.7)
    sizes = [np.abs(parameter.grad).max() for parameter in model.parameters()]
    for gradient, parameter, size in zip(backward(-0.7), model.parameters(), sizes, strict=True):
        # Where a softmax is saturated, terms as large as other gradients cancel in those of queries and keys: the
        # rest, about 1e-6, has their rounding, some ten ε.
        assert np.abs(gradient - parameter.grad).max() <= 1e-12 * max(size, 2e-3 * max(sizes))


def test_ten_steps_of_adamw_are_those_of_the_package():
    model, ids, targets = drawn(np.random.default_rng(0))
    groups = [
        {"params": [p for p in model.parameters() if p.data.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.data.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=2e-3, betas=(0.9, 0.99))
    weights = [w.copy() for w in weights_of(model)]
    m = v = [np.zeros_like(w) for w in weights]
    for t in range(1, 11):
        model.loss(ids, targets)[1]()
        optimizer.step()
        optimizer.zero_grad()
        gradients = one_page.gpt(*weights, ids=ids, targets=targets, H=3)[2]()
        moved = [one_page.adamw(*state, t=t) for state in zip(weights, gradients, m, v, strict=True)]
        weights, m, v = map(list, zip(*moved, strict=True))
    for found, expected in zip(weights, weights_of(model), strict=True):
        assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()


def locals_at_the_end(call):
    """Return {function: names of its results} for every function that runs within `call`."""
    found = {}

    def record(frame, event, _):
        if event == "return":
            found[frame.f_code.co_name] = dict(frame.f_locals)

    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def test_every_line_says_the_shape_of_its_result():
    sizes = {"B": 2, "T": 5, "C": 12, "F": 7, "V": 11, "H": 3, "N": 10, "D": 4}
    model, ids, targets = drawn(np.random.default_rng(0))

    def step():
        one_page.gpt(*weights_of(model), ids=ids, targets=targets, H=3)[2]()

    held = locals_at_the_end(step)
    lines = LINE.findall(SOURCE)
    assert len(lines) > 60
    for names, number, _, shapes in lines:
        local = held["gpt" if number else "backward"]
        for name in names.split(", "):
            axes = re.findall(r"\w+", shapes.partition(")")[0])
            expected = tuple(1 if axis == "1" else sizes[axis] for axis in axes)
            assert np.shape(local[name]) == expected, f"{name} {shapes}"


def test_lines_are_numbered_and_every_line_is_mirrored_but_that_of_the_one_hot_rows():
    lines = LINE.findall(SOURCE)
    numbers = [int(number) for _, number, _, _ in lines if number]
    mirrored = [int(n) for _, _, echoes, _ in lines if echoes for n in echoes.split(", ")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(mirrored) == set(numbers) - {1}
    body = SOURCE.partition("# fmt: off")[2].partition("# fmt: on")[0]
    code = re.sub(r'""".*?"""', "", body, flags=re.DOTALL)
    unnumbered = [line.strip() for line in code.splitlines() if " = " in line and not LINE.match(line)]
    assert [line.partition(" = ")[0] for line in unnumbered] == ["(B, T), (V, C), N, s", "one"]


def test_it_trains_and_writes_and_says_what_it_is_asked():
    command = [sys.executable, "-m", "minitransformer.one_page"]
    first, again = (
        subprocess.run([*command, "--steps", "2", "--seed", "3"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == again
    assert re.match(r"step 1 of 2: loss 4\.\d{3}\nstep 2 of 2: loss 4\.\d{3}\n", first)
    assert len(first) > 400
    refused = subprocess.run([*command, "--steps", "-1"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.endswith("error: --steps and --seed must be at least 0, not -1 and 0\n")
