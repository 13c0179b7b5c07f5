"""The audit: mutants that a good check kills and a weak one does not, and every kind of mistake that it must make."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import minitransformer
from gradcheck.__main__ import main
from gradcheck.audit import mutate
from gradcheck.audit.reporting import with_progress, write_json
from gradcheck.audit.trials import SURVIVING, Outcome
from gradcheck.mistakes import KINDS, ROWS

ROOT = Path(__file__).parents[2]

IMPORTS = """
import numpy as np
from gradcheck import Call, Case
"""
NORM = """

def scale(x, gamma):
    x_hat = x / 2
    y = gamma * x_hat

    def backward(dy):
        dgamma = (dy * x_hat).sum(axis=0)
        dx_hat = dy * gamma
        return dx_hat / 2, dgamma

    return y, backward
"""
GOOD = """
CASES = [Case("scale", lambda rng: Call(scale, rng.normal(size=(4, 3)), rng.normal(size=3)))]
"""
GAMMA_OF_ONE = """
CASES = [Case("scale, no gain", lambda rng: Call(scale, rng.normal(size=(4, 3)), np.ones(3)))]
"""

EQUIVALENT = """

def product(x, w):
    c = 3.0

    def backward(dy):
        one = 1.0
        return (dy + 0) * one * w, x * dy * (c / 3)

    return x * w, backward

CASES = [Case("product", lambda rng: Call(product, rng.normal(size=(2, 3)), rng.normal(size=(2, 3))))]
"""

HANGS = """

def halved(x):
    def backward(dy):
        n = 1
        while n < 2:
            n += 1
        return dy / n

    return x / 2, backward

CASES = [Case("halved", lambda rng: Call(halved, rng.normal(size=3)))]
"""

MADE_BY_ANOTHER = """

def times(c):
    def function(x):
        def backward(dy):
            return dy * c

        return x * c, backward

    return function

triple = times(3.0)

class Layer:
    def __call__(self, x):
        def backward(dy):
            return dy * 2

        return x * 2, backward

CASES = [
    Case("triple", lambda rng: Call(triple, rng.normal(size=3))),
    Case("Layer", lambda rng: Call(Layer(), rng.normal(size=3))),
]
"""

BRANCH_NOT_RUN = """

def scaled(x, *, by=None):
    def backward(dy):
        if by is not None:
            return dy * by
        return dy * 2

    return x * (2 if by is None else by), backward

CASES = [Case("scaled", lambda rng: Call(scaled, rng.normal(size=3)))]
"""

WITH_ONES = """
import numpy as np
from mine import scale

x, gamma = np.arange(6.0).reshape(2, 3), np.ones(3)
y, backward = scale(x, gamma)
dx, dgamma = backward(np.ones_like(y))
assert dx.shape == x.shape
assert np.allclose(dgamma, (x / 2).sum(axis=0))
"""
WITH_RANDOM_NUMBERS = """
import gradcheck
import numpy as np
from mine import scale

