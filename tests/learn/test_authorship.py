"""A file that takes its answer from the package has no points, by whatever way it obtains the answer."""

import re
import textwrap

import pytest
from solutions import edited, filled, solution

from minitransformer import cli
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.grading_server import grade

MODULE = "minitransformer.layers.softmax"
THEIRS = "theirs(x, axis=axis)[1](dy)"
FILE = "from minitransformer.layers import softmax as m"
WAYS = {
    "import": f"from {MODULE} import softmax as theirs\nreturn {THEIRS}",
    "importlib": f"import importlib\ntheirs = importlib.import_module({MODULE!r}).softmax\nreturn {THEIRS}",
    "__import__": f"theirs = __import__('minitransformer').softmax\nreturn {THEIRS}",
    "the twin": f"theirs = __import__('minitransformer').fast.softmax\nreturn {THEIRS}",
    "the module": f"from minitransformer import Softmax\ntheirs = lambda x, axis: Softmax(axis)(x)\nreturn {THEIRS}",
    "every name of a file": f"{FILE}\nnames = dict(vars(m))\ntheirs = names['softmax']\nreturn {THEIRS}",
    "getsource": f"import inspect\n{FILE}\nnames = dict(vars(m))\n"
    f"exec(inspect.getsource(m.softmax), names)\n"
    f"theirs = names['softmax']\nreturn {THEIRS}",
    "open": f"{FILE}\ntext = open(m.__file__).read()\nreturn RIGHT",
    "a compiled file": f"{FILE}\nopen(m.__cached__, 'rb').read()\nreturn RIGHT",
    "a copied file": f"import shutil, tempfile\n{FILE}\n"
    "shutil.copy(m.__file__, tempfile.mkdtemp() + '/copied.py')\nreturn RIGHT",
    "a link": f"import os, tempfile\n{FILE}\nos.symlink(m.__file__, tempfile.mkdtemp() + '/copied.py')\nreturn RIGHT",
    "FunctionType": f"import types\nfrom {MODULE} import softmax as s\n"
    f"theirs = types.FunctionType(s.__code__.replace(co_filename='mine.py'), s.__globals__, 'mine', (), None)\n"
    f"theirs.__kwdefaults__ = {{'axis': -1}}\nreturn {THEIRS}",
    "the garbage collector": "import gc, types\n"
    f"theirs = next(f for f in gc.get_objects() if type(f) is types.FunctionType and f.__module__ == {MODULE!r} and "
    f"f.__name__ == 'softmax')\nreturn {THEIRS}",
    "a thread": f"import threading\nfrom {MODULE} import softmax as theirs\nfound = []\n"
    f"t = threading.Thread(target=lambda: found.append({THEIRS}))\nt.start()\nt.join()\nreturn found[0]",
    "a thread without a function of the file": f"from concurrent.futures import ThreadPoolExecutor\n"
    f"from {MODULE} import softmax as theirs\nwith ThreadPoolExecutor(1) as pool:\n"
    "    b = pool.submit(theirs, x, axis=axis).result()[1]\n    return pool.submit(b, dy).result()",
    "without a profiler": f"import sys\nsys.setprofile(None)\nsys.settrace(None)\n"
    f"from {MODULE} import softmax as theirs\n"
    f"return {THEIRS}",
    "a program": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])\nreturn RIGHT",
    "a shell": "import os\nos.system('true')\nreturn RIGHT",
    "another process": f"import os\nfrom {MODULE} import softmax as theirs\nr, w = os.pipe()\nif os.fork() == 0:\n"
    f"    os.write(w, {THEIRS}.tobytes())\n    os._exit(0)\nos.wait()\n"
    "return np.frombuffer(os.read(r, 10**6)).reshape(x.shape)",
    "a later call": f"import os\nfrom {MODULE} import softmax as theirs\n"
    "os.environ['N'] = n = os.environ.get('N', '') + '.'\n"
    f"return {THEIRS} if len(n) > 3 else RIGHT",
}
RIGHT = "y * (dy - (y * dy).sum(axis=axis, keepdims=True))"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Return a function that grades a text as the file of an exercise in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def verdict(name, text, **options):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        *_, found = grade(tmp_path / f"{name}.py", name, **options)
        return found

    return verdict


@pytest.mark.one_in(3)
@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_a_file_that_takes_the_packages_answer_has_no_points_and_is_told_why(body, graded_apart):
    verdict = graded_apart("softmax", filled(body.replace("RIGHT", RIGHT)))
    assert not verdict.is_solved and not verdict.earned
    if "fork" not in body:
        assert verdict.status == "refused"
        assert re.search(
            r"uses the package's answer: line \d+ (calls|opens|starts) |: the file calls", verdict.sentence
        )
        assert verdict.sentence.endswith("; it has no points") and verdict.sentence in str(verdict)


