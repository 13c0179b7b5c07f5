"""An independent program repeats the computation of a certificate, and notices a mistake of the first one."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import erf

import gradcheck
from gradcheck.__main__ import main
from gradcheck.certify import arrays, certify_call, recheck, relations, scalar
from gradcheck.identities import ROOMS
from minitransformer import attention, gelu, layer_norm, plain
from minitransformer.cases import CASES

x = np.random.default_rng(2).uniform(0.3, 0.9, size=(2, 3))
PROGRAM = Path(recheck.__file__)


def by_rule(f, rule):
    return lambda x: (f(x), lambda dy: rule(dy, x))


FUNCTIONS = {
    "layer_norm": (layer_norm, x, x[0] + 1, x[1]),
    "attention": (attention, x[None] - 0.5, x[None] * 2, x[None]),
    "gelu": (gelu, x),
    "erf": (by_rule(erf, lambda dy, x: dy * 2 / np.sqrt(np.pi) * np.exp(-x * x)), x),
    "log": (by_rule(lambda x: np.log(x**3), lambda dy, x: 3 * dy / x), x),
    "log of a sum": (by_rule(lambda x: np.log(1 + np.exp(x)), lambda dy, x: dy / (1 + np.exp(-x))), x),
    "sine": (by_rule(lambda x: np.sin(2 * x), lambda dy, x: 2 * dy * (1 - 2 * np.sin(x) ** 2)), x),
    "arcs": (by_rule(np.arctan, lambda dy, x: dy / (1 + x * x)), x),
}


@cache
def trace_of(name):
    function, *inputs = FUNCTIONS[name]
    with TemporaryDirectory() as folder:
        assert gradcheck.certify(function, *inputs, seed=3, trace=Path(folder, "trace.json"))
        return Path(folder, "trace.json").read_text("utf-8")


def recorded(name):
    return json.loads(trace_of(name))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_computation_of_a_certificate_is_repeated(name):
    content = recorded(name)
    assert recheck.Check(content).run() == (len(content["rows"]), 1)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("entry", [entry for room in ROOMS.values() for entry in room], ids=lambda entry: entry.name)
def test_the_computation_of_an_identity_is_repeated(entry, tmp_path):
    assert gradcheck.same(entry.left, entry.right, *entry.inputs(), trace=tmp_path / "trace.json")
    assert recheck.main([str(tmp_path / "trace.json")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_gradient_of_the_package_is_an_identity_and_its_computation_is_repeated(case, tmp_path):
    with plain(not case.name.startswith("fast.")):
        certificate = certify_call(case.call(np.random.default_rng(0)), trace=tmp_path / "trace.json")
    assert certificate, certificate
    assert certificate.exponent <= -60
    assert recheck.main([str(tmp_path / "trace.json")]) == 0


@settings(max_examples=40)
@given(name=st.sampled_from(["layer_norm", "gelu", "log", "log of a sum", "sine"]), data=st.data())
def test_a_changed_number_or_operand_is_noticed(name, data):
    content = recorded(name)
    used = [i for i, row in enumerate(content["rows"]) if row[0] in ("add", "multiply", "exp", "log", "sin", "slopes")]
    i = data.draw(st.sampled_from(used))
    row = content["rows"][i]
    if row[0] == "slopes":
        other = data.draw(st.integers(0, i - 1))
        before = row[2][0][0]
        row[2][0][0] = other
        check = recheck.Check(content)
        if other == before or content["rows"][other][-1] == content["rows"][before][-1]:
            return
    else:
        row[-1] = hex(int(row[-1], 16) + 1)
        check = recheck.Check(content)
    with pytest.raises(recheck.Wrong):
        check.run()


@pytest.mark.parametrize("prime", [15, 2**61 - 3])
def test_a_modulus_that_is_not_prime_is_noticed(prime):
    content = recorded("log")
    with pytest.raises(recheck.Wrong, match="not a prime"):
        recheck.Check({**content, "prime": hex(prime)}).run()


def test_a_wrong_derivative_in_the_first_program_is_noticed_by_the_second(tmp_path, monkeypatch):
    """With log′ = log in place of 1 / x, both sides of a wrong gradient would agree."""
    wrong_log = scalar.differentiable(lambda y, a: [y])(lambda a: scalar.run.log(a))
    monkeypatch.setitem(arrays.FUNCTIONS, "log", wrong_log)
    assert gradcheck.certify(by_rule(np.log, lambda dy, x: dy * np.log(x)), x, trace=tmp_path / "trace.json")
    with pytest.raises(recheck.Wrong, match="the slope of log is wrong"):
        recheck.Check(json.loads((tmp_path / "trace.json").read_text("utf-8"))).run()


def test_a_wrong_relation_in_the_first_program_is_noticed_by_the_second(tmp_path, monkeypatch):
    """If exp forgot a term of a sum wherever it occurs, the two sides would agree in the field."""
    exponential = relations.Run.exponential
    monkeypatch.setattr(relations.Run, "exponential", lambda self, *inputs: exponential(self, *inputs)[:1])

    def f(x):
        y = np.exp(x[:1] + x[1:])
        return y, lambda dy: np.concatenate([dy * y, dy * y])

    assert gradcheck.certify(f, x, trace=tmp_path / "trace.json")
    with pytest.raises(recheck.Wrong, match="the factors are not those of the exponential"):
        recheck.Check(json.loads((tmp_path / "trace.json").read_text("utf-8"))).run()


def test_the_second_program_needs_only_python_and_says_what_it_repeated(tmp_path):
    (tmp_path / "trace.json").write_text(trace_of("gelu"), "utf-8")
    command = [sys.executable, "-I", "-S", str(PROGRAM), "trace.json", "missing.json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    right, wrong = ran.stdout.splitlines()
    assert right.startswith("trace.json: ") and right.endswith(" operations repeated, 1 pairs equal")
    assert wrong.startswith("missing.json: WRONG: ") and ran.returncode == 1
    assert "gradcheck" not in PROGRAM.read_text("utf-8").split('"""')[2]


def test_the_command_writes_the_computation_of_each_certificate(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from gradcheck import Call, Case\n"
        "def f(x):\n    return x * x, lambda dy: 2 * dy * x\n"
        "CASES = [Case('square', lambda rng: Call(f, rng.normal(size=3)))]\n"
    )
    assert main(["certify", str(tmp_path / "mine.py"), "--traces", str(tmp_path / "traces")]) == 0
    assert recheck.main([str(tmp_path / "traces" / "square.json")]) == 0
