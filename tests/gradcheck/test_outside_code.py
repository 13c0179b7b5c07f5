"""The wrong line of other people's code is found: one mistake at a time in backward passes of other styles."""

import importlib.util
import itertools
import random
from collections import Counter, defaultdict

import numpy as np
import outside_code
import pytest
from sampling import THOROUGH

import gradcheck
from gradcheck.audit.mutations import mutate

UNUSUAL = {"keepdims lost", "gradients exchanged", "gradient replaced by dy", "dy ignored", "statement dropped"}


def normal_numbers():
    """Return a function normal(*shape) with a fixed seed."""
    rng = np.random.default_rng(0)
    return lambda *shape: rng.standard_normal(shape)


def steps_of(module, name):
    function, inputs = module.CASES[name](normal_numbers())
    with np.errstate(all="ignore"):
        return gradcheck.steps(function, *inputs)


def loaded(source, path):
    """Return the module with this source text, which is written to a path."""
    path.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_wrong(module, name):
    """Return True if a check calls a gradient wrong, and False if none is wrong or if it cannot be checked."""
    function, inputs = module.CASES[name](normal_numbers())
    with np.errstate(all="ignore"):
        try:
            gradcheck.check(function, *inputs, explain=False)
        except gradcheck.GradientError as error:
            return bool(error.report.arguments)
        except Exception:  # the mistake makes backward raise
            return False
    return False


def mutants(name, code=outside_code):
    """Yield the mutants of a backward pass, one of each kind of mistake after the other."""
    by_kind, rng = defaultdict(list), random.Random(1)
    for mutant in mutate(code.__file__, (f"{name}_backward", f"{name}.<locals>.backward", f"{name}.backward")):
        if mutant.kind not in UNUSUAL and mutant.replacement != "pass":
            by_kind[mutant.kind].append(mutant)
    for found in by_kind.values():
        rng.shuffle(found)
    return (mutant for layer in itertools.zip_longest(*by_kind.values()) for mutant in layer if mutant is not None)


@pytest.fixture
def placed(tmp_path):
    """Count where the first wrong line of some mutants of a function is found: placed(name, most, code)."""

    def count(name, most, code=outside_code):
        found = Counter()
        for number, mutant in enumerate(mutants(name, code)):
            module = loaded(mutant.mutated_source, tmp_path / f"outside_{name}_{number}.py")
            if is_wrong(module, name):
                report = steps_of(module, name)
                assert not report.has_second_mistake
                found[place(report.first_wrong, mutant)] += 1
            if found.total() == most:
                return found
        return found

    return count


def place(row, mutant):
    """Return where a row is, seen from the line of a mutant: right, in a set of lines, elsewhere or nowhere."""
    if row is None:
        return "nowhere"
    first, last = mutant.lines
    if first <= row.line <= last:
        return "right"
    bound = mutant.mutated_source.splitlines()[first - 1].partition(" = ")[0].replace(",", " ").split()
    is_named = {*row.sentence.replace(",", " ").replace(")", " ").split()} & {*bound}
    return "in a set" if is_named and (" or " in row.sentence) else "elsewhere"


@pytest.mark.parametrize("name", outside_code.CASES)
def test_no_line_of_right_code_is_called_wrong(name):
    report = steps_of(outside_code, name)
    assert report.passed and report.first_wrong is None, report


def test_the_wrong_line_of_some_mutants_is_found(placed):
    assert placed("adam", 2)["right"] == 2


@pytest.mark.slow
def test_the_wrong_line_of_most_mutants_is_found_and_rarely_another_one(placed):
    most = 18 if THOROUGH else 4
    found = sum((placed(name, most) for name in outside_code.CASES), Counter())
    assert found.total() >= 0.8 * most * len(outside_code.CASES)
    assert found["right"] >= 0.8 * found.total(), found
    assert found["elsewhere"] <= 0.02 * found.total(), found


# Functions of PyTorch


@pytest.fixture
def functions(torch):
    return importlib.import_module("torch_functions")


def test_no_line_of_a_right_function_of_pytorch_is_called_wrong(functions):
    for name in functions.CASES:
        report = steps_of(functions, name)
        assert report.passed and report.first_wrong is None, report


def test_the_wrong_line_of_a_function_of_pytorch_is_found(functions, placed):
    assert placed("Swish", 4, functions)["right"] >= 3


@pytest.mark.slow
def test_the_wrong_lines_of_most_mutants_of_functions_of_pytorch_are_found(functions, placed):
    found = sum((placed(name, 10, functions) for name in functions.CASES), Counter())
    assert found["right"] >= 0.8 * found.total(), found
