"""The training loop: the package has one, and it takes the steps that a plain loop takes."""

import ast
from pathlib import Path

import numpy as np
import pytest
from small_runs import assert_same_weights, small_corpus, small_lm

import minitransformer
from minitransformer import AdamW
from minitransformer.text import random_batch
from minitransformer.training import TrainingDiverged, fit, training_step

SOURCES = Path(minitransformer.__file__).parent
# Other loops over training steps, which do not train a model of ours.
ALLOWED = {
    "one_page.py": "the whole of the package on one page",
    "learn/lessons.py": "exercises in which the student writes a step",
    "bench": "it measures the time of a step, also of other frameworks",
}
STEPS = {"training_step", "descend"}  # the functions that update weights once


def is_step(node) -> bool:
    """Return True where weights are updated, and where a function that does so is called or imported."""
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)) if name in STEPS:
            return True
        case ast.Call(func=ast.Attribute(value=optimizer, attr="step")):
            return "optim" in ast.unparse(optimizer)
        case ast.Assign(targets=[ast.Attribute(attr="data")]) | ast.AugAssign(target=ast.Attribute(attr="data")):
            return ".grad" in ast.unparse(node.value)
        case ast.ImportFrom(names=names):
            return not STEPS.isdisjoint(alias.name for alias in names)
    return False


def steps_in(text: str) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if is_step(node)]


def test_only_the_training_loop_takes_steps():
    files = {path.relative_to(SOURCES).as_posix(): path for path in SOURCES.rglob("*.py")}
    texts = {name: path.read_text("utf-8") for name, path in files.items() if not name.startswith(tuple(ALLOWED))}
    found = {name: steps for name, text in texts.items() if (steps := steps_in(text))}
    assert found.pop("book/worked_example.py") == ["training_step(theta)"]  # its own, of a few numbers on a page
    assert found.keys() == {"training/__init__.py", "training/step.py", "training/loop.py"}
    calls = [step for steps in found.values() for step in steps if not step.startswith("from ")]
    assert sorted(calls) == [
        "descend(model, optimizer, losses(model, drawn, rng), clip=clip)",  # the loop
        "descend(model, optimizer, losses_of_batches(model, batches, rng), clip=clip)",  # training_step
        "optimizer.step(gradient_scale=scale)",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(9):\n    loss, backward = model.loss(*batch)\n    backward()\n    optimizer.step()",
        "while True:\n    training.training_step(model, optimizer, [batch])",
        "from minitransformer.training.step import training_step as step\nstep(model, adam, [batch])",
        "def advance(self):\n    return descend(model, adam, 0)",
        "for _ in range(9):\n    for p in model.parameters():\n        p.data = p.data - lr * p.grad",
    ],
)
def test_a_step_in_any_form_is_found(body):
    assert len(steps_in(body)) == 1


def small_batches(seed=0):
    ids, rng = small_corpus().train_ids, np.random.default_rng(seed)
    while True:
        yield [random_batch(ids, 3, 8, rng)]


def test_fit_takes_the_steps_of_a_plain_loop_and_reports_each():
    fitted, plain = small_lm(), small_lm()
    reported, expected = [], []
    optimizer, rng = AdamW(fitted.model.parameters()), np.random.default_rng(1)
    fit(fitted.model, small_batches(), optimizer, 5, lambda *step: reported.append(step), lr=lambda i: 0.1**i, rng=rng)
    optimizer, rng, batches = AdamW(plain.model.parameters()), np.random.default_rng(1), small_batches()
    for step in range(5):
        optimizer.param_groups[0]["lr"] = 0.1**step
        expected.append((step + 1, *training_step(plain.model, optimizer, next(batches), rng=rng)))
    assert reported == expected
    assert_same_weights(fitted, plain)


def test_fit_in_two_parts_equals_fit_in_one_and_ends_when_the_batches_do():
    whole, parts = small_lm(), small_lm()
    fit(whole.model, small_batches(), AdamW(whole.model.parameters()), 6, lr=lambda step: 0.01 * (6 - step))
    optimizer, batches, taken = AdamW(parts.model.parameters()), small_batches(), []
    fit(parts.model, batches, optimizer, 2, lr=lambda step: 0.01 * (6 - step))
    rest = (next(batches) for _ in range(4))
    fit(parts.model, rest, optimizer, 99, lambda step, *_: taken.append(step), first=2, lr=lambda s: 0.01 * (6 - s))
    assert taken == [3, 4, 5, 6]
    assert_same_weights(whole, parts)


def test_fit_draws_no_batch_that_it_does_not_use():
    batches, lm = small_batches(), small_lm()
    fit(lm.model, batches, AdamW(lm.model.parameters()), 3)
    others = small_batches()
    for _ in range(3):
        next(others)
    assert np.array_equal(next(batches)[0][0], next(others)[0][0])


def test_fit_names_the_step_that_diverged():
    lm = small_lm()
    lm.model.embedding.weight.data[:] = np.nan
    with pytest.raises(TrainingDiverged, match=r"^step 3: the loss is nan"):
        fit(lm.model, small_batches(), AdamW(lm.model.parameters()), 9, first=2)