def calling(exercise):
    """Return a file of an exercise that calls the package's function or class, and does nothing else."""
    header = (
        cut(exercise, 4).partition('"""\n')[0] + f'"""\nfrom {exercise.module} import {exercise.target} as theirs\n\n\n'
    )
    if isinstance(exercise.reference, type):
        return (
            header
            + f"class {exercise.target}(theirs):\n    def forward(self, *inputs, **options):\n"
            + ("        return theirs.forward(self, *inputs, **options)\n")
        )
    return header + f"def {exercise.target}(*inputs, **options):\n    return theirs(*inputs, **options)\n"


@pytest.mark.one_in(16)
@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_in_each_exercise_the_packages_answer_is_noticed_and_a_solution_of_ones_own_is_not(exercise, judged):
    name = exercise.name
    theirs = judged(name, calling(exercise))
    assert theirs.status == "refused" and not theirs.earned
    assert "it uses the package's answer: line " in theirs.sentence
    allowed = judged(name, calling(exercise), is_package_allowed=True)
    assert allowed.status != "refused" and "it uses the package's answer: line " in str(allowed)
    assert allowed.is_solved or name in ("adamw", "one_page")  # which are called with other keywords, or return more
    own = judged(name, solution(exercise, 1))
    assert own.is_solved and not own.remarks


@pytest.mark.slow
def test_an_assigned_function_of_the_package_is_noticed(judged):
    text = calling(named_exercise("adamw")).partition("def adamw")[0] + "adamw = theirs\n\n\ndef unused():\n    pass\n"
    verdict = judged("adamw", text.replace("adamw = theirs", "def adamw():\n    pass\n\n\nadamw = theirs"))
    assert verdict.sentence.startswith("it uses the package's answer: the file calls minitransformer.optim.adamw")


def test_a_copy_of_the_packages_file_beside_a_hand_in_is_noticed(judged, tmp_path):
    source = named_exercise("softmax").source.read_text("utf-8")
    for helper, status in (
        (source, "refused"),
        (source.replace("y * (dy -", "(dy -").replace("return dx", "return y * dx"), "solved"),
    ):
        (tmp_path / "copied_softmax.py").write_text(helper, "utf-8")
        body = "import sys\nsys.modules.pop('copied_softmax', None)\nimport copied_softmax\n"
        text = filled(f"return copied_softmax.{THEIRS.replace('theirs', 'softmax')}")
        assert judged("softmax", text.replace("import numpy as np", f"{body}import numpy as np", 1)).status == status


def test_a_comparison_with_the_package_at_module_level_is_no_use_of_it(judged):
    compared = f"""
import warnings, traceback
from {MODULE} import softmax as theirs
x = dy = np.arange(6.0).reshape(2, 3)
assert np.allclose(softmax(x)[1](dy), theirs(x)[1](dy))
warnings.warn("compared")
"""
    with pytest.warns(UserWarning, match="compared"):
        verdict = judged("softmax", edited("softmax", 1) + textwrap.dedent(compared))
    assert verdict.is_solved and not verdict.remarks


@pytest.mark.slow
def test_a_class_lists_equal_files_and_has_points_for_the_packages_answer_if_allowed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = edited("layer_norm", 1)
    files = {"ada": text, "bob": text.replace("# (", "#  ("), "emmy": calling(named_exercise("layer_norm"))}
    files |= {"max": text.replace("shift", "moved")}
    for name, content in files.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "layer_norm.py").write_text(content, "utf-8")
    command = ["learn", "collect", "class", "--feedback", "feedback", "--summary"]
    for allowed in (False, True):
        assert cli.main([*command, *["--allow-package"] * allowed]) == 0
        out = capsys.readouterr().out
        assert "to look at: ada, layer_norm: the same code as bob\n" in out
        assert "to look at: bob, layer_norm: the same code as ada\n" in out
        assert out.count("to look at") == 2
        letter = (tmp_path / "feedback/emmy/feedback.txt").read_text("utf-8")
        assert letter.startswith(f"emmy: {4 * allowed} of 4 points, ")
        assert "it uses the package's answer: line 10 calls minitransformer.layers.layer_norm.layer_norm" in letter
    assert "   to look at: the same code as bob\n" in (tmp_path / "feedback/ada/feedback.txt").read_text("utf-8")
