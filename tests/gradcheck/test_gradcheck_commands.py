"""Tables of cases, and the command `python -m gradcheck`."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradcheck import Call, Case, GradientError, check_case, command_line, commands, load_cases
from gradcheck.__main__ import main
from gradcheck.cases import validated
from gradcheck.command_line import write_file
from gradcheck.configuration import configured_modules

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

"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module into the current folder; forget it again afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_module(name, cases, source=MINE):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
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


def run(*arguments):
    with start(*arguments) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# Cases


class Scale:
    def __init__(self):
        self.gamma = type("Parameter", (), {})()
        self.gamma.data, self.gamma.grad = np.ones(3, np.float32), None

    def named_parameters(self):
        yield "gamma", self.gamma

    def __call__(self, x):
        gamma = self.gamma.data

        def backward(dy):
            self.gamma.grad = (dy * x).sum(axis=0)
            return dy * gamma

        return gamma * x, backward


def test_a_case_draws_its_inputs_and_random_float64_parameters_from_one_seed():
    case = Case("Scale", lambda rng: Call(Scale(), rng.normal(size=(2, 3))))
    first, again, other = (case.call(np.random.default_rng(seed)) for seed in (0, 0, 1))
    gamma = first.target.gamma.data
    assert gamma.dtype == np.float64 and not np.any(gamma == 1)
    np.testing.assert_array_equal(gamma, again.target.gamma.data)
    np.testing.assert_array_equal(first.inputs[0], again.inputs[0])
    assert not np.any(gamma == other.target.gamma.data)
    assert not np.any(np.isin(gamma, first.inputs[0]))


def test_a_case_of_a_module_is_checked_with_its_parameters():
    case = Case("Scale", lambda rng: Call(Scale(), rng.normal(size=(2, 3))))
    assert [argument.name for argument in check_case(case).arguments] == ["x", "gamma"]


def test_a_wrong_case_raises():
    def halved(x):
        return x * 1.0, lambda dy: dy / 2

    with pytest.raises(GradientError, match="halved: dx: 4 of 4 entries disagree"):
        check_case(Case("halved", lambda rng: Call(halved, rng.normal(size=4))), seed=3)


def test_a_case_that_draws_no_call_is_refused():
    with pytest.raises(TypeError, match=r"case 'two': draw\(rng\) must return a Call, not a float"):
        check_case(Case("two", lambda rng: rng.normal()))


def test_cases_are_found_in_a_module_in_a_packages_submodule_and_in_a_file(write):
    write("flat.py", 'CASES = (Case(name, draw) for name in ["a", "b"])')
    write("folder/__init__.py", "", source="")
    write("folder/cases.py", 'CASES = [Case("c", draw)]')
    sys.path.insert(0, os.getcwd())
    assert [case.name for case in load_cases("flat")] == ["a", "b"]
    assert [case.name for case in load_cases("folder")] == ["c"]
    assert [case.name for case in load_cases("folder.cases")] == ["c"]
    assert [case.name for case in load_cases("folder/cases.py")] == ["c"]


def test_a_file_may_import_from_beside_itself_and_hides_no_module_of_its_name(write):
    write("elsewhere/beside.py", "NAME = 'from beside'", source="")
    path = write("elsewhere/json.py", "from beside import NAME\nCASES = [Case(NAME, draw)]")
    assert load_cases(str(path))[0].name == "from beside"
    import json

    assert json.loads("[1]") == [1]


def test_names_must_be_unique_and_entries_cases():
    case = Case("a", lambda rng: None)
    with pytest.raises(ValueError, match="the CASES of mine contain the name 'a' twice"):
        validated([case, case], "mine")
    with pytest.raises(TypeError, match=r"CASES of mine must contain only gradcheck\.Case objects, not a tuple"):
        validated([("a", None)], "mine")
    with pytest.raises(TypeError, match=r"CASES of mine must be a list of gradcheck\.Case, not an int"):
        validated(3, "mine")


# The command


def test_a_row_for_each_gradient_and_a_summary_and_status_0_when_all_are_right(write, capsys):
    write("mine.py", 'CASES = [Case("one", draw), Case("another one", draw)]')
    assert main(["mine"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["component", "argument", "entries", "worst error", "verdict"]
    rows = [re.split(r"\s{2,}", line) for line in lines[1:5]]
    assert [row[:3] + row[4:] for row in rows] == [
        ["one", "x", "6", "right"],
        ["one", "w", "6", "right"],
        ["another one", "x", "6", "right"],
        ["another one", "w", "6", "right"],
    ]
    assert all(float(row[3]) < 1e-8 for row in rows)
    assert len({line.index(" right") for line in lines[1:5]}) == 1
    assert re.fullmatch(r"2 components, 4 gradients, 24 entries checked in \d+\.\d s: all right", lines[-1])
    assert err == ""


def test_what_is_wrong_is_explained_at_the_end_with_status_1(write, capsys):
    write("mine.py", 'CASES = [Case("good", draw), Case("bad", draw_wrong), Case("broken", draw_failing)]')
    assert main(["mine.py"]) == 1
    lines = capsys.readouterr().out.splitlines()
    verdicts = [(re.split(r"\s{2,}", line)[0], line.split()[-1]) for line in lines[1:6]]
    assert verdicts == [("good", "right"), ("good", "right"), ("bad", "right"), ("bad", "WRONG"), ("broken", "CHECKED")]
    assert lines[-3].endswith("s: 2 not right:")
    assert lines[-2].startswith("  bad: dw: 3 of 3 entries disagree; worst at [")
    assert lines[-1] == "  broken: KeyError: 'no such weights'"


UNSAFE = """
def modulus(x):
    def backward(dy):
        return np.sign(x) * dy
    return np.abs(x), backward

