"""A class: every folder gets a row, none costs the marks of another, and nothing that is done is lost."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from odd_submissions import (
    ANY,
    ESCAPES,
    NAMES,
    RIGHT,
    SLOW,
    SOLVED,
    WRONG,
    dated,
    odd_submissions,
    put,
    with_code,
    zipped,
)
from solutions import OWN, TOML, solution

from minitransformer import cli
from minitransformer.learn.exercises import exercise_set, named_exercise
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.reading import Unreadable
from minitransformer.learn.submitted import submitted_in

needs_posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes, and fewer names")
ALL = {exercise.name: exercise for exercise in exercise_set("all")}


@pytest.fixture
def folder(tmp_path):
    """A folder for submissions, some of which are nested too deeply for pytest to remove them after a later run."""
    (tmp_path / "class").mkdir()
    yield tmp_path / "class"
    if os.name == "posix":
        subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def collected(folder, *options, status=0):
    """Grade a folder by the command, and return {student: {column: cell}}."""
    table = folder.parent / "marks.csv"
    assert cli.main(["learn", "collect", str(folder), "--csv", str(table), *map(str, options)]) == status
    return rows_of(table)


def rows_of(table):
    with open(table, encoding="utf-8", newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def counting(folder, student, text=RIGHT):
    """Write a submission that adds a letter to a file whenever it runs, and return a function that counts them."""
    runs = folder.parent / f"{student}.runs"
    code = f"import numpy as np\nwith open({str(runs)!r}, 'a') as file:\n    file.write('x')\n"
    put(folder, f"{student}/softmax.py", text.replace("import numpy as np", code))
    return lambda: len(runs.read_text()) if runs.exists() else 0


# The marks.


def test_marks_are_a_table_with_levels_points_equations_mistakes_files_and_seconds(folder, capsys):
    norm = solution(named_exercise("layer_norm"), 0)
    put(folder, "ada/layer_norm.py", norm)
    put(folder, "ada/softmax.py", RIGHT)
    put(folder, "=emmy/work/LayerNorm (1).py", norm.replace("dx_hat = dy * gamma", "dx_hat = dy"))
    (folder / "grace").mkdir()
    rows = collected(folder, "--summary")
    assert list(rows) == ["'=emmy", "ada", "grace"]
    emmy, ada, grace = rows.values()
    assert (ada["points"], ada["of"], ada["solved"]) == ("5.0", "5.0", "2")
    assert (ada["softmax"], ada["softmax: level"], ada["softmax: file"]) == (SOLVED, "1", "softmax.py")
    assert (emmy["layer_norm"], emmy["layer_norm: level"], emmy["softmax"]) == ("not right yet", "0", "not there")
    lines = [emmy[f"layer_norm {line}"] for line in ("(6) dbeta", "(6) dgamma", "(6) dx_hat", "(7) dx")]
    assert lines == ["right", "right", "WRONG", "follows"]
    assert emmy["points"] == emmy["layer_norm: points"] == "3.0"  # a line that follows from a wrong one is not counted
    assert emmy["layer_norm: mistake"].startswith("(6) dx_hat: ")
    assert emmy["layer_norm: file"] == "work/LayerNorm (1).py"
    assert 0 < float(emmy["layer_norm: seconds"]) <= float(emmy["seconds"])
    assert (grace["reason"], grace["points"], grace["softmax"]) == ("the folder contains no file", "0.0", "not there")
    said = capsys.readouterr()
    assert "grace: not graded: the folder contains no file\nlayer_norm    1 of 2   1 time: (6) dx_hat: " in said.out
    assert said.err == ""  # it is not a terminal


def test_a_solution_that_uses_the_packages_answer_has_no_points_and_is_told_why(folder):
    answer = "import importlib\nanswer = importlib.import_module('minitransformer.layers.softmax').softmax"
    put(folder, "eve/softmax.py", with_code(f"{answer}\nreturn answer(x, axis=axis)[1](dy)", "backward"))
    row = collected(folder, "--set", "loss")["eve"]
    assert (row["points"], row["of"]) == ("0.0", "5.0")  # exercises of the set that nobody handed in count as well
    assert row["softmax: mistake"].startswith("it uses the package's answer: ")


@pytest.mark.slow
@needs_posix
def test_no_cell_is_a_formula_or_more_than_a_line(folder):
    for name in ("=1", "+1", "-1", "@a", " =1", "\t=1", "a\nb"):
        put(folder, f"{name}/softmax.py", with_code("raise ValueError('=1\\n2' + 10**6 * 'x')", "top"))
    rows = collected(folder)
    assert all(400 < len(row["softmax: mistake"]) < 1000 for row in rows.values())
    assert set(rows) == {"'=1", "'+1", "'-1", "'@a", "' =1", "\\t=1", "a\\nb"}
    assert not any(
        cell.lstrip().startswith(("=", "+", "-", "@")) or "\n" in cell for row in rows.values() for cell in row.values()
    )


@pytest.mark.slow
def test_marks_are_written_in_the_formats_of_other_graders_and_for_each_student(folder, tmp_path):
    for file, content in {"ada/softmax.py": RIGHT, "ada/softmax (1).py": "", "emmy/softmax.py": WRONG}.items():
        put(folder, file, content)
    (folder / "grace").mkdir()
    formats = (
        "--feedback",
        tmp_path / "feedback",
        "--gradescope",
        tmp_path / "out",
        "--nbgrader",
        tmp_path / "grades.csv",
    )
    collected(folder, *formats)
    ada, emmy = ((tmp_path / f"feedback/{name}/feedback.txt").read_text("utf-8") for name in ("ada", "emmy"))
    assert ada == (
        "ada: 1 of 1 points, 1 of 1 exercise solved\n\n"
        "softmax: right (level 1), 1 of 1 points, softmax.py\n"
        "   not graded, because less complete or older: softmax (1).py\n"
    )
    assert "softmax: not right yet, 0 of 1 points, softmax.py\n   (3) dx  WRONG: " in emmy
    # https://gradescope-autograders.readthedocs.io/en/latest/specs/
    for name, score, output in (
        ("ada", 1.0, "1 of 1"),
        ("emmy", 0.0, "0 of 1"),
        ("grace", 0.0, "the folder contains no"),
    ):
        results = json.loads((tmp_path / f"out/{name}/results.json").read_text())
        (test,) = results.pop("tests")
        assert results.keys() == {"score", "execution_time", "output", "output_format"}
        assert isinstance(results["execution_time"], float) and results["output_format"] == "text"
        expected = {"name": "softmax", "score": score, "max_score": 1.0, "status": "passed" if score else "failed"}
        assert test == expected | {"output": test["output"]} and results["score"] == score
        assert isinstance(test["output"], str) and results["output"].startswith(output)
    # https://nbgrader.readthedocs.io/en/stable/user_guide/creating_and_grading_assignments.html, `nbgrader export`
    assert (tmp_path / "grades.csv").read_text("utf-8") == (
        "assignment,duedate,timestamp,student_id,last_name,first_name,email,"
        "raw_score,late_submission_penalty,score,max_score\nsoftmax,,,ada,,,,1.0,0.0,1.0,1.0\n"
        "softmax,,,emmy,,,,0.0,0.0,0.0,1.0\nsoftmax,,,grace,,,,0.0,0.0,0.0,1.0\n"
    )


def test_an_exercise_of_a_teachers_own_is_graded_as_its_toml_says_whatever_a_student_wrote_beside(folder, tmp_path):
    put(tmp_path, "double.toml", TOML.replace('title = "twice"', 'title = "twice"\npoints = 2.5'))
    put(tmp_path, "double.py", OWN)
    assert cli.main(["learn", "start", "--exercise", str(tmp_path / "double.toml"), "--out", str(folder / "ada")]) == 0
    header = (folder / "ada/double.py").read_text("utf-8").partition("def ")[0]
    cheat = (folder / "ada/double.exercise").read_text("utf-8").replace("3.0", "2.0")
    for name, top, by in (("ada", header, "by"), ("emmy", header, "2"), ("eve", "", "by")):
        put(folder, f"{name}/double.py", top + OWN.replace("by * dy", f"{by} * dy"))
        put(folder, f"{name}/double.exercise", cheat)
    rows = collected(folder, "--exercise", tmp_path / "double.toml")
    assert [row["double"] for row in rows.values()] == [SOLVED, "not right yet", SOLVED]
    assert [row["points"] for row in rows.values()] == ["2.5", "0.0", "2.5"]
    (tmp_path / "others/zoe").mkdir(parents=True)
    assert collected(tmp_path / "others", "--exercise", tmp_path / "double.toml")["zoe"]["of"] == "2.5"
    put(tmp_path, "double.toml", TOML.replace('title = "twice"', 'title = "twice"\npoints = -1'))
    collected(folder, "--exercise", tmp_path / "double.toml", status=1)


# The files of a submission.


@pytest.mark.parametrize("file", NAMES)
def test_a_file_is_found_under_its_usual_names(file, tmp_path):
    file = os.fsdecode(file.encode())  # as Python reads the name where file names are ASCII
    put(tmp_path, file)
    put(tmp_path, "test_softmax.py")
    put(tmp_path, "README.md")
    (submitted,) = submitted_in(tmp_path, ALL)[0].values()
    assert (submitted.file, submitted.content) == (file, RIGHT.encode())


@pytest.mark.parametrize(
    "file, exercise",
    [
        ("log_softmax (2).py", "log_softmax"),
        ("GatedFeedForward.py", "gated_feed_forward"),
        ("RMSNorm-1.py", "rms_norm"),
        ("layernorm.py", "layer_norm"),
        ("AdamW.py", "adamw"),
        ("SiLU.py", "silu"),
    ],
)
def test_the_longest_name_of_an_exercise_counts(file, exercise, tmp_path):
    put(tmp_path, file)
    assert list(submitted_in(tmp_path, ALL)[0]) == [exercise]


@needs_posix
def test_only_regular_files_of_a_limited_size_are_read(tmp_path):
    odd = {name: case for name, case in odd_submissions().items() if case[1] not in (SOLVED, ANY) and name not in SLOW}
    assert {"a pipe", "a socket", "a link to zeros", "a folder for a file", "100 MB", "many other files"} <= set(odd)
    for name, (write, expected) in odd.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
        try:
            (submitted,) = submitted_in(tmp_path / name, ALL)[0].values()
            reason = submitted.trouble
        except Unreadable as error:
            reason = str(error)
        assert re.search(expected, reason), name


def test_a_zip_file_in_place_of_a_folder_is_a_student_and_a_broken_one_beside_a_file_is_named(folder, capsys):
    for path in ("ada.zip", "emmy/a.zip", "grace/softmax.zip"):
        zipped(path, {"work/softmax.py": RIGHT})(folder)
    put(folder, "emmy.zip", b"PK")
    put(folder, "grace/broken.zip", b"PK")
    rows = collected(folder)
    assert {name: row["softmax: file"] for name, row in rows.items()} == {
        "ada": "ada.zip/work/softmax.py",
        "emmy": "a.zip/work/softmax.py",
        "emmy.zip": "",
        "grace": "softmax.zip/work/softmax.py",
    }
    said = "broken.zip is not a readable zip file: File is not a zip file"
    assert (rows["grace"]["reason"], rows["grace"]["softmax"]) == (said, "solved")
    assert f"grace: not graded: {said}" in capsys.readouterr().out
    assert not [path for path in folder.rglob("*") if path.name == "work"]


def test_of_several_files_the_most_complete_is_graded_then_the_newest(tmp_path):
    blank = RIGHT.replace("return dx", "return ...")
    for write in (
        dated("softmax.py", WRONG, 1e9),
        dated("a/softmax.py", RIGHT, 2e9),
        dated("softmax-1.py", blank, 3e9),
    ):
        write(tmp_path)
    dated("softmax (2).py", "# softmax", 4e9)(tmp_path)
    submitted = submitted_in(tmp_path, ALL)[0]["softmax"]
    assert submitted.file == "a/softmax.py"
    assert submitted.others == ("softmax.py", "softmax-1.py", "softmax (2).py")


def test_a_file_with_another_name_counts_for_each_exercise_whose_header_it_has(tmp_path):
    put(tmp_path, "homework.py", RIGHT + solution(named_exercise("silu"), 1) + "\ndef relu(x):\n    return x\n")
    put(tmp_path, "helper.py", RIGHT.replace("softmax, level 1", "a copy"))
    assert {name: each.file for name, each in submitted_in(tmp_path, ALL)[0].items()} == {
        "softmax": "homework.py",
        "silu": "homework.py",
    }


# The decisions of a teacher.


def is_a_name_for_files(name):
    try:
        return bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


@pytest.mark.skipif(not is_a_name_for_files("Jürgen"), reason="the names of files are ASCII")
def test_a_roster_lists_the_absent_and_those_who_are_not_on_it(folder, capsys):
    for name in ("Ada Byron_41_assignsubmission_file_", unicodedata.normalize("NFD", "Jürgen"), "stranger"):
        put(folder, f"{name}/softmax.py")
    roster = folder.parent / "class.csv"
    roster.write_text("\ufeffE-Mail;Student\na@x;Ada Byron\nj@x;jürgen\ng@x;Grace\n", "utf-8")
    rows = collected(folder, "--roster", roster, "--feedback", folder.parent / "letters")
    assert [(name, row["reason"], row["points"]) for name, row in rows.items()] == [
        ("Ada Byron_41_assignsubmission_file_", "", "1.0"),
        ("Grace", "absent", "0.0"),
        (unicodedata.normalize("NFD", "Jürgen"), "", "1.0"),
        ("stranger", "", "1.0"),
    ]
    said = capsys.readouterr().out
    assert said.endswith("Grace: not graded: absent\nstranger: not on the roster\n")
    assert "not graded: absent" in (folder.parent / "letters/Grace/feedback.txt").read_text("utf-8")
    roster.write_text("Ada Byron\nJürgen\nstranger\n", "utf-8")
    assert len(collected(folder, "--roster", roster)) == 3
    assert "not on the roster" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, points",
    [
        ([], {"ada": "1.0", "bob": "1.0", "eve": "1.0", "low": "1.0"}),
        (["--level", 1], {"ada": "1.0", "bob": "1.0", "eve": "1.0", "low": "0.0"}),
        (["--personal"], {"ada": "1.0", "bob": "0.0", "eve": "0.0", "low": "0.0"}),
    ],
)
def test_a_level_and_personal_variants_say_what_counts(options, points, folder):
    personal = solution(replace(named_exercise("softmax"), student="ada"), 1)
    for name, text in {"ada": personal, "bob": personal, "eve": RIGHT}.items():
        put(folder, f"{name}/softmax.py", text)
    put(folder, "low/softmax.py", solution(named_exercise("softmax"), 0))
    rows = collected(folder, *options, "--gradescope", folder.parent / "results")
    assert {name: row["points"] for name, row in rows.items()} == points
    reasons = {name: "does not count, because" in row["softmax: remarks"] for name, row in rows.items()}
    assert reasons == {name: its == "0.0" for name, its in points.items()}
    for name, its in points.items():
        found = json.loads((folder.parent / "results" / name / "results.json").read_text("utf-8"))
        assert found["score"] == float(its)
        assert found["tests"][0]["status"] == ("passed" if its == "1.0" else "failed")


def test_adjustments_replace_points_in_each_run_and_say_why(folder, capsys):
    count = counting(folder, "ada")
    (folder / "grace").mkdir()
    table = folder.parent / "adjustments.csv"
    table.write_text("student,exercise,points,reason\nada,softmax,0.5,late\ngrace,softmax,1,on paper\n", "utf-8")
    for _ in range(2):
        rows = collected(folder, "--adjust", table, "--summary")
        assert [(row["points"], row["softmax: remarks"]) for row in rows.values()] == [
            ("0.5", "0.5 points in place of 1: late"),
            ("1.0", "1 points in place of 0: on paper"),
        ]
        assert "softmax    1 of 1" in capsys.readouterr().out
        runs = count()
    assert runs == count()
    assert collected(folder)["ada"]["points"] == "1.0"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the first line must be student,exercise,points,reason, not"),
        (
            "student,exercise,points,reason\nadda,softmax,1,x\n",
            "row 2: there is no submission 'adda'; did you mean ada?",
        ),
        ("student,exercise,points,reason\nada,sofmax,1,x\n", "there is no exercise 'sofmax'; did you mean softmax?"),
        ("student,exercise,points,reason\nada,softmax,many,x\n", "row 2 must have a student, an exercise, points and"),
        ("student,exercise,points,reason\nada,softmax,-1,x\n", "row 2 must have"),
        ("student,exercise,points,reason\nada,softmax,1\n", "row 2 must have"),
    ],
)
def test_an_adjustment_without_meaning_is_refused(text, words, folder, capsys):
    put(folder, "ada/softmax.py")
    table = folder.parent / "adjustments.csv"
    table.write_text(text, "utf-8")
    assert cli.main(["learn", "collect", str(folder), "--adjust", str(table)]) == 1
    assert words in capsys.readouterr().err


# Nobody's marks are lost.


IMPATIENT = """
import sys
from minitransformer.__main__ import main
from minitransformer.learn.grading_client import Grader

