"""The types that `py.typed` promises: annotations throughout the public interface, which mypy finds consistent."""

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INTERFACES = ("minitransformer", "gradcheck", "gradcheck.adapters", "gradcheck.updates", "gradcheck.strategies")
OURS = ("minitransformer", "gradcheck")

NEEDS_MYPY = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: it is in the extra `dev`")


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Return a function that runs mypy and returns its output, or nothing if it reports no error."""
    cache = tmp_path_factory.mktemp("mypy")

    def run(*arguments):
        command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), "--no-error-summary", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.stdout + done.stderr

    return run


def unannotated(interface):
    """Yield each parameter or result of a public function or method that has no annotation."""
    for name in importlib.import_module(interface).__all__:
        value = getattr(importlib.import_module(interface), name)
        if inspect.isclass(value):
            for owner in value.__mro__:
                if owner.__module__.split(".")[0] in OURS:
                    for member, method in vars(owner).items():
                        if not member.startswith("_") or member in ("__init__", "__call__"):
                            yield from missing(f"{owner.__name__}.{member}", function_of(method))
        else:
            yield from missing(name, value)


def function_of(member):
    """Return the function behind a property or a class method."""
    return inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", member))


def missing(name, function):
    """Yield the parameters of a function that have no annotation, and `return` for its result."""
    if inspect.isfunction(function) and function.__module__.split(".")[0] in OURS:
        signature = inspect.signature(function)
        for parameter in list(signature.parameters.values()):
            if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls"):
                yield f"{name}: {parameter.name}"
        if signature.return_annotation is signature.empty and function.__name__ != "__init__":
            yield f"{name}: return"


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_parameter_and_result_of_the_interface_is_annotated(interface):
    assert sorted(set(unannotated(interface))) == []


def test_a_parameter_without_annotation_is_noticed():
    def partly(x: int, y, *, z: str = ""):
        return x

    partly.__module__ = "gradcheck"
    assert list(missing("partly", partly)) == ["partly: y", "partly: return"]


@pytest.mark.slow
@NEEDS_MYPY
def test_mypy_finds_no_mistake_in_either_package(mypy):
    assert mypy(*OURS) == ""


@pytest.mark.slow
@NEEDS_MYPY
def test_a_typed_client_passes_in_strict_mode_and_its_wrong_calls_are_rejected(mypy):
    # A comment `type: ignore[code]` without an error of that code is an error itself: so each wrong call is rejected.
    assert mypy("--strict", "tests/typed_client.py") == ""
    assert (ROOT / "tests/typed_client.py").read_text("utf-8").count("# type: ignore[") >= 20