"""


def test_what_there_is_to_know_of_how_it_was_checked_is_said_once_for_all_cases_it_holds_for(write, capsys):
    cases = "".join(f"Case('{name}', lambda rng: Call(modulus, rng.normal(size=3)))," for name in "abcde")
    write("mine.py", f"{UNSAFE}CASES = [Case('safe', draw), {cases}]")
    assert main(["mine"]) == 0
    out = capsys.readouterr().out
    assert out.count("note: ") == 1
    assert out.splitlines()[-1] == (
        "note: a, b, c and 2 more: the complex step does not apply, since the forward pass is not complex-safe: "
        "for complex arguments y is float64: the imaginary part is lost"
    )


def test_a_faulty_backward_is_a_row_too(write, capsys):
    write(
        "mine.py", 'CASES = [Case("short", lambda rng: Call(lambda x: (x * 1.0, lambda dy: dy[:1]), np.arange(3.0)))]'
    )
    assert main(["mine"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["short", "WRONG"]
    assert lines[-1] == "  short: dx has shape (1,), but x has (3,)"


def test_one_case_can_be_named_and_many_selected_by_a_substring(write, capsys):
    write("mine.py", 'CASES = [Case("ReLU", draw), Case("relu, tied", draw), Case("gelu", draw_wrong)]')
    assert main(["mine:ReLU"]) == 0
    assert "1 component, 2 gradients, 12 entries" in capsys.readouterr().out
    assert main(["mine.py:gelu"]) == 1
    capsys.readouterr()
    assert main(["mine", "-k", "relu"]) == 0
    assert "2 components, 4 gradients, 24 entries" in capsys.readouterr().out


def test_the_seed_decides_the_numbers(write, capsys):
    write("mine.py", 'CASES = [Case("bad", draw_wrong)]')

    def failure(seed):
        main(["mine", "--seed", str(seed)])
        return capsys.readouterr().out.splitlines()[-1]

    assert failure(1) == failure(1) != failure(2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "there is no module named 'nowhere'"),
        (["nowhere.at.all"], "there is no module named 'nowhere.at.all'"),
        (["nowhere.py"], "there is no file 'nowhere.py'"),
        (["json"], "json lists no cases: it has no CASES, and no submodule `cases` with one"),
        (["os"], "os lists no cases"),
        (["mine:softmx"], "mine has no case 'softmx'; the nearest is 'softmax'"),
        (["mine", "-k", "gelu"], "no case of mine has 'gelu' in its name"),
        (["nothing"], "the CASES of nothing are empty"),
        (["twice"], "the CASES of twice contain the name 'a' twice"),
        (["needy"], "cannot import needy: No module named 'a_missing_package'"),
        (["garbled"], "cannot import garbled: SyntaxError: "),
        (["garbled.py"], "cannot import garbled.py: SyntaxError: "),
        (["exits"], "cannot import exits: RuntimeError: SystemExit(3) was raised, which would end the program"),
        (
            ["exits.py"],
            "cannot import exits.py, line 1: RuntimeError: SystemExit(3) was raised, which would end the program",
        ),
        (["two_lines.py"], "cannot import two_lines.py, line 1: ValueError: one two"),
    ],
)
def test_what_cannot_be_found_is_one_line_on_standard_error_and_status_2(write, capsys, arguments, message):
    write("mine.py", 'CASES = [Case("softmax", draw), Case("linear", draw)]')
    write("nothing.py", "CASES = []")
    write("twice.py", 'CASES = [Case("a", draw), Case("a", draw)]')
    write("needy.py", "import a_missing_package", source="")
    write("garbled.py", "CASES = [", source="")
    write("exits.py", "raise SystemExit(3)", source="")
    write("two_lines.py", "raise ValueError('one\\ntwo')", source="")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"gradcheck: {message}") and err.count("\n") == 1


ENDS = """
def ends(x):
    def backward(dy):
        raise SystemExit(3)
    return x * x, backward