rng = np.random.default_rng(0)
gradcheck.check(scale, rng.normal(size=(4, 3)), rng.normal(size=3))
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files into the current folder, and forget the modules imported from there afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write_file(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((IMPORTS if "CASES" in text else "") + textwrap.dedent(text), "utf-8")
        return path

    yield write_file
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def audit(capfd, *arguments):
    """Run an audit. Returns (exit status, stdout, stderr)."""
    status = main(["audit", *arguments])
    out, err = capfd.readouterr()
    return status, out, err


def results(tmp_path, *arguments):
    """Run an audit. Return its JSON results without the parts that differ between runs."""
    file = tmp_path / "results.json"
    main(["audit", *arguments, "--json", str(file)])
    return json.loads(file.read_text("utf-8"))


def test_the_json_lists_every_mutant_with_its_place_edit_and_outcome(write, tmp_path):
    path = write(
        "import numpy as np\ndef f(x):\n    def backward(dy):\n        return x * dy\n    return x, backward\n"
    )
    mutants, statuses = mutate(path), itertools.cycle(("killed", SURVIVING))
    tried = [(mutant, Outcome(status, message="ä")) for mutant, status in zip(mutants, statuses, strict=False)]
    write_json(tmp_path / "out.json", "mine", "pytest -x", tried, possible=50)
    data = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (data["target"], data["command"], data["mutants"]) == ("mine", "pytest -x", len(tried))
    assert data["possible"] == 50
    assert data["killed"] + data["surviving"] == len(tried) >= 2 and data["equivalent"] == 0
    for result, (mutant, outcome) in zip(data["results"], tried, strict=True):
        assert (result["line"], result["function"], result["kind"]) == (4, "f.<locals>.backward", mutant.kind)
        assert result["removed"] == ["return x * dy"] != result["added"]
        assert (result["status"], result["message"]) == (outcome.status, "ä")


def made_from(write, source):
    """Return {(kind, removed, added)} of all mutants of a function body, which may use a, b, x and dy."""
    body = textwrap.indent(textwrap.dedent(source).strip(), "        ")
    path = write(f"import numpy as np\ndef f(a, b, x):\n    def backward(dy):\n{body}\n    return x, backward\n")
    made = set()
    for mutant in mutate(path):
        compile(mutant.mutated_source, "mutant", "exec")
        removed, added = mutant.difference()
        made.add((mutant.kind, "\n".join(removed), "\n".join(added)))
    return made


EXAMPLES = [
    ("term dropped", "return a + dy", "return a"),
    ("term dropped", "return a + b * dy", "return b * dy"),
    ("term dropped", "return a - dy * b", "return -(dy * b)"),
    ("term dropped", "dy -= a\nreturn dy", "pass"),
    ("factor dropped", "return a * dy", "return dy"),
    ("division dropped", "return dy / a", "return dy"),
    ("factor dropped", "dy *= a\nreturn dy", "pass"),
    ("sign flipped", "return -dy * a", "return dy * a"),
    ("sign flipped", "return dy * a", "return -(dy * a)"),
    ("sum and difference exchanged", "dy += a\nreturn dy", "dy -= a"),
    ("operator exchanged", "return a - b * dy", "return a - (b + dy)"),
    ("sum and difference exchanged", "return (a + b) * dy", "return (a - b) * dy"),
    ("product and quotient exchanged", "return a * dy", "return a / dy"),
    ("product and quotient exchanged", "return a / dy", "return a * dy"),
    ("difference reversed", "return a - dy", "return dy - a"),
    ("quotient inverted", "return dy / a", "return a / dy"),
    ("matrix dropped", "return dy @ a", "return dy"),
    ("operands exchanged", "return a @ dy", "return dy @ a"),
    ("operands exchanged", "return np.dot(a, dy)", "return np.dot(dy, a)"),
    ("operands exchanged", "return a.dot(dy)", "return dy.dot(a)"),
    ("sum and mean exchanged", "return dy.sum(axis=0)", "return dy.mean(axis=0)"),
    ("sum and mean exchanged", "return np.mean(dy, axis=0)", "return np.sum(dy, axis=0)"),
    ("sum and mean exchanged", "return row_sum(dy)", "return row_sum(dy) / len(dy)"),
    ("axis changed", "return dy.sum(axis=-1)", "return dy.sum(axis=0)"),
    ("axis changed", "return dy.sum(axis=-1)", "return dy.sum()"),
    ("axis changed", "return dy.sum(axis=(0, 1))", "return dy.sum(axis=1)"),
    ("keepdims lost", "return dy.sum(axis=1, keepdims=True)", "return dy.sum(axis=1)"),
    ("transpose lost", "return a.T @ dy", "return a @ dy"),
    ("transpose lost", "return a.swapaxes(-1, -2) @ dy", "return a @ dy"),
    ("transpose lost", "return np.transpose(a, (1, 0)) @ dy", "return a @ dy"),
    ("transpose added", "return dy @ a", "return dy @ a.swapaxes(-1, -2)"),
    ("transpose added", "return dy @ a", "return dy.swapaxes(-1, -2) @ a"),
    ("transpose added", "return dy @ a", "return (dy @ a).swapaxes(-1, -2)"),
    ("transpose added", "return np.einsum('ij,jk->ik', dy, a)", "return np.einsum('ij,kj->ik', dy, a)"),
    ("name replaced", "return dy * a", "return dy * b"),
    ("name replaced", "da = dy * a\ndb = dy * b\nreturn da, db", "return da, da"),
    ("constant changed", "return 2 * dy", "return 3 * dy"),
    ("constant changed", "return dy[-1]", "return dy[-2]"),
    ("constant changed", "return 0.5 * dy", "return 1.0 * dy"),
    ("gradient replaced by zeros", "return dy * a, dy * b", "return dy * a, 0 * (dy * b)"),
    ("gradient replaced by dy", "return a @ b", "return dy"),
    ("dy ignored", "return dy * a", "return (0 * dy + 1) * a"),
    ("gradients exchanged", "return dy * a, dy * b", "return (dy * b, dy * a)"),
    ("gradients exchanged", "da, db = x(dy)\nreturn da, db", "db, da = x(dy)"),
    ("mask forgotten", "return np.where(x > 0, dy, 0)", "return dy"),
    ("index dropped", "return dy[x]", "return dy"),
    ("mask forgotten", "np.copyto(a, 0, where=x)\nreturn a", "np.copyto(a, 0)"),
    ("mask forgotten", "return dy * ~x", "return dy * x"),
    ("factor dropped", "return dy * x", "return dy"),
    ("condition changed", "return np.where(x > 0, dy, 0)", "return np.where(x < 0, dy, 0)"),
    ("condition changed", "if a is None:\n    return b\nreturn dy", "if False:"),
    ("condition changed", "return dy * (a if x else b)", "return dy * b"),
    ("accumulation lost", "dx = a\ndx += dy\nreturn dx", "dx = dy"),
    ("accumulation lost", "a[x] += dy\nreturn a", "a[x] = dy"),
    ("accumulation lost", "np.add.at(a, x, dy)\nreturn a", "a[x] += dy"),
    ("statement dropped", "a[x] = 0\nreturn a * dy", "pass"),
    ("statement dropped", "dy = dy * a\nreturn dy", "pass"),
    ("statement dropped", "np.add.at(a, x, dy)\nreturn a", "pass"),
    ("backward call dropped", "return norm_backward(b.backward(dy))", "return b.backward(dy)"),
    ("backward call dropped", "return norm_backward(b.backward(dy))", "return norm_backward(dy)"),
    ("call dropped", "return np.exp(x) * dy", "return x * dy"),
    ("call dropped", "return dy.reshape(a.shape)", "return dy"),
    ("power changed", "return dy**2", "return dy"),
    ("order reversed", "for f in reversed(a):\n    dy = f(dy)\nreturn dy", "for f in a:"),
]


@pytest.mark.parametrize("kind, source, added", EXAMPLES, ids=[f"{kind}: {added}" for kind, _, added in EXAMPLES])
def test_each_kind_of_mistake_is_made(kind, source, added, write):
    made = made_from(write, source)
    assert (kind, added) in {(k, new) for k, _, new in made}, "\n".join(map(str, sorted(made)))


def test_every_kind_of_mistake_has_a_sentence_a_question_and_an_example():
    of_repairs = {  # kinds that the audit does not make
        *("brackets misplaced", "name overwritten", "range changed", "term added", "factor added", "sum dropped"),
        *("slope replaced", "gradient replaced", "names exchanged", "call added", "calls added", "index shifted"),
    }
    assert {row.kind for row in ROWS} == {kind for kind, *_ in EXAMPLES} | of_repairs
    assert all(sentence and "?" in question for sentence, question in KINDS.values())


def test_two_ways_to_the_same_mistake_count_once(write):
    added = [mutant.mutated_source for mutant in mutate(write("def backward(dy):\n    return dy + dy\n"))]
    assert len(added) == len(set(added))


def test_messages_docstrings_and_signatures_are_left_alone(write):
    made = made_from(write, '"""Return 2 * dy."""\nif a:\n    raise ValueError(f"{2 * a} is too much")\nreturn dy')
    whole = 'if a:\n    raise ValueError(f"{2 * a} is too much")'
    assert {removed for _, removed, _ in made} == {whole, "if a:", "return dy"}


def test_a_docstring_may_have_lines_at_the_margin(write):
    text = (
        'def f(x):\n    def backward(dy):\n        """Double\nit."""\n        return 2 * dy\n\n    return x, backward\n'
    )
    assert ["return dy"] in [mutant.difference()[1] for mutant in mutate(write(text))]


def test_an_edit_leaves_comments_and_letters_of_several_bytes_as_they_are(write):
    path = write("def backward(dy, β=1):\n    δ = '→'; dx = β * dy  # (7) β · dy\n    return dx\n")
    assert ["δ = '→'; dx = dy  # (7) β · dy"] in [mutant.difference()[1] for mutant in mutate(path)]


# The verdicts. TESTED lists (source, options, exit status, texts in the report).

DROPPED, EVERY_CHECK = ("-k", "factor dropped"), "  every check passes, although the gradients differ in"
ELSEWHERE = "for inputs other than those that the case draws"
LOOSE = NORM.replace("dx_hat / 2, dgamma", "dx_hat / 2 + 1e-10 * dy, dgamma") + GOOD  # below the check's tolerance


TESTED = {
    "random gains kill every mutant": (
        NORM + GOOD,
        (),
        0,
        (
            r"mine\.py +\d+ +\d+ +\d+ +0 +100\.0 %",
            r"Killed by a wrong gradient: \d+\.",
            r"mutants of 1 function, judged by the cases of mine: \d+ killed, \d+ equivalent \([1-9]\d* certified\), "
            r"0 surviving; score 100\.0 %, in \d+ s \(\d+ s of CPU\)",
        ),
    ),
    "a gain of one leaves survivors": (
        NORM + GAMMA_OF_ONE,
        DROPPED,
        1,
        (
            r"mine\.py:12: scale\.<locals>\.backward: factor dropped\n  - dx_hat = dy \* gamma\n  \+ dx_hat = dy\n"
            rf"{EVERY_CHECK} 'scale, no gain' {ELSEWHERE}\n",
            r"mine\.py +\d+ +\d+ +\d+ +1 +\d\d\.\d %",
        ),
    ),
    "a loose check": (
        LOOSE,
        ("-k", "constant changed"),
        1,
        (rf"\+ return dx_hat / 2 \+ 0\.0 \* dy, dgamma\n{EVERY_CHECK}",),
    ),
    "a branch that no case runs": (
        BRANCH_NOT_RUN,
        (),
        1,
        (r"  - return dy \* by\n  \+ return dy\n  no case runs this statement\n",),
    ),
    "functions made by functions, and methods": (MADE_BY_ANOTHER, (), 0, ("mutants of 2 functions",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("source, options, status, texts", TESTED.values(), ids=TESTED)
def test_a_check_is_scored_by_the_mutants_that_it_notices(source, options, status, texts, write, capfd):
    write(source)
    found, out, _ = audit(capfd, "mine", *options)
    assert found == status, out
    assert all(re.search(text, out) for text in texts), out


@pytest.mark.slow
def test_mutants_that_change_no_gradient_are_equivalent(write, tmp_path):
    write(EQUIVALENT)
    equivalent = [r["added"] for r in results(tmp_path, "mine")["results"] if r["status"] == "equivalent"]
    assert ["return dy * one * w, x * dy * (c / 3)"] in equivalent
    assert ["return (dy + 0) * w, x * dy * (c / 3)"] in equivalent
    assert ["return (dy + 0) * one * w, x * dy"] in equivalent


@pytest.mark.slow
def test_a_mutant_that_never_ends_is_killed_by_the_time_limit(write, tmp_path, monkeypatch):
    monkeypatch.setattr("gradcheck.audit.trials.LEAST", 0.5)
    write(HANGS)
    found = results(tmp_path, "mine", "-k", "term dropped")
    assert [(result["added"], result["by"]) for result in found["results"]] == [(["pass"], "the time limit")]
    assert found["killed"] == 1


def test_a_mutant_that_needs_a_variable_that_is_not_captured_is_left_out(write, capfd):
    write(MADE_BY_ANOTHER.replace("def times(c):\n", "def times(c):\n    n = 2 * c\n"))
    status, out, err = audit(capfd, "mine", "-k", "name replaced")
    assert status == 0 and "0 mutants" in out
    assert "note: 1 mutant left out, because each needs a variable that its function does not capture\n" in err


def test_a_mutant_whose_effects_remain_ends_the_audit(write, capfd):
    write("""

HELD = [0.0, 2.0]

def twice(x):
    def backward(dy):
        HELD[0] = 5.0
        return HELD[1] * dy

    return 2 * x, backward

CASES = [Case("twice", lambda rng: Call(twice, rng.normal(size=3)))]
""")
    status, _, err = audit(capfd, "mine", "-k", "constant changed")
    assert status == 2 and re.search(r"mine\.py:\d+: a mutant changes values in memory that remain changed", err)


@pytest.mark.slow
def test_survivors_and_kills_are_the_same_however_many_run_at_a_time(write, tmp_path):
    write(NORM + GAMMA_OF_ONE)
    chosen = ("mine", "-k", "dropped")
    found = results(tmp_path, *chosen, "--jobs", "1")
    assert found == results(tmp_path, *chosen, "--jobs", "3")
    assert found["surviving"] and found["killed"]


def test_code_that_judges_itself_at_its_first_call_is_called_before_a_mutant_takes_its_place(write, tmp_path):
    write("""
def plain(x):
    def backward(dy):
        return 2 * x * dy

    return x * x, backward

def fast(x):
    def backward(dy):
        return (x + x) * dy

    return x * x, backward

judged = []

def square(x):
    if not judged:
        judged.append(fast(3.0)[1](5.0) == 30.0)
    return (fast if judged[0] else plain)(x)

CASES = [Case("square", lambda rng: Call(square, rng.normal(size=3)))]
""")
    found = results(tmp_path, "mine", "--jobs", "2")["results"]
    assert {one["status"] for one in found if one["function"].startswith("fast")} == {"killed"}


def test_an_audit_does_not_fork_the_program_in_which_jax_may_have_threads(write, capfd, monkeypatch):
    write(NORM + GOOD)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("the process of the audit is forked"))
    status, out, _ = audit(capfd, "mine", "--sample", "4", "--jobs", "2")
    assert status == 0 and "4 mutants" in out


def test_a_sample_is_the_same_each_time_and_another_for_another_seed(write, capfd, tmp_path):
    write(NORM + GOOD)
    listed = [audit(capfd, "mine", "--list", "--sample", "9", "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert listed[0] == listed[1] != listed[2]
    assert listed[0].endswith("9 mutants\n")
    whole = audit(capfd, "mine", "--list")[1]
    assert whole.endswith(f"\n{results(tmp_path, 'mine', '--sample', '1')['possible']} mutants\n")
    assert all(block in whole for block in re.split(r"^(?=mine\.py)", listed[0], flags=re.MULTILINE)[1:-1])


def test_a_backward_without_dy_that_sets_entries_is_mutated(write):
    path = write(
        "class Loss:\n    def backward(self):\n        d = self.y - 1\n        d[~self.mask] = 0\n        return d\n"
    )
    assert ["d[self.mask] = 0"] in [mutant.difference()[1] for mutant in mutate(path)]


def test_only_functions_that_a_case_runs_are_mutated(write, capfd):
    write(NORM + NORM.replace("def scale", "def other") + GOOD)
    _, listed, _ = audit(capfd, "mine", "--list")
    assert "scale.<locals>" in listed and "other.<locals>" not in listed


def test_every_mutant_of_the_textbook_is_valid_python():
    """An integer before an attribute, as in `0.sum()`, needs parentheses."""
    for file in Path(minitransformer.__file__).parent.glob("layers/*.py"):
        for mutant in mutate(file)[::5]:  # the search has parsed each function
            compile(mutant.mutated_source, file, "exec")


def test_what_is_below_a_mutant_stays_at_its_line(write):
    path = write(
        "def f(a, b):\n    def backward(dy):\n        c = a * (\n            b\n            + dy\n        )\n"
        "        if (\n            a\n            or b\n        ):\n            return c\n"
        "        return (\n            c)\n\n    def last():\n        return 1\n\n    return backward, last\n"
    )
    source = path.read_text()
    made = mutate(path)
    assert any(mutant.mutated_source.count("\n\n\n") for mutant in made)
    for mutant in made:
        below = mutant.mutated_source.splitlines()[mutant.lines[1] :]
        if mutant.kind != "statement dropped":
            assert below == source.splitlines()[mutant.lines[1] :], mutant.mutated_source
        assert mutant.mutated_source.splitlines()[14] == "    def last():"
        compile(mutant.mutated_source, "mutant", "exec")


# A test command


@pytest.mark.slow
def test_a_test_command_is_scored_by_the_mutants_that_it_notices(write, capfd):
    write(NORM + GOOD)
    write(WITH_ONES, "tests/ones.py")
    write(WITH_RANDOM_NUMBERS, "tests/random_numbers.py")
    before = Path("mine.py").read_text()
    status, out, _ = audit(capfd, "mine", *DROPPED, "--command", "python tests/ones.py")
    assert status == 1
    assert (
        "  - dx_hat = dy * gamma\n  + dx_hat = dy\n  the command passes, although the gradients differ in 'scale'\n"
    ) in out, out
    assert "Killed by the command: " in out
    status, out, _ = audit(capfd, "mine", *DROPPED, "--command", "python tests/random_numbers.py")
    assert status == 0, out
    assert Path("mine.py").read_text() == before


def test_a_test_command_needs_no_cases_and_then_nothing_is_equivalent(write, capfd):
    write("def f(x):\n    def backward(dy):\n        return 2 * dy * 1\n    return 2 * x, backward\n")
    write("from mine import f\nassert f(1.0)[1](3.0) == 6.0\n", "check.py")
    status, out, _ = audit(capfd, "mine", "--command", "python check.py", *DROPPED)
    assert status == 1
    unknown = "equivalent mutants are not recognized, because the module has no cases"
    assert f"  + return 2 * dy\n  the command passes; {unknown}\n" in out, out
    assert "1 equivalent" not in out


def test_a_project_that_cannot_be_copied_is_one_line(write, capfd, monkeypatch):
    def full(source, copy, **how):
        raise shutil.Error([(str(source), str(copy), f"[Errno 28] No space left on device: '{copy}'")] * 9)

    monkeypatch.setattr(shutil, "copytree", full)
    write(NORM + GOOD)
    status, _, err = audit(capfd, "mine", "--command", "python check.py", "--draws", "1")
    assert status == 2 and err.count("\n") == 1
    assert "gradcheck audit: cannot copy the project: [Errno 28] No space left on device: '" in err


MISUSE = [
    (["nowhere"], "nowhere"),
    (["mine", "-k", "no such"], "no mutant of mine has 'no such' in its file, function or kind"),
    (["mine", "--functions", "grad_*"], "mine: no function that a case runs is named 'grad_*'; name others"),
    (["mine", "--command", "python -c 'exit(3)'"], "the command fails without any mutant, with exit status 3"),
    (["mine", "--command", "python -c pass"], "the command passes although mine.py cannot be imported"),
    (["mine", "--command", "no-such-program"], "cannot run 'no-such-program': No such file or directory"),
    (["mine", "--command", ""], "the command is empty"),
    (["wrong"], "the check of 'scale' fails without any mutant (seed 0), so its failures prove nothing: scale: "),
    (["mine", "--json", "no/such.json"], "--json no/such.json: its folder does not exist"),
    (["affine", "--command", "true"], "affine: no function is named 'backward'"),
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments, message", MISUSE, ids=[message for _, message in MISUSE])
def test_a_target_that_cannot_be_audited_is_one_line(arguments, message, write, capfd):
    write(NORM + GOOD)
    write(NORM.replace("dx_hat / 2", "dx_hat / 3") + GOOD, "wrong.py")
    write("def affine_backward(dy):\n    return dy\n\ndef relu_backward(dy):\n    return dy\n", "affine.py")
    status, out, err = audit(capfd, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("gradcheck audit: ") and message in err
    assert "Traceback" not in err


# The output


def test_progress_tells_the_time_left(monkeypatch, capfd):
    monkeypatch.setattr("gradcheck.audit.reporting.EVERY", 0.0)
    assert with_progress(iter([Outcome(SURVIVING)]), 4) == [Outcome(SURVIVING)]
    assert re.fullmatch(r"trying mutants: 1 of 4, \d+:\d\d left\n", capfd.readouterr().err)


@pytest.mark.parametrize("of_mutants", [False, True], ids=["the first command", "the command of a mutant"])
def test_an_interrupt_ends_every_process_and_leaves_no_folder(of_mutants, write, tmp_path):
    original = write(NORM)
    copies, begun = tmp_path / "copies", tmp_path / "begun"
    copies.mkdir()
    write(f"""
import mine, time
from pathlib import Path
if not {of_mutants} or Path("mine.py").read_text() != Path(r"{original}").read_text():
    Path(r"{begun}").touch()
    time.sleep(60)
""", "slow.py")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gradcheck", "audit", "mine", "--command", "python slow.py", "--jobs", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(copies)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not begun.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("gradcheck: interrupted\n")
    assert "Traceback" not in err
    assert not list(copies.iterdir())
