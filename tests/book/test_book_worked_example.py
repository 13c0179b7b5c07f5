"""The worked example: its numbers are those of the package's own model, loss, backward and optimizer."""

import re
from pathlib import Path

import numpy as np
import pytest

from minitransformer import AdamW, Config, Transformer, one_page
from minitransformer.book.worked_example import IDS, LR, NAMES, TARGETS, C, F, H, T, V, weights, worked, worked_page


@pytest.fixture
def model():
    config = Config(
        vocab_size=V, context=T, d_model=C, n_heads=H, d_ff=F, n_layers=1, bias=False, feed_forward="gelu_tanh",
        dtype="float64",
    )  # fmt: skip
    model = Transformer(config)
    for parameter, weight in zip(model.parameters(), weights(), strict=True):
        parameter.data = weight.copy()
    return model


def made_by(steps):
    return {name: array for step in steps for name, array in step.arrays.items()}


def test_forward_loss_and_gradients_are_those_of_the_model(model):
    forward, _, moved = worked(weights())
    loss, backward = model.loss(IDS, TARGETS)
    backward()
    made = made_by(forward)
    assert made["loss"] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(made["z"], model.predict(IDS)[0], rtol=0, atol=1e-12)
    for (_, _, gradient, _), parameter in zip(moved, model.parameters(), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad, rtol=0, atol=1e-12)


def test_the_step_is_the_first_of_adamw(model):
    model.loss(IDS, TARGETS)[1]()
    matrices, vectors = ([p for p in model.parameters() if (p.data.ndim > 1) == two] for two in (True, False))
    AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=LR, betas=(0.9, 0.99)
    ).step()
    for (_, _, _, new), parameter in zip(worked(weights())[2], model.parameters(), strict=True):
        np.testing.assert_allclose(new, parameter.data, rtol=0, atol=1e-9)


def test_every_line_of_the_one_page_is_worked_out():
    forward, backward, moved = worked(weights())
    assert [int(step.comment.partition("(")[0]) for step in forward] == list(range(1, 32))
    lines = Path(one_page.__file__).read_text("utf-8").count("# ←")
    assert len(backward) == lines and [name for name, *_ in moved] == NAMES


def tables(page):
    """Return {name: its numbers} of a page, and the numbers of lines without a name, by their code."""
    named = re.findall(r"<var>([^<]*)</var>(<table.*?</table>)", page)
    lines = re.findall(r'<code>(\w+) = [^<]*</code><div class="board"><span class="given">(<table.*?</table>)', page)
    return {name: numbers(table) for name, table in named + lines}


def numbers(table):
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [[float(c.replace("−", "-").replace("∞", "inf")) for c in re.findall("<td>(.*?)</td>", row)] for row in rows]


def test_the_page_has_the_numbers():
    page = "".join(worked_page())
    forward, backward, moved = worked(weights())
    expected = made_by(forward) | made_by(backward) | {name: weight for name, weight, _, _ in moved}
    expected |= {f"{name}′": new for name, _, _, new in moved}
    shown = tables(page)
    assert set(shown) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(np.ravel(shown[name]), np.ravel(array), rtol=0, atol=5.1e-4, err_msg=name)