CASES = [Case("ends", lambda rng: Call(ends, rng.normal(size=3))), Case("right", draw)]
"""


def test_a_case_that_would_end_the_program_is_not_checked_and_the_next_one_is(write, capsys):
    write("mine.py", ENDS)
    assert main(["mine"]) == 1
    out, err = capsys.readouterr()
    assert err == "" and re.search(r"^right .* right$", out, re.MULTILINE)
    assert out.endswith("1 not right:\n  ends: RuntimeError: SystemExit(3) was raised, which would end the program\n")


@pytest.mark.parametrize(
    "command, end", [(["curve", "mine:ends"], ""), (["audit", "mine"], ", without any mutant")], ids=["curve", "audit"]
)
def test_to_the_other_commands_it_is_a_line(command, end, write, capsys):
    write("mine.py", ENDS)
    assert main(command) == 2
    out, err = capsys.readouterr()
    words = f"ends raises RuntimeError: SystemExit(3) was raised, which would end the program{end}\n"
    assert out == "" and err.endswith(f"gradcheck {command[0]}: {words}")


@pytest.mark.parametrize("message, said", [("too large", "too large"), ("", "there is not enough memory")])
def test_too_little_memory_is_one_line(message, said, monkeypatch, capsys):
    def fail(*arguments):
        raise MemoryError(message)

    monkeypatch.setattr(commands, "check", fail)
    assert main([]) == 2
    assert capsys.readouterr() == ("", f"gradcheck: {said}\n")


def test_what_is_wrong_with_an_option_is_one_line_whatever_it_is(capsys):
    assert main(["--seed", "one\ntwo"]) == 2
    assert capsys.readouterr().err.endswith("argument --seed: a seed must be a whole number, 0 or more, not one two\n")
    assert main(["audit", "mine", "--draws", str(10**23)]) == 2
    said = capsys.readouterr().err
    assert said.endswith(f"argument --draws: the number must be a whole number from 1 to 10,000, not {10**23}\n")


def test_a_negative_seed_is_bad_usage(capsys):
    assert main(["--seed", "-1"]) == 2
    assert "a seed must be a whole number, 0 or more, not -1" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["curve"], ["audit", "mine"]], ids=["check", "curve", "audit"])
def test_a_seed_that_is_no_number_is_answered_without_the_names_of_our_functions(command, capsys):
    assert main([*command, "--seed", "x"]) == 2
    assert "argument --seed: a seed must be a whole number, 0 or more, not x" in capsys.readouterr().err


def test_help_shows_a_module_that_works_as_it_is_printed(write, capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit status: 0" in text and "at a kink" in text and "mine:square" in text
    example = text[text.index("  import numpy") : text.index("Then run")]
    write("mine.py", "", source="\n".join(line[2:] for line in example.splitlines()))
    assert main(["mine:square"]) == 0


def test_the_command_runs_as_a_module_on_the_current_folder(write):
    write("mine.py", 'CASES = [Case("good", draw), Case("bad", draw_wrong)]')
    status, out, err = run("mine")
    assert status == 1 and err == ""
    assert "2 components, 4 gradients, 18 entries" in out


@pytest.mark.parametrize("folder", ["", "tests"])
def test_without_a_target_this_projects_own_cases_are_checked(folder, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2] / folder)
    status, out, err = run("-k", "layer_norm")
    assert status == 0 and err == ""
    assert re.search(r"^layer_norm\s+gamma\s+\d+\s+\S+\s+right$", out, re.MULTILINE)


GOOD, BAD = 'CASES = [Case("good", draw)]', 'CASES = [Case("bad", draw_wrong)]'
CONFIGURATIONS = {
    "setup.cfg": "[tool:gradcheck]\nmodules =\n    good\n    more/bad.py\n",
    "pyproject.toml": '[tool.gradcheck]\nmodules = ["good", "more/bad.py"]\n',
}


@pytest.mark.parametrize("file", CONFIGURATIONS)
@pytest.mark.parametrize("below", [".", "a/folder"])
def test_without_a_target_the_configured_modules_are_checked(write, tmp_path, monkeypatch, capsys, file, below):
    write("good.py", GOOD)
    write("more/bad.py", BAD)
    write(file, "", source=CONFIGURATIONS[file])
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / below)
    assert main([]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^good:good\s+x\s+6 .* right$", out, re.MULTILINE)
    assert re.search(r"bad\.py:bad\s+w\s+3 .* WRONG$", out, re.MULTILINE)
    assert main(["-k", "good:"]) == 0


def test_with_one_configured_module_names_are_as_they_are_in_it(write, capsys):
    write("good.py", GOOD)
    write("pyproject.toml", "", source='[tool.gradcheck]\nmodules = ["good"]\n')
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("good  ")


def test_the_nearest_configuration_counts_and_pyproject_before_setup_cfg(write, tmp_path, monkeypatch):
    write("setup.cfg", "", source=CONFIGURATIONS["setup.cfg"])
    write("near/setup.cfg", "", source="[tool:gradcheck]\nmodules = from_cfg")
    write("near/pyproject.toml", "", source='[tool.gradcheck]\nmodules = ["from_toml"]')
    write("without/pyproject.toml", "", source="[tool.other]\nmodules = 3")
    assert configured_modules(tmp_path) == (tmp_path, ["good", str(tmp_path / "more/bad.py")])
    assert configured_modules(tmp_path / "near") == (tmp_path / "near", ["from_toml"])
    assert configured_modules(tmp_path / "without") == configured_modules(tmp_path)


def test_a_configuration_above_the_root_of_a_repository_is_not_its_own(write, tmp_path, monkeypatch, capsys):
    write("setup.cfg", "", source=CONFIGURATIONS["setup.cfg"])
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    assert configured_modules() is None
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m gradcheck") and "[tool.gradcheck]" in out
    assert err == (
        "gradcheck: there is nothing to check: name a module, or list modules in the project's configuration\n"
    )


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("pyproject.toml", "[tool.gradcheck", "Expected ']' at the end of a table declaration"),
        ("pyproject.toml", "tool.gradcheck = 3", r"\[tool.gradcheck\] must be a table, not 3"),
        ("pyproject.toml", "[tool.gradcheck]", r"must list modules, as in modules = \[\"my_layers\"\], not None"),
        ("pyproject.toml", "[tool.gradcheck]\nmodules = 'mine'", "must list modules, .* not 'mine'"),
        (
            "pyproject.toml",
            "[tool.gradcheck]\nmodule = ['mine']",
            "has an unknown key 'module'; the only key is 'modules'",
        ),
        ("setup.cfg", "[tool:gradcheck]\nmodules =", r"\[tool:gradcheck\] must list modules, .* not \[\]"),
        ("setup.cfg", "modules = mine", "File contains no section headers"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(write, tmp_path, capsys, file, content, message):
    write(file, "", source=content)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(f"gradcheck: {re.escape(str(tmp_path / file))}: .*{message}.*\n", err)


def test_a_configured_module_that_does_not_exist_is_one_line(write, capsys):
    write("setup.cfg", "", source="[tool:gradcheck]\nmodules = nowhere")
    assert main([]) == 2
    assert capsys.readouterr() == ("", "gradcheck: there is no module named 'nowhere'\n")


def test_a_reader_that_stops_reading_is_no_error(write):
    write("mine.py", 'CASES = [Case(f"case {i}", draw) for i in range(2000)]')
    with start("mine") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_rows_come_as_cases_finish_and_ctrl_c_is_one_line_and_status_130(write):
    write(
        "mine.py",
        'def sleep(rng):\n    import time\n    time.sleep(20)\n\nCASES = [Case("quick", draw), Case("endless", sleep)]',
    )
    with start("mine") as process:
        rows = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert rows[2].startswith("quick") and process.stdout.read() == ""
        assert process.stderr.read() == "gradcheck: interrupted\n"


def test_gradcheck_knows_nothing_of_this_project():
    package = Path(__file__).parents[2] / "gradcheck"
    mentions = [
        (path.name, line.strip())
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "minitransformer" in line
    ]
    assert mentions == []


# Files that are written.


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_is_written_whole_and_keeps_its_mode(tmp_path, mode):
    path, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to("file")
    path.write_bytes(b"older")
    path.chmod(mode)
    write_file(link, b"newer")
    assert link.is_symlink() and path.read_bytes() == b"newer" and path.stat().st_mode & 0o777 == mode
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    path.unlink()
    path.touch()
    as_the_umask_says = path.stat().st_mode
    path.unlink()
    write_file(str(path), b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode == as_the_umask_says


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch, fails):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"older")
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_file(path, b"newer")
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"older"


class StoppedAtItsEnd:
    """An object whose finalizer, in which Python ignores exceptions, receives a signal."""

    def __init__(self, signum):
        self.signum = signum

    def __del__(self):
        signal.raise_signal(self.signum)
        sum(range(10))  # the handler runs here


@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_a_signal_in_a_finalizer_ends_the_command_as_well(capsys, signum):
    def command():
        StoppedAtItsEnd(getattr(signal, signum))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pass
        return 0

    assert command_line.run(command) == 128 + getattr(signal, signum)
    assert re.fullmatch(r"gradcheck: (interrupted|terminated)\n", capsys.readouterr().err)
