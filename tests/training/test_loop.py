"""The training loop: the package has one, and it takes the steps that a plain loop takes."""

import ast
import inspect
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
LOOPS = ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp


def updates_weights(node) -> bool:
    """Return True for `optimizer.step(…)`, and for an assignment of weights from their gradients."""
    match node:
        case ast.Call(func=ast.Attribute(value=optimizer, attr="step")):
            return "optim" in ast.unparse(optimizer)
        case ast.Assign(targets=[ast.Attribute(attr="data")]) | ast.AugAssign(target=ast.Attribute(attr="data")):
            return ".grad" in ast.unparse(node.value)
    return False


def definitions(sources: dict[str, str]) -> dict:
    """Return {(file, name): function} for the functions and methods of `sources`, {file: text}."""
    return {
        (file, node.name): node
        for file, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def imported(sources: dict[str, str]) -> dict:
    """Return {(file, name): (file of the definition, name)} for the names that the files import from each other."""
    found = {}
    for file, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = node.module.removeprefix("minitransformer.").replace(".", "/")
                for alias in node.names:
                    origins = f"{module}.py", f"{module}/__init__.py"
                    origin = next((one for one in origins if one in sources), module)
                    found[file, alias.asname or alias.name] = origin, alias.name
    return found


def training_loops(sources: dict[str, str]) -> list[str]:
    """Return "file:function" for each function with a loop over training steps.

    A function that updates weights outside of a loop takes a step, and so does a function that calls such a function,
    by its name or as a method of `self`. A step in a loop is training. `sources` is {file: text}.
    """
    functions, imports = definitions(sources), imported(sources)
    steps: set = set()  # (file, name) of the functions that take a step

    def takes_step(file, node) -> bool:
        match node:
            case ast.Call(func=ast.Name(id=name)):
                place = file, name
                while place in imports and place not in functions:
                    place = imports[place]
                return place in steps
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) if (file, name) in functions:
                return (file, name) in steps
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):  # inherited
                return name in {step for _, step in steps}
        return updates_weights(node)

    def in_loops(function) -> set:
        return {node for loop in ast.walk(function) if isinstance(loop, LOOPS) for node in ast.walk(loop)}

    def taking_steps(nodes_of) -> set:
        return {
            (file, name)
            for (file, name), function in functions.items()
            if any(takes_step(file, node) for node in nodes_of(function))
        }

    while not (found := taking_steps(lambda function: set(ast.walk(function)) - in_loops(function))) <= steps:
        steps |= found
    return sorted(f"{file}:{name}" for file, name in taking_steps(in_loops))


def test_the_package_has_one_training_loop():
    files = {path.relative_to(SOURCES).as_posix(): path for path in SOURCES.rglob("*.py")}
    texts = {name: path.read_text("utf-8") for name, path in files.items() if not name.startswith(tuple(ALLOWED))}
    assert training_loops(texts) == ["training/loop.py:fit"]


@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(9):\n        loss, backward = model.loss(*batch)\n        backward()\n        optimizer.step()",
        "while True:\n        training_step(model, optimizer, [batch])",
        "losses = [training_step(model, optimizer, [batch])[0] for _ in range(9)]",
        "for _ in range(9):\n        self.advance()\n\ndef advance(self):\n    return training_step(model, adam, 0)",
        "for _ in range(9):\n        for p in model.parameters():\n            p.data = p.data - lr * p.grad",
    ],
)
def test_a_second_training_loop_in_any_form_is_found(body):
    step = inspect.getsource(inspect.getmodule(training_step))
    text = "from minitransformer.training.step import training_step\n\n"
    text += f"def train(self, model, optimizer, batch):\n    {body}\n"
    assert training_loops({"training/step.py": step, "mine.py": text}) == ["mine.py:train"]


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
