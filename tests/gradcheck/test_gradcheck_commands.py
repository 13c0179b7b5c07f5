"""Tables of cases, and the command `python -m gradcheck`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from verdicts import Scale

from gradcheck import Call, Case, GradientError, check_case, commands, load_cases
from gradcheck.__main__ import main

MINE = """
import numpy as np
from gradcheck import Call, Case

def product(x, w, *, wrong=False):
    def backward(dy):
        return dy * w, (2 if wrong else 1) * dy * x
    return x * w, backward

def draw(rng):
    return Call(product, rng.normal(size=(2, 3)), rng.normal(size=3) * np.ones((2, 1)))

def draw_wrong(rng):
    return Call(product, rng.normal(size=3), rng.normal(size=3), wrong=True)

def draw_failing(rng):
    raise KeyError("no such weights")

def modulus(x):
    return np.abs(x), lambda dy: np.sign(x) * dy

def ends(x):
    def backward(dy):
        raise SystemExit(3)
    return x * x, backward

"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module into the current folder; forget it again afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_module(name, cases, source=MINE):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(source + cases)
        return path

    yield write_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-m", "gradcheck", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


# Cases


def test_a_case_draws_its_inputs_and_random_float64_parameters_from_one_seed():
    case = Case("Scale", lambda rng: Call(Scale(), rng.normal(size=(2, 3))))
    assert [argument.name for argument in check_case(case).arguments] == ["x", "gamma", "beta"]
    first, again, other = (case.call(np.random.default_rng(seed)) for seed in (0, 0, 1))
    gamma = first.target.gamma.data
    assert gamma.dtype == np.float64 and not np.any(gamma == 1)
    np.testing.assert_array_equal(gamma, again.target.gamma.data)
    np.testing.assert_array_equal(first.inputs[0], again.inputs[0])
    assert not np.any(gamma == other.target.gamma.data)
    assert not np.any(np.isin(gamma, first.inputs[0]))


def test_a_wrong_case_raises_and_one_that_draws_no_call_is_refused():
    with pytest.raises(GradientError, match="dx: 4 of 4 entries disagree"):
        check_case(Case("halved", lambda rng: Call(lambda x: (x * 1.0, lambda dy: dy / 2), rng.normal(size=4))), seed=3)
    with pytest.raises(TypeError, match=r"case 'two': draw\(rng\) must return a Call, not a float"):
        check_case(Case("two", lambda rng: rng.normal()))


def test_cases_are_found_in_a_module_in_a_packages_submodule_and_in_a_file(write):
    write("flat.py", 'CASES = (Case(name, draw) for name in ["a", "b"])')
    write("folder/__init__.py", "", source="")
    write("folder/cases.py", 'CASES = [Case("c", draw)]')
    write("elsewhere/beside.py", "NAME = 'from beside'", source="")
    path = write("elsewhere/json.py", "from beside import NAME\nCASES = [Case(NAME, draw)]")
    sys.path.insert(0, os.getcwd())
    assert [case.name for case in load_cases("flat")] == ["a", "b"]
    for target in ("folder", "folder.cases", "folder/cases.py"):
        assert [case.name for case in load_cases(target)] == ["c"]
    assert load_cases(str(path))[0].name == "from beside"
    assert sys.modules["json"] is json  # a file hides no module of its name


# The command