Grader.__init__.__defaults__ = (8, 60)  # seconds, in place of 20
sys.exit(main())
"""


def rows_of_odd(folder, odd, limit):
    """Write and grade submissions in another process, of which nothing may be left. Return {student: row}."""
    for student, (write, _) in odd.items():
        (folder / student).mkdir()
        write(folder / student)
    mark = f"minitransformer-test-{os.getpid()}-{time.time_ns()}"
    command = [sys.executable, "-c", IMPATIENT, "learn", "collect", "class", "--csv", "marks.csv"]
    command += ["--feedback", "feedback", "--gradescope", "results", "--nbgrader", "grades.csv"]
    environment = os.environ | {"MARK": mark, "TMPDIR": str(folder.parent)}
    done = subprocess.run(command, cwd=folder.parent, env=environment, timeout=limit, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert processes_with(mark) == []
    with open(folder.parent / "marks.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(odd)
    return dict(zip(sorted(odd, key=lambda name: folder / name), rows, strict=True))


def processes_with(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path] if mark.encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def unexpected(odd, rows):
    """Return the rows that are not those that submissions must get."""
    found = []
    for student, (_, expected) in odd.items():
        row = rows[student]
        reason = row["reason"] or row["softmax: mistake"]
        right = row["softmax"] == SOLVED if expected == SOLVED else row["softmax"] != SOLVED
        if not right or (expected != SOLVED and not re.search(expected, reason)):
            found.append((student, expected, row["softmax"], reason))
    return found


@needs_posix
def test_a_sample_of_odd_submissions_gets_its_rows(folder):
    slow = re.compile("|".join((*SLOW, *ESCAPES)))
    odd = {name: case for name, case in odd_submissions().items() if not slow.match(name)}
    odd = dict(list(odd.items())[::20])
    assert len(odd) >= 8
    assert unexpected(odd, rows_of_odd(folder, odd, 120)) == []


@needs_posix
@pytest.mark.slow
def test_all_odd_submissions_get_their_rows(folder):
    odd = odd_submissions()
    assert len(odd) >= 180
    assert unexpected(odd, rows_of_odd(folder, odd, 1800)) == []


@pytest.mark.slow
@needs_posix
def test_pipes_and_brackets_in_the_folder_of_a_learner_stop_no_command(tmp_path, capsys):
    folder = tmp_path / "learn"
    assert cli.main(["learn", "start", "--set", "first", "--out", str(folder)]) == 0
    for file in ("y.exercise", ".hints.json"):
        put(folder, file, "[" * 200_000)
    os.mkfifo(folder / "x.exercise")
    assert cli.main(["learn", "hint", "softmax", "--in", str(folder)]) == 0
    assert capsys.readouterr().out.split("\n")[-2].startswith("hint 1 of ")
    (folder / ".hints.json").unlink()
    os.mkfifo(folder / ".hints.json")
    assert cli.main(["learn", "hint", "softmax", "--in", str(folder)]) == 1
    assert ".hints.json: cannot write: is a device or a pipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failure_of_the_grader_costs_one_row_and_is_tried_again(folder, monkeypatch):
    put(folder, "ada/softmax.py", RIGHT)
    put(folder, "ada/relu.py", solution(named_exercise("relu"), 1))
    put(folder, "emmy/softmax.py", RIGHT)
    right = Grader.verdict
    fails = {"relu"}

    def verdict(self, place, name):
        if name in fails:
            raise RuntimeError("a bug")
        return right(self, place, name)

    monkeypatch.setattr(Grader, "verdict", verdict)
    rows = collected(folder)
    assert rows["ada"]["softmax"] == rows["emmy"]["softmax"] == SOLVED
    assert rows["ada"]["relu: mistake"] == "the grader failed, please report it: RuntimeError: a bug"
    fails.clear()
    assert collected(folder)["ada"]["relu"] == SOLVED


def test_only_changed_submissions_and_cut_off_lines_of_the_journal_are_graded_again(folder):
    count = {name: counting(folder, name) for name in ("ada", "emmy")}
    grace = counting(folder, "grace", with_code("raise ValueError", "backward"))
    before = collected(folder)
    journal = folder / ".marks.jsonl"
    lines = {json.loads(line)["name"]: line for line in journal.read_bytes().splitlines(keepends=True)}
    once = {name: runs() for name, runs in count.items()}
    assert all(once.values()) and grace()
    put(folder, "grace/softmax.py", RIGHT)
    cut_off = lines["emmy"][: len(lines["emmy"]) // 2]
    journal.write_bytes(b'[]\n{"name": 1}\n\xff\n' + lines["ada"] + lines["grace"] + cut_off)
    after = collected(folder)
    assert [row["softmax"] for row in after.values()] == [SOLVED] * 3 and after["ada"] == before["ada"]
    assert (count["ada"](), count["emmy"]()) == (once["ada"], 2 * once["emmy"])
    assert all(line.endswith(b"\n") for line in journal.read_bytes().splitlines(keepends=True))
    collected(folder, "--again")
    assert (count["ada"](), count["emmy"]()) == (2 * once["ada"], 3 * once["emmy"])


@pytest.mark.parametrize(
    "signum, status, how",
    [(signal.SIGINT, 130, "interrupted"), pytest.param(signal.SIGTERM, 143, "terminated", marks=pytest.mark.slow)],
)
def test_ctrl_c_keeps_the_marks_and_the_same_command_grades_the_others(signum, status, how, folder, tmp_path):
    asleep, journal = tmp_path / "asleep", folder / ".marks.jsonl"
    put(folder, "00/softmax.py", with_code(f"open({str(asleep)!r}, 'w')\n{SLOW['sleep']}", "top"))
    counts = {f"{k:02}": counting(folder, f"{k:02}") for k in range(1, 5)}
    command = [sys.executable, "-m", "minitransformer", "learn", "collect", "class", "--csv", "marks.csv"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not asleep.exists() or not journal.exists() or len(journal.read_bytes().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signum)  # as a terminal does
        _, err = process.communicate()
    assert process.returncode == status
    (done,) = re.findall(
        rf"^minitransformer: {how}: (\d+) of 5 submissions are graded; the same command grades the others$", err, re.M
    )
    assert err.count("\n") == 1
    rows = rows_of(tmp_path / "marks.csv")
    assert 2 <= len(rows) == int(done) < 5
    assert "00" not in rows  # after its limit of 20 s it would have one
    runs = {name: counts[name]() for name in rows}
    put(folder, "00/softmax.py", RIGHT)
    assert [row["softmax"] for row in collected(folder).values()] == [SOLVED] * 5
    assert {name: counts[name]() for name in rows} == runs


@needs_posix
def test_a_folder_without_folders_and_links_and_files_in_none_are_named(folder, capsys):
    put(folder, "softmax.py")
    assert cli.main(["learn", "collect", str(folder)]) == 1
    assert "it must contain one for each student" in capsys.readouterr().err
    assert cli.main(["learn", "collect", str(folder / "typo")]) == 1
    assert capsys.readouterr().err == f"minitransformer: error: {folder / 'typo'}: No such file or directory\n"
    put(folder, "ada/softmax.py")
    (folder / "eve").symlink_to(folder / "ada")
    assert cli.main(["learn", "collect", str(folder)]) == 0
    said = capsys.readouterr()
    assert "eve: not graded: the folder is a symbolic link, which is not followed" in said.out
    assert said.err == "not graded, because not in a student's folder: softmax.py\n"