def test_a_row_for_each_gradient_and_a_summary_and_status_0_when_all_are_right(write, capsys):
    write("mine.py", 'CASES = [Case("one", draw), Case("another one", draw)]')
    assert main(["mine"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["component", "argument", "entries", "worst error", "verdict"]
    rows = [re.split(r"\s{2,}", line) for line in lines[1:5]]
    expected = [[case, name, "6", "right"] for case in ("one", "another one") for name in "xw"]
    assert [row[:3] + row[4:] for row in rows] == expected
    assert all(float(row[3]) < 1e-8 for row in rows)
    assert len({line.index(" right") for line in lines[1:5]}) == 1
    assert re.fullmatch(r"2 components, 4 gradients, 24 entries checked in \d+\.\d s: all right", lines[-1])
    assert err == ""


def test_what_is_wrong_is_explained_at_the_end_with_status_1(write, capsys):
    short = "Case('short', lambda rng: Call(lambda x: (x * 1.0, lambda dy: dy[:1]), np.arange(3.0)))"
    ends = "Case('ends', lambda rng: Call(ends, rng.normal(size=3)))"
    wrong = f"Case('bad', draw_wrong), Case('broken', draw_failing), {short}, {ends}"
    write("mine.py", f"CASES = [{wrong}, Case('good', draw)]")
    assert main(["mine.py"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:8]] == [
        ("bad", "right"),
        ("bad", "WRONG"),
        ("broken", "CHECKED"),
        ("short", "WRONG"),
        ("ends", "CHECKED"),
        ("good", "right"),
        ("good", "right"),
    ]
    assert lines[-5].endswith("s: 4 not right:")
    assert lines[-4].startswith("  bad: dw: 3 of 3 entries disagree; worst at [")
    assert lines[-3:] == [
        "  broken: KeyError: 'no such weights'",
        "  short: dx has shape (1,), but x has (3,)",
        "  ends: RuntimeError: SystemExit(3) was raised, which would end the program",
    ]


def test_a_note_is_shown_once_for_all_cases_it_holds_for(write, capsys):
    cases = "".join(f"Case('{name}', lambda rng: Call(modulus, rng.normal(size=3)))," for name in "abcde")
    write("mine.py", f"CASES = [Case('safe', draw), {cases}]")
    assert main(["mine"]) == 0
    out = capsys.readouterr().out
    assert out.count("note: ") == 1
    assert out.splitlines()[-1].startswith("note: a, b, c and 2 more: the complex step does not apply, since the")


def test_one_case_can_be_named_and_many_selected_by_a_substring_and_the_seed_decides(write, capsys):
    write("mine.py", 'CASES = [Case("ReLU", draw), Case("relu, tied", draw), Case("gelu", draw_wrong)]')
    for arguments, status, counts in (
        (["mine:ReLU"], 0, "1 component, 2 gradients, 12 entries"),
        (["mine.py:gelu"], 1, "1 component, 2 gradients, 6 entries"),
        (["mine", "-k", "relu"], 0, "2 components, 4 gradients, 24 entries"),
    ):
        assert main(arguments) == status
        assert counts in capsys.readouterr().out

    def failure(seed):
        main(["mine:gelu", "--seed", str(seed)])
        return capsys.readouterr().out.splitlines()[-1]

    assert failure(1) == failure(1) != failure(2)


FILES = {
    "mine.py": MINE + 'CASES = [Case("softmax", draw), Case("linear", draw)]',
    "nothing.py": "CASES = []",
    "twice.py": MINE + 'CASES = [Case("a", draw), Case("a", draw)]',
    "tuples.py": 'CASES = [("a", None)]',
    "number.py": "CASES = 3",
    "needy.py": "import a_missing_package",
    "garbled.py": "CASES = [",
    "exits.py": "raise SystemExit(3)",
    "two_lines.py": "raise ValueError('one\\ntwo')",
    "ends.py": MINE + 'CASES = [Case("ends", lambda rng: Call(ends, rng.normal(size=3)))]',
}
REFUSED = [
    ("nowhere", "cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"),
    ("nowhere.py", "nowhere.py: there is no such file\n"),
    ("stesp mine", "there is no command 'stesp'; did you mean steps?\n"),
    ("mine --sed 3", "error: unrecognized arguments: --sed 3; did you mean --seed? (see python -m gradcheck --help)\n"),
    ("os", "os lists no cases: "),
    ("mine:softmx", "mine has no case 'softmx'; the nearest is 'softmax'"),
    ("mine -k gelu", "no case of mine has 'gelu' in its name"),
    ("nothing", "nothing lists no cases: "),
    ("twice", "the CASES of twice contain the name 'a' twice"),
    ("tuples", "the CASES of tuples must be gradcheck.Case objects, not a tuple of 2"),
    ("number", "the CASES of number must be gradcheck.Case objects, not an int"),
    ("needy", "cannot import needy: ModuleNotFoundError: No module named 'a_missing_package'"),
    ("garbled.py", "cannot import garbled.py: SyntaxError: "),
    ("exits.py", "cannot import exits.py, line 1: RuntimeError: SystemExit(3) was raised, which would end the"),
    ("two_lines.py", "cannot import two_lines.py, line 1: ValueError: one two"),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=[arguments for arguments, _ in REFUSED])
def test_what_cannot_be_found_is_one_line_on_standard_error_and_status_2(write, capsys, arguments, message):
    for name, text in FILES.items():
        write(name, "", source=text)
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"gradcheck: {message}") and err.count("\n") == 1


def test_a_case_that_would_end_the_program_is_a_line_of_the_audit(write, capsys):
    write("ends.py", "", source=FILES["ends.py"])
    assert main(["audit", "ends"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("gradcheck audit: ends raises RuntimeError")


@pytest.mark.parametrize("message, said", [("too large", "too large"), ("", "not enough memory")])
def test_too_little_memory_is_one_line(message, said, monkeypatch, capsys):
    def fail(*arguments):
        raise MemoryError(message)

    monkeypatch.setattr(commands, "check", fail)
    assert main([]) == 2
    assert capsys.readouterr() == ("", f"gradcheck: {said}\n")


@pytest.mark.parametrize("command, seed", [([], "x"), (["steps"], "-1"), (["audit", "mine"], "one\ntwo")])
def test_a_seed_that_is_no_whole_number_is_answered_in_one_line(command, seed, capsys):
    assert main([*command, "--seed", seed]) == 2
    said = f"argument --seed: a seed must be a whole number, 0 or more, not {' '.join(seed.split())}"
    program = " ".join(["python -m gradcheck", *command[:1]])
    assert capsys.readouterr().err == f"gradcheck: error: {said} (see {program} --help)\n"


def test_help_shows_a_module_that_works_as_it_is_printed(write, capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit status: 0" in text and "at a kink" in text and "mine:square" in text
    example = text[text.index("  import numpy") : text.index("Then run")]
    write("mine.py", "", source="\n".join(line[2:] for line in example.splitlines()))
    assert main(["mine:square"]) == 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("folder", ["", "tests"])
def test_without_a_target_this_projects_own_cases_are_checked(folder, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2] / folder)
    with start("-k", "layer_norm") as process:
        out, err = process.communicate()
    assert process.returncode == 0 and err == ""
    assert re.search(r"^layer_norm\s+gamma\s+\d+\s+\S+\s+right$", out, re.MULTILINE)


GOOD, BAD = 'CASES = [Case("good", draw)]', 'CASES = [Case("bad", draw_wrong)]'
CONFIGURATIONS = {
    "setup.cfg": "[tool:gradcheck]\nmodules =\n    good\n    more/bad.py\n",
    "pyproject.toml": '[tool.gradcheck]\nmodules = ["good", "more/bad.py"]\n',
}


@pytest.mark.parametrize("file", CONFIGURATIONS)
@pytest.mark.parametrize("below", [".", "a/folder"])
def test_without_a_target_the_modules_of_the_nearest_configuration_are_checked(write, monkeypatch, capsys, file, below):
    write("good.py", GOOD)
    write("more/bad.py", BAD)
    write(file, "", source=CONFIGURATIONS[file])
    if below != ".":
        write(f"{below}/pyproject.toml", "", source="[tool.other]\nmodules = 3\n")
    monkeypatch.chdir(below)
    assert main([]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^good:good\s+x\s+6 .* right$", out, re.MULTILINE)
    assert re.search(r"bad\.py:bad\s+w\s+3 .* WRONG$", out, re.MULTILINE)
    assert main(["-k", "good:"]) == 0


def test_a_configuration_above_the_root_of_a_repository_is_not_its_own(write, tmp_path, monkeypatch, capsys):
    write("setup.cfg", "", source=CONFIGURATIONS["setup.cfg"])
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m gradcheck") and "[tool.gradcheck]" in out
    assert err.startswith("gradcheck: there is nothing to check: name a module")


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("pyproject.toml", "[tool.gradcheck", "Expected ']' at the end of a table declaration"),
        ("pyproject.toml", "tool.gradcheck = 3", "must be a table .*, not 3"),
        ("pyproject.toml", "[tool.gradcheck]\nmodules = 'mine'", "must be a table .* not {'modules': 'mine'}"),
        ("pyproject.toml", "[tool.gradcheck]\nmodule = ['mine']", r"must be a table .* not {'module': \['mine'\]}"),
        ("setup.cfg", "[tool:gradcheck]\nmodules =", r"must be a table .* not {'modules': \[\]}"),
        ("setup.cfg", "modules = mine", "File contains no section headers"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(write, tmp_path, capsys, file, content, message):
    write(file, "", source=content)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(f"gradcheck: {re.escape(str(tmp_path / file))}: .*{message}.*\n", err)


def test_gradcheck_knows_nothing_of_this_project():
    package = Path(__file__).parents[2] / "gradcheck"
    assert [path.name for path in package.rglob("*.py") if "minitransformer" in path.read_text("utf-8")] == []
