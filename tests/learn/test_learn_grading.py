"""Grading: files that are accepted, files that are refused, and that only the file is graded."""

import ast
import doctest
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from other_styles import BODIES
from solutions import OWN, TOML, blank_filled, edited, filled, solution

from gradcheck.front.program import started_as
from minitransformer import cli, learn
from minitransformer.learn import check, plot
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, HINTS, named_exercise
from minitransformer.learn.grading_client import SECONDS, Grader
from minitransformer.learn.hints import STATE, lines_of, next_hint
from minitransformer.learn.notebooks import sources_of_notebook
from minitransformer.learn.small_model import loss_of_pairs, train
from minitransformer.learn.verdict import MAP, Verdict
from minitransformer.learn.workspace import saved_files, start

SOFTMAX = named_exercise("softmax")
RIGHT = "return y * (dy - (y * dy).sum(axis=axis, keepdims=True))"


def soft(level, *pair):
    return edited("softmax", level, pair)


TEXT = edited("softmax", 1)
END = TEXT.count("\n") + 1
FORGED = json.dumps(Verdict("softmax", "solved", 1).to_json())
WRITES = f"""\
import os, contextlib
for k in range(99):
    with contextlib.suppress(OSError):
        os.write(k, b'\\n' + {FORGED!r}.encode() + b'\\n')
"""
FORK = "import os, time\nif os.fork() == 0:\n    time.sleep(1000)\n"
LEFT = "import os, warnings; np.seterr(all='raise'); warnings.simplefilter('error'); os.chdir('/')\n"
NAIVE = """

def naive(x):
    e = np.exp(x)
    s = e.sum(axis=-1, keepdims=True)
    return np.log(e / s), lambda dy: dy - e / s * dy.sum(axis=-1, keepdims=True)
"""
EXP, MAXIMUM = "np.exp(x - finite_max(x, axis))", "np.exp(x - x.real.max(axis=axis, keepdims=True))"
FORWARD = ("y = e / sum_or_one(e, axis)", "y = 0.9 * e / sum_or_one(e, axis)")
LISTS = ("return dx, dgamma, dbeta", "return [dx, dgamma, dbeta]")
BESIDE = """

class TestSoftmax:
    def test(self):
        import gradcheck
        super().__init__()
        gradcheck.check(softmax, np.ones(3))

import gradcheck
from minitransformer.layers.softmax import softmax as theirs
x = y = dy = np.random.randn(2, 3)
y, backward = softmax(x)
print(backward(dy), theirs(x))

if __name__ == "__main__":
    import torch
    y, backward = softmax(np.ones((2, 3)))
    raise SystemExit
"""


def helped(code):
    return soft(1, "weighted_sum = ", "weighted_sum = helper(dy) - helper(dy) + ") + f"\n\ndef helper(x):\n    {code}\n"


SCATTERED = "d = np.zeros_like(weight)\nnp.add.at(d, ids, dy)\nreturn None, d"
NONE_FOR_NONE = "db = None if bias is None else rows(dy).sum(axis=0)\nreturn dy @ weight.T, rows(x).T @ rows(dy), db"
RIGHT_FILES = {
    "what stands beside it": ("softmax", TEXT + BESIDE),
    "what stands beside it, at level 4": ("softmax", edited("softmax", 4) + BESIDE),
    "a byte order mark": ("softmax", "\ufeff" + TEXT),
    "a process left behind": ("softmax", filled(FORK + RIGHT)),
    "forged verdicts": ("softmax", filled(WRITES + RIGHT)),
    "changed settings": ("softmax", filled(LEFT + RIGHT)),
    "another layout": ("softmax", soft(0, EXP, "np.exp(\n        x - finite_max(x, axis)\n    )")),
    "lists": ("layer_norm", edited("layer_norm", 4, LISTS, ("return y, backward", "return [y, backward]"))),
    "no complex numbers": ("relu", edited("relu", 4, ("np.where(off, 0, x)", "np.maximum(x, 0)"))),
    "None for what has no gradient": ("embedding", filled(SCATTERED, "embedding")),
    "None for a bias that is None": ("linear", filled(NONE_FOR_NONE, "linear")),
    "dy turned back": ("rotary", filled("dx, _ = turned(dy, cos=cos, sin=-sin, layout=layout)\nreturn dx", "rotary")),
    "another method": ("feed_forward", edited("feed_forward", 1) + "\n    def mine(self):\n        return 1\n"),
}
IN_PLACE = ("parameter.grad = ", "parameter.grad[...] = ")
TWICE = ("return ", "return 2 * ")
EXCHANGED = ("zip(weights, backward(), m, v", "zip(weights, backward(), v, m")
LATER = (
    *("softmax = lambda x, *, axis=-1: (x, lambda dy: dy)", "del softmax"),
    "globals()['softmax'] = lambda x, *, axis=-1: (x, lambda dy: dy)",
)
# status: {pattern of the sentence: text, or (exercise, text)}
WRONG_FILES = {
    "failed": {
        # Code that does not return. Only the file is graded, not the package.
        "line 45: RuntimeError: this is": filled("raise RuntimeError('this is the file')\n" + RIGHT),
        "softmax.py, line 45: ": filled("return np.zeros(10**13)"),
        "line 45: SystemExit: 3": filled("import sys; sys.exit(3)"),
        "softmax.py: it ended its process with status 3": filled("import os; os._exit(3)"),
        "softmax.py: it ended its process: SIGSEGV": filled("import ctypes; ctypes.string_at(0)"),
        "softmax.py, line 45: RecursionError: ": filled("return backward(dy)"),
        "(?s)^(?=.{,600}$).*line 45: ValueError: xxx": filled("raise ValueError('x' * 5_000_000)"),
        # Files that are not Python.
        r"line 1, column 12: not Python: '\(' was never closed": "def softmax(x:\n",
        "line 2, column 1: not Python: 'return' outside function": "x = 1\nreturn x\n",
        "line 2, column 5: not Python: name 'x' is parameter and global": "def f(x):\n    global x\n",
        "softmax.py: not Python: ": f"x = {'+'.join('1' * 20000)}\n",
        "nested too deeply to be examined": f"1\ndef softmax(x):\n    return {'-' * 600}x\n",
        # Failures of the code at module level, and code that reassigns the function's name.
        f"line {END}, at module level: ZeroDivisionError: division by zero": f"{TEXT}1 / 0\n",
        rf"line \d+, called at line {END}, at module level: Attr": f"{TEXT}softmax(3)\n",
        "ended its process with status 7": f"{TEXT}import os; os._exit(7)\n",
        **{
            rf"softmax is reassigned after its definition on line \d+(?#{k})": f"{TEXT}\n{later}\n"
            for k, later in enumerate(LATER)
        },
        "softmax.py replaces numpy.abs, which the grader needs": filled(f"np.abs = None\n{RIGHT}"),
        "numpy.random.default_rng, which the grader needs": filled(f"np.random.default_rng = None\n{RIGHT}"),
        # The forward pass at level 4.
        r"^forward: 60 of 60 entries of y are wrong \(softmax\)$": soft(4, *FORWARD),
        r"softmax must return the pair \(y, backward\)": soft(4, "return y, backward", "return y, None"),
        r"forward: y has shape \(5, 6\), expected \(2, 5, 6\) \(softmax\)": soft(
            4, "return y, backward", "return y[0], backward"
        ),
        "inputs 1,000 times as large, 14 of 60 entries of y are nan": soft(4, EXP, "np.exp(x)"),
        "inputs of which some entries are −∞, 6 of 60 entries of y are": soft(4, EXP, MAXIMUM),
        "forward is not stable: for inputs 1,000 times as large, 1 of 1": (
            "cross_entropy",
            edited("cross_entropy", 4, ("log_softmax(logits)", "naive(logits)")) + NAIVE,
        ),
        r"line \d+: AssertionError, for inputs 1,000 times as large \(softmax\)$": soft(
            4, "    e = np.exp", "    assert abs(x).max() < 700\n    e = np.exp"
        ),
    },
    "refused": {
        "line 45 imports gradcheck: your gradient is compared with": filled("import gradcheck"),
        r"line \d+ imports torch: it computes gradients automatically": helped("import torch\n    return torch.sum(x)"),
        "line 45 calls softmax itself: backward must use": filled("return softmax(x + dy)[0]"),
        r"line \d+ calls softmax itself": helped("return softmax(x)[0]"),
        "softmax was changed outside backward": soft(1, *FORWARD),
        "FeedForward.forward was changed outside backward": (
            "feed_forward",
            edited("feed_forward", 1, ("self.up(x)", "self.up(2 * x)")),
        ),
        r"line \d+ calls forward again": (
            "feed_forward",
            edited("feed_forward", 1, ("dx = up_backward(dh)", "dx = self.forward(dy)[0]")),
        ),
    },
    "not right yet": {
        # The contract.
        "backward changed dy in place: 60 entries": filled("dy *= 2\n" + RIGHT),
        "backward returned nothing, expected an array: one for x": filled("dx = dy"),
        r"dx has shape \(5, 6\), but x has \(2, 5, 6\)": filled("return dy[0]"),
        "backward returned 2 gradients, expected an array: one for x": filled("return dy, dy"),
        # A function without a backward pass is compared, and may change no argument.
        "is changed in place": ("clipping", edited("clipping", 1, IN_PLACE)),
        "wrong are the values 2, 3, 4 of 4": ("training_step", edited("training_step", 1, EXCHANGED)),
        "step 0 of 20 with warmup 4: it returns": (
            "cosine_schedule",
            edited("cosine_schedule", 1, ("return ", "return 2 * ")),
        ),
        "the argument m is changed in place": ("adamw", edited("adamw", 1, ("m_hat =", "m *= 1.5; m_hat ="))),
        "it returns": ("chosen", edited("chosen", 1, ("u * P[-1]", "min(u, P[-1] - 1e-12)"))),
        # Mistakes, by the learner's usual one or by the line.
        "has shape": filled(FORK + "return dy[0]"),
        "has shape(?# forged)": filled(WRITES + "return dy[0]"),
        "the sum over y · dy is not subtracted": soft(0, "dy - weighted_sum", "dy"),
        r"\(dy - weighted_sum\) \*\* 3 stands where dy - weighted_sum belongs": soft(
            0, "y * (dy - weighted_sum)", "y * (dy - weighted_sum) ** 3"
        ),
        "sin is too": soft(0, "y * (dy - weighted_sum)", "np.sin(y * (dy - weighted_sum))"),
        r"^\(3\) dx: dx is not linear in dy: for 2 dy it is not twice as large$": re.sub(
            "  # .*", "", soft(1, "y * (dy - weighted_sum)", "y * dy * weighted_sum")
        ),
        r"^\(7\) dx: the path through the mean is missing$": (
            "layer_norm",
            edited("layer_norm", 4, LISTS, ("dx_hat - shift - x_hat", "dx_hat - x_hat")),
        ),
        r"^d(gamma|beta) has shape \(5, 6\), but \1 has \(6,\): not summed over axis 0": (
            "layer_norm",
            edited("layer_norm", 0, ("tuple(range(dy.ndim - 1))", "(0, 1)")),
        ),
    },
    "begun": {
        r"^line \d+ reads dh, which is still blank$": (
            "feed_forward",
            edited("feed_forward", 0, ("dx = ...", "dx = up_backward(dh)"), make=cut),
        ),
        r"^line \d+ is still blank$": (
            "multi_head_attention",
            edited("multi_head_attention", 0, ("dheads = ...", "dheads = dy"), make=cut),
        ),
    },
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, text", RIGHT_FILES.values(), ids=RIGHT_FILES)
def test_whatever_stands_beside_a_right_function_it_is_right(name, text, graded_apart):
    verdict = graded_apart(name, text)
    assert verdict.is_solved and not verdict.remarks, verdict


NAMED_ELSEWHERE = (
    "stands where dy - weighted_sum belongs",
    "the path through the mean is missing",
)  # in the quick tests


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "status, words",
    [
        pytest.param(status, words, marks=pytest.mark.slow if any(part in words for part in NAMED_ELSEWHERE) else ())
        for status, texts in WRONG_FILES.items()
        for words in texts
    ],
)
def test_a_file_that_is_not_right_gets_a_line_that_says_why(status, words, graded, graded_apart):
    name, text = file if isinstance(file := WRONG_FILES[status][words], tuple) else ("softmax", file)
    is_harmless = status != "failed" and "import os" not in text
    verdict = (graded if is_harmless else graded_apart)(name, text)
    assert verdict.status == status
    assert re.search(words, verdict.mistake) and "\n" not in verdict.mistake, verdict.mistake


@pytest.mark.parametrize("body", ["import os; os._exit(3)", f"np.abs = None\n{RIGHT}", LEFT + RIGHT])
def test_a_check_leaves_nothing_to_the_next(body, graded_apart):
    graded_apart("softmax", filled(body))
    settings = "import os, warnings; print(np.geterr()['under'], warnings.filters[0][0], os.getcwd(), sep='|')\n"
    verdict = graded_apart("softmax", filled(settings + RIGHT))
    assert verdict.is_solved and verdict.printed.strip().split("|")[::2] == ["ignore", str(Path.cwd())]


def test_an_endless_loop_and_a_long_explanation_end_after_a_while(tmp_path):
    (tmp_path / "softmax.py").write_text(f"{TEXT}while True: pass\n", "utf-8")
    (tmp_path / "layer_norm.py").write_text(
        edited("layer_norm", 1, ("dx_hat - shift - x_hat", "dx_hat - x_hat")), "utf-8"
    )
    seen: list = []
    with Grader(explanation=0.001) as grader:
        for grader.seconds in (0.5, 5, 50):  # a busy machine may not have reached the loop before
            sentence = grader.verdict(tmp_path, "softmax").sentence
            if "at module level" in sentence:
                break
        at = f"softmax.py, line {END}, at module level"
        assert sentence == f"{at}: TimeoutError: it did not end within {grader.seconds:g} seconds"
        grader.seconds = SECONDS
        verdict = grader.verdict(tmp_path, "layer_norm", seen.append)
    assert [first.status for first in seen] == [verdict.status] == ["not right yet"]
    assert [row.name for row in verdict.rows if row.verdict == "WRONG"] == ["dx"]
    assert verdict.remarks[-1] == "the explanation is missing: it did not end within 0.001 seconds"


IMPORTED = """
import sys
from pathlib import Path
from minitransformer.learn import grading_server as grading

for name in grading.NEEDED_LATER:
    __import__(name)
before = set(sys.modules)
list(grading.grade(Path("softmax.py"), "softmax"))
print(*set(sys.modules) - before)
"""


def test_a_child_of_the_server_imports_nothing_but_the_file(tmp_path):
    (tmp_path / "softmax.py").write_text(soft(1, "y * dy", "2 * y * dy"), "utf-8")
    command = [sys.executable, "-c", IMPORTED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "learn_softmax\n"


def test_what_it_prints_is_shown_as_of_one_run(graded):
    assert graded("softmax", filled("print('x' * 10**6)\n" + RIGHT)).printed == "x" * 500
    verdict = graded("softmax", filled("print('dy is', dy.shape)\nreturn dy @ dy"))
    assert verdict.lines()[-1] == "   it prints: dy is (2, 5, 6)"


def test_a_file_may_name_its_encoding_and_one_that_cannot_be_decoded_is_told(grader, tmp_path):
    cookie = "# -*- coding: latin-1 -*-\n" + re.sub(r"[^\x00-\xff]", "?", TEXT) + "# é\n"
    for content, words in (
        (cookie.encode("latin-1"), "^$"),
        ((TEXT.replace("−", "-") + "# é\n").encode("latin-1", "replace"), r"^softmax\.py, line \d+: not UTF-8 text"),
    ):
        (tmp_path / "softmax.py").write_bytes(content)
        assert re.search(words, grader.verdict(tmp_path, "softmax").sentence)


# The rows of a verdict.


def rows_of(verdict):
    return [(row.equation, row.name, row.verdict) for row in verdict.rows]


def test_a_right_gradient_of_another_name_has_its_numbered_row(graded):
    names = ("dweight", "dW"), ("dbias", "db"), ("rows(dy).sum(axis=0)", "rows(dy).mean(axis=0)")
    rows = rows_of(graded("linear", edited("linear", 0, *names)))
    assert ("(3)", "dweight", "right") in rows
    assert [name for _, name, verdict in rows if verdict == "WRONG"] == ["db"]


def test_a_mistake_is_told_by_its_line_and_what_follows_is_said_to(graded):
    wrong = ("dx_hat - shift - x_hat * scale", "dx_hat - x_hat * scale")
    verdict = graded("layer_norm", edited("layer_norm", 0, wrong))
    right = [("(6)", name, "right") for name in ("dbeta", "dgamma", "dx_hat")]
    assert rows_of(verdict) == [*right, ("(7)", "dx", "WRONG")]
    assert verdict.mistake.startswith("(7) dx: ")
    without_numbers = re.sub(r"  # \(.*", "", edited("layer_norm", 1, ("dx_hat = dy * gamma", "dx_hat = dy")))
    verdict = graded("layer_norm", without_numbers)
    assert rows_of(verdict)[-2:] == [("(6)", "dx_hat", "WRONG"), ("(7)", "dx", "follows")]
    assert str(verdict).splitlines()[4] == "   (7) dx      follows from dx_hat"


@pytest.mark.slow
def test_of_two_mistakes_in_an_update_none_is_said_to_follow_from_the_other(graded):
    mistakes = ("theta - lr * weight_decay", "theta - weight_decay"), ("(1 - beta2) * g**2", "(1 - beta2) * g")
    first, *rows = graded("adamw", edited("adamw", 0, *mistakes)).rows
    assert first.name == "decayed" and "a factor is missing" in first.sentence
    assert [(row.name, row.verdict, row.sentence) for row in rows] == [
        ("m_new", "right", ""),
        ("v_new", "WRONG", "a power is wrong"),
        ("m_hat", "right", ""),
        ("v_hat", "follows", "from v_new"),
        ("theta_new", "follows", "from decayed and v_new"),
    ]


def test_gradients_that_are_returned_in_each_others_place_are_told_so(graded):
    verdict = graded("layer_norm", edited("layer_norm", 0, ("return dx, dgamma, dbeta", "return dx, dbeta, dgamma")))
    assert [row.verdict for row in verdict.rows] == ["WRONG", "WRONG", "right", "right"]
    assert verdict.mistake == "(6) dbeta: dbeta and dgamma have each other's values"


def test_remarks_say_where_it_is_right_and_which_dtype_is_not_kept(graded):
    verdict = graded("linear", edited("linear", 1, ("rows(dy).sum(axis=0)", "rows(dy).mean(axis=0)")))
    assert verdict.remarks[-1].startswith("right on linear, no bias. Wrong on linear; linear, square; ")
    verdict = graded("softmax", filled(RIGHT.replace("return ", "return np.float64(1) * ")))
    assert verdict.is_solved and verdict.remarks[0].startswith("for float32 inputs dx is float64")


def test_blanks_that_are_left_are_listed_and_the_rest_is_looked_at(graded, tmp_path):
    some = ("dx = ...", "dx = dy @ weight.T"), ("dbias = ...", "dbias = dy[0, 0]")
    verdict = graded("linear", edited("linear", 0, *some, make=cut))
    assert verdict.status == "begun"
    assert [row[1:] for row in rows_of(verdict)] == [("dx", "right"), ("dweight", "blank"), ("dbias", "WRONG")]
    text = edited("multi_head_attention", 0, ("dattended = ...", "dattended = heads_backward(dheads)"), make=cut)
    hint = next_hint(tmp_path, named_exercise("multi_head_attention"), graded("multi_head_attention", text))
    assert re.match(r"hint 1 of 3: \(4\) dheads, line \d+: which lines of the forward pass read heads\?", hint), hint


def test_a_file_may_import_what_lies_beside_it_as_it_is_now(graded_apart, tmp_path):
    for factor, solved in ((2, False), (1, True)):
        (tmp_path / "helper.py").write_text(f"factor = {factor}\n")
        verdict = graded_apart("softmax", filled(f"from helper import factor\n{RIGHT} * factor"))
        assert verdict.is_solved is solved
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "softmax.py"]


def test_check_shows_a_table_in_a_notebook(tmp_path):
    start(tmp_path, [SOFTMAX], 0)
    assert check("relu", tmp_path).status == "not there"
    with pytest.raises(ValueError, match="did you mean softmax"):
        check("softmaxx", tmp_path)
    (tmp_path / "softmax.py").write_text(soft(0, "dy - weighted_sum", "dy - 2 * weighted_sum"), "utf-8")
    verdict = check("softmax", tmp_path)
    assert "dx  WRONG" in verdict._repr_html_()
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@pytest.mark.slow
def test_what_readme_shows_is_what_is_said(graded):
    verdict = graded("layer_norm", edited("layer_norm", 0, (" - x_hat * scale", "")))
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    shown = re.sub(r"(learn check layer_norm) +#.*", r"\1", readme)
    assert f"$ .venv/bin/minitransformer learn check layer_norm\n{verdict}\n" in shown


# Hints


def test_hints_go_up_a_ladder_and_never_show_a_line_of_code(tmp_path):
    for exercise in EXERCISES:
        untouched, seen = Verdict(exercise.name, "not begun", 3 if exercise.is_value else 1), []
        while not seen or seen[-1] != (hint := next_hint(tmp_path, exercise, untouched)):
            seen.append(hint if seen else next_hint(tmp_path, exercise, untouched))
        assert len(seen) == len(set(seen)) >= 2, seen
        assert seen[-1].endswith("(the last hint)")
        assert exercise.name in HINTS or all(lines_of(exercise)[0].number in hint for hint in seen)
        assert "np." not in "".join(seen) and "@" not in "".join(seen)
        assert not exercise.is_value or " = " not in "".join(seen)


@pytest.mark.parametrize("level, is_given", [(0, True), (2, True), (3, False), (4, False)])
def test_an_exercise_without_backward_says_whether_its_equations_are_given(level, is_given):
    text = cut(named_exercise("adamw"), level)
    assert ("the equations" in text.split("...")[1].split(";")[0]) == ("(1)" in text) == is_given


# {wrong body of backward: the question that is the first hint}
QUESTIONS = {
    "linear": {
        "return dy @ weight, rows(x).T @ rows(dy), rows(dy).sum(axis=0)": "dy @ weight multiplies (2, 5, 7) by (6, 7): "
        "which of the two has to be transposed so that the inner sizes agree?",
        "dweight = x.T @ dy\nreturn dy @ weight.T, dweight, dy": "dweight: x.T has shape (6, 5, 2), because .T "
        "reverses all of its axes: which two have to be exchanged, or which flattened to rows?",
        "return dy @ weight.T, rows(x).T @ rows(dy), dy": "dbias has shape (2, 5, 7), but bias has (7,): which entries "
        "of y does one entry of bias reach? Their contributions add",
        "return dy @ weight.T, rows(x).T @ rows(dy)": "backward returned 2 gradients: which of x, weight, bias lacks "
        "its gradient?",
        "dx = dweight @ dy\ndweight = 0\nreturn dx, dweight, 0": "dweight is read before the line that computes it: "
        "which order do the lines need?",
    },
    "softmax": {
        "dx = y * (dy - (y * dy).sum(axis=axis))\nreturn dx": "dx: dy has shape (2, 5, 6) and (y * dy).sum(axis=axis) "
        "has shape (2, 5): which of the two lacks an axis of length 1: a sum that keeps its axis, or a new one?",
        "return y * g": "g has no value here: which line of forward computes the value that you mean?",
    },
    "feed_forward": {
        "return dy @ self.down.T": "forward calls the Linear as a function: which backward function does "
        "it receive from this call?",
        "da, dw = down_backward(dy)\nreturn activation_backward(da)": "da, dw = down_backward(dy): a module has one "
        "gradient to return, so these are the parts of one array",
    },
    "shares": {
        "return [y1] @ np.ones((3, 2))": "[y1] @ np.ones((3, 2)) multiplies (1,) by (3, 2): over which axis "
        "should the sum run, and where does it stand in each of the two?"
    },
}


@pytest.mark.parametrize("name, body, question", [(n, *pair) for n, of in QUESTIONS.items() for pair in of.items()])
def test_an_exception_becomes_a_question_and_the_hints_go_on_after_it(name, body, question, graded, tmp_path):
    verdict = graded(name, filled(body, name))
    hints = [next_hint(tmp_path, named_exercise(name), verdict) for _ in range(4)]
    assert hints[0].partition(": ")[2] == question
    assert len(set(hints)) in (2, 4) and hints[-1].endswith("(the last hint)")


def test_at_the_levels_without_equations_the_last_hint_has_the_slopes_and_no_hint_the_equation(graded, tmp_path):
    verdict = graded("softmax", filled("return y * dy", level=3))
    hints = [next_hint(tmp_path, SOFTMAX, verdict) for _ in range(5)]
    assert "∂y_i/∂x_j = " in hints[-1] and all(len(hint) < 180 for hint in hints) and "Σ y · dy" not in "".join(hints)


CHECKER = """
y, backward = function(*inputs)
dy, h = {dy}, 1e-6
worst = 0.0
gradients = backward(dy) if len(inputs) > 1 else [backward(dy)]
for k, (x, dx) in enumerate(zip(inputs, gradients)):
    {shape}
    for i in {indices}:
        step = np.zeros_like(x)
        step[i] = h
        up, down = (function(*inputs[:k], x + s, *inputs[k + 1:])[0] for s in {steps})
        error = {gradient} - ((up - down) * dy).sum() / {divisor}
        worst = {largest}
return {result}
"""
OF_A_CHECKER = {
    "dy": "np.random.default_rng(1).normal(size=y.shape)",
    "shape": "if np.shape(dx) != x.shape: return np.inf",
    "indices": "np.ndindex(x.shape)",
    "steps": "(step, -step)",
    "gradient": "np.asarray(dx)[i]",
    "divisor": "(2 * h)",
    "largest": "np.maximum(worst, abs(error))",
    "result": "worst",
}
OTHER_CHECKERS = {
    "dy": {"np.ones(np.shape(y))": "it accepts 3 of 18 planted mistakes: batch-n"},
    "shape": {
        "assert dx.shape == x.shape": "",
        "pass": "it accepts 1 of 18 planted mistakes: a gradient with a row too many",
        "dx = np.broadcast_to(dx, x.shape) if np.ndim(dx) <= x.ndim else dx[0]": "a gradient without its first axis",
        "if np.shape(dx) != x.shape: continue": "it accepts 4 of 18 planted mistakes: a gradient without",
    },
    "indices": {"[j for j in np.ndindex(x.shape) if j != (0, 1)]": "planted mistakes: an entry that is NaN"},
    "steps": {"(step, 0)": "a false alarm: it returns ", "(0, -step)": "a false alarm: it returns "},
    "largest": {
        "max(worst, abs(error))": "it accepts 2 of 18 planted mistakes: a gradient of NaN, an entry that is NaN",
        "worst if np.isnan(error) else max(worst, abs(error))": "a gradient of NaN, an entry that is NaN",
        "np.maximum(worst, error)": "it accepts 1 of 18 planted mistakes: entries that are too small",
        "np.maximum(worst, -error)": "planted mistakes: log-softmax, dy-ignored, entries that are too large",
        "abs(error)": "planted mistakes: ",
    },
    "result": {
        "float(worst)": "",
        "1e9 * worst": "a false alarm: it returns ",
        "0": "it accepts 14 of 18 planted mistakes",
    },
}
CHECKERS = [({}, "")]
CHECKERS += [({part: code}, words) for part, some in OTHER_CHECKERS.items() for code, words in some.items()]
CHECKERS.append(({"steps": "(step, 0)", "divisor": "h"}, "a false alarm: it returns "))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("changes, sentence", CHECKERS)
def test_a_checker_of_gradients_is_graded_against_planted_mistakes_and_false_alarms(changes, sentence, graded):
    body = CHECKER.format(**OF_A_CHECKER | changes)
    text = cut(named_exercise("checker"), 1).replace("\n    ...\n", textwrap.indent(body, "    ") + "\n")
    verdict = graded("checker", text)
    assert verdict.is_solved != bool(sentence) and sentence in verdict.sentence


CHOSEN = """
e = np.exp((z - z.max()) / temperature)
p = e / e.sum()
order = np.argsort(-p)
n = np.searchsorted(np.cumsum(p[order]), {least}) + 1
P = np.cumsum(p[order[:n]])
return order[np.searchsorted(P, u * P[-1], side={side!r})]
"""


@pytest.mark.parametrize(
    "least, side, sentence",
    [
        ("top_p - 1e-12", "right", ""),
        ("top_p - 1e-12", "left", "sums without rounding, u 0.5: it returns 1, and the right value is 3"),
        ("top_p + 1e-12", "right", "u 0.999, top_p 0.5: it returns 3, and the right value is 1"),
    ],
)
def test_a_token_is_chosen_also_where_a_sum_equals_its_limit(least, side, sentence, graded):
    text = cut(named_exercise("chosen"), 1).replace(
        "\n    ...\n", textwrap.indent(CHOSEN.format(least=least, side=side), "    ") + "\n"
    )
    verdict = graded("chosen", text)
    assert verdict.is_solved != bool(sentence) and sentence in verdict.sentence, verdict


def test_the_file_of_a_class_has_only_the_methods_with_a_backward_pass_to_write():
    for exercise in EXERCISES:
        tree = ast.parse(cut(exercise, 1))
        for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            assert [method.name for method in node.body[1:]] == ["forward"]
    assert len(cut(named_exercise("block"), 1).splitlines()) < 55


def test_a_damaged_memory_of_hints_begins_anew(tmp_path):
    untouched = Verdict("softmax", "not begun", 1)
    for damage in ("", "[]", '{"softmax (3) dx": "many"}', '{"softmax (3) dx": -4}'):
        (tmp_path / STATE).write_text(damage)
        assert next_hint(tmp_path, SOFTMAX, untouched).startswith("hint 1 of ")


# Commands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with three exercises, of which the first is solved and the second wrong."""
    monkeypatch.chdir(tmp_path)
    start(tmp_path / "learn", [named_exercise(name) for name in ("softmax", "linear", "relu")], 0)
    (tmp_path / "learn/softmax.py").write_text(solution(SOFTMAX, 0), "utf-8")
    wrong = edited("linear", 0, ("rows(dy).sum(axis=0)", "rows(dy).mean(axis=0)"))
    (tmp_path / "learn/linear.py").write_text(wrong, "utf-8")
    return tmp_path / "learn"


def test_the_commands_tell_where_a_learner_is(folder, capsys):
    assert cli.main(["learn"]) == 0
    assert capsys.readouterr().out == (
        "1 of 3 solved in learn\n"
        f"next: learn/linear.py (not right yet), then: {started_as('minitransformer')} learn check linear\n"
    )
    assert cli.main(["learn", "check"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("linear: not right yet\n") and out.endswith("softmax: right (level 0)\n")
    assert "(4) dbias    WRONG: a mean stands where a sum belongs" in out


@pytest.mark.slow
def test_progress_is_a_map_and_a_table_and_a_check_of_what_is_right_ends_with_0(folder, capsys):
    assert cli.main(["learn", "check", "softmax"]) == 0
    assert cli.main(["learn", "progress"]) == 0
    out = capsys.readouterr().out
    assert "   │        · layer_norm  · rms_norm  ■ softmax  · log_softmax  ◧ linear  · low_rank\n" in out
    assert out.endswith("relu     not begun\n\n1 of 3 solved\n")
    assert set(re.findall(r"<(\w+)>", MAP)) == {exercise.name for exercise in EXERCISES}


def test_without_a_folder_the_command_says_how_to_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn"]) == 0
    assert f"`{started_as('minitransformer')} learn start`" in capsys.readouterr().out
    assert cli.main(["learn", "check"]) == 1
    assert cli.main(["learn", "start", "--set", "frist"]) == 1
    assert "there is no set of exercises 'frist'; did you mean first?" in capsys.readouterr().err


def test_what_is_saved_is_seen_once(folder):
    texts, looks = iter(["", "x = ", "x = 1\n", None, None, None, "", None, None, "x = 2\n", None, None]), []

    def look(seconds):
        text = next(texts)
        looks.append(text)
        if text is not None:
            (folder / "relu.py").write_text(text)

    saved = saved_files(folder, look)
    assert next(saved) == "relu"
    assert looks == ["", "x = ", "x = 1\n", None]
    assert next(saved) == "relu"
    assert looks[4:] == [None, None, "", None, None, "x = 2\n", None]  # an empty file is not saved yet


def test_a_model_learns_with_the_learners_functions_in_it(tmp_path):
    names = ["linear", "softmax", "attention", "layer_norm", "block", "adamw", "gelu", "cross_entropy"]
    for name in names:
        text = cut(named_exercise(name), 1)
        for body in BODIES[name]:
            text = blank_filled(text, body)
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
    said = []
    calls, (loss, goal), written = train(tmp_path, names, steps=3, seed=0, say=said.append)
    assert all(calls[name] for name in names) and calls["rotary"] and not calls["rms_norm"]
    assert 2 < goal < 2.6 < loss < 5
    assert loss_of_pairs(np.array([0, 1] * 50)) == 0
    assert said[0].startswith("step    1  loss 4.")
    assert len(written) > 100
    from minitransformer.layers.softmax import softmax

    assert softmax.__module__ == "minitransformer.layers.softmax"  # it is the package's again


def test_a_slope_is_drawn_beside_the_true_one(tmp_path):
    pytest.importorskip("matplotlib")
    start(tmp_path, [named_exercise("silu"), SOFTMAX], 0)
    mine = tmp_path / "silu.py"
    blank = mine.read_text("utf-8")
    mine.write_text(blank.replace("dx = ...", "dx = dy * sigma"), "utf-8")
    shown = plot("silu", tmp_path)
    assert shown._repr_png_().startswith(b"\x89PNG")
    true, yours = shown.figure.axes[0].lines
    sigma = 1 / (1 + np.exp(-true.get_xdata()))
    np.testing.assert_allclose(yours.get_ydata(), sigma, atol=1e-12)
    np.testing.assert_allclose(true.get_ydata(), sigma * (1 + true.get_xdata() * (1 - sigma)), atol=1e-7)
    with pytest.raises(ValueError, match="relu, silu, gelu"):
        plot("softmax", tmp_path)
    mine.write_text(blank.replace("dx = ...", "dx = dy * sigmoid"), "utf-8")
    with pytest.raises(ValueError, match=r"silu\.py, line 31: NameError: name 'sigmoid' is not defined"):
        plot("silu", tmp_path)


def test_a_teachers_own_exercise_is_a_function_and_a_few_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "double.toml").write_text(TOML, "utf-8")
    (tmp_path / "double.py").write_text(OWN, "utf-8")
    assert cli.main(["learn", "start", "--exercise", "double.toml", "--level", "0"]) == 0
    mine = tmp_path / "learn/double.py"
    assert "by * dy" not in "".join(path.read_text("utf-8") for path in mine.parent.iterdir())
    assert check("double", "learn").status == "not begun"
    for old, new, status in (
        ("dx = ...", "dx = 2 * dy", "not right yet"),
        ("dx = 2 * dy", "dx = dy * by", "solved"),
        ("y = by * x", "y = x", "refused"),
    ):
        mine.write_text(mine.read_text("utf-8").replace(old, new), "utf-8")
        assert check("double", "learn").status == status
    (tmp_path / "double.toml").write_text(TOML.replace("[2, 3]", "2"), "utf-8")
    assert cli.main(["learn", "start", "--exercise", "double.toml"]) == 1
    assert (
        "double.toml: cases must be a list of tables with a name and inputs such as {x = [2, 3, 5]}, not [{"
        in capsys.readouterr().err
    )


def test_an_exercise_is_a_notebook_that_writes_its_file_and_checks_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "start", "--set", "norms", "--notebook"]) == 0
    path = tmp_path / "learn/rms_norm.ipynb"
    (name, source), *others = sources_of_notebook(path.read_bytes(), {"rms_norm": named_exercise("rms_norm")})
    assert (name, others) == ("rms_norm", [])
    given = cut(named_exercise("rms_norm"), 1)
    assert ast.dump(ast.parse(source).body[-1]) == ast.dump(ast.parse(given).body[-1])
    assert ast.get_docstring(ast.parse(source)) == ast.get_docstring(ast.parse(given)).splitlines()[0]
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert "not begun" in notebook.cells[-2].outputs[0]["data"]["text/plain"]
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "0.0"


@pytest.mark.slow
def test_a_notebook_has_the_points_of_nbgrader_and_the_tests_of_otter(tmp_path, monkeypatch):
    # https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html, and otter.test_files.OKTestFile
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "start", "--set", "norms", "--notebook", "--out", "."]) == 0
    *others, cell = json.loads((tmp_path / "rms_norm.ipynb").read_text("utf-8"))["cells"]
    assert [other["metadata"] for other in others] == [{}, {}, {}]
    assert cell["metadata"]["nbgrader"] == {
        "grade": True,
        "grade_id": "rms_norm-points",
        "locked": True,
        "points": 3.0,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    (tmp_path / "rms_norm.py").write_text(
        solution(named_exercise("rms_norm"), 1).replace("dgamma = ", "dgamma = -"), "utf-8"
    )
    assert learn.points("rms_norm", ".") == 2.0
    found = {}
    exec((tmp_path / "tests/rms_norm.py").read_text("utf-8"), found)
    (suite,) = found["test"]["suites"]
    assert found["OK_FORMAT"] and [case["points"] for case in suite["cases"]] == [1.0, 1.0, 1.0]
    parser, failed = doctest.DocTestParser(), []
    for case in suite["cases"]:
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(parser.get_doctest(case["code"], {}, "case", None, 0), out=lambda text: None)
        failed.append(runner.failures)
    assert failed == [0, 0, 1]


EXAMPLE = Path(learn.__file__).parent / "example_set"
SOURCE = (EXAMPLE / "convolution.py").read_text("utf-8")


@pytest.mark.slow
def test_a_folder_of_toml_files_is_a_set_of_exercises(tmp_path, monkeypatch):
    assert sum(len(path.read_text("utf-8").splitlines()) for path in EXAMPLE.glob("convolution.*")) <= 60
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "start", "--set", str(EXAMPLE)]) == 0
    body = SOURCE.partition("def backward(dy):")[2].rpartition("\n    return")[0]
    mine, body = tmp_path / "learn/convolution.py", body.rpartition('"""\n')[2]
    mine.write_text(blank_filled(mine.read_text("utf-8"), body), "utf-8")
    assert check("convolution", "learn").is_solved
    mine.write_text(mine.read_text("utf-8").replace("weight[k].T", "weight[0].T"), "utf-8")
    assert check("convolution", "learn").first_wrong.name == "dx"
    (tmp_path / "class").mkdir()
    (tmp_path / "learn").rename(tmp_path / "class/ada")
    assert cli.main(["learn", "collect", "class", "--set", str(EXAMPLE), "--csv", "marks.csv", "--quiet"]) == 0
    assert "convolution" in (tmp_path / "marks.csv").read_text("utf-8")


# Wrong solutions as students write them, and a pattern of the first sentence: {exercise: [(body, pattern)]}.
LONG = ("block", "swiglu")
WRITTEN = {
    "shares": [("return y1 * y1 * (dy[0] - dy[1]), y1 * y2 * (dy[1] - dy[0])", "y1 stands where another name belongs")],
    "fork": [("ds = x * dy\nreturn s * dy + np.cos(s) * ds", "s stands where another name belongs")],
    "neuron": [
        ("slope = 1 - y**2\nreturn slope * w, slope * x, slope", "the upstream gradient is forgotten"),
        ("dz = (1 - y) ** 2 * dy\nreturn w * dz, x * dz, dz", "the square is that of 1 − y"),
        ("dz = (1 - y**2) * dy\nreturn w * dz, x * dz, 2", "db: db does not depend on dy"),
    ],
    "softmax": [
        ("total = (y * dy).sum()\nreturn y * (dy - total)", "the sum runs over all entries, not over one axis")
    ],
    "residual": [
        (
            "df = dy\nfor f in reversed(backwards):\n    df = f(df)\ndx = df\nreturn dx",
            "^.4. dx: the direct path is missing",
        ),
        ("df = dy\nfor f in backwards:\n    df = f(df)\nreturn dy + df", "the steps are taken in the order of forward"),
        ("g = dy\nfor b in backwards[:0:-1]:\n    g = b(g)\nreturn dy + g", "the first step is left out"),
        ("return dy + backwards[0](dy)", "every step gets dy, not the gradient that the step after"),
    ],
    "bare_block": [
        ("return residual2_backward(residual1_backward(dy))", "the order is wrong: residual1's backward comes first"),
        ("return residual1_backward(dy) + residual2_backward(dy)", "added, not applied one after the other"),
    ],
    "layer_norm": [
        (
            "axes = tuple(range(dy.ndim - 1))\ng_gamma, g_beta, h = (dy * x_hat).sum(axes), dy.sum(axes), dy * gamma\n"
            "g = r * (h - h.mean(-1, keepdims=True) - x_hat * (h * x_hat).mean(-1, keepdims=True))\n"
            "return g, g_beta, g_gamma",
            "in each other's place",
        ),
        (
            "axes, n = tuple(range(dy.ndim - 1)), x.shape[-1]\ndx_hat = dy * gamma\n"
            "dvar = (dx_hat * (x - mu)).sum(axis=-1, keepdims=True) * -0.5 * r**2\n"
            "dmu = (-dx_hat * r).sum(axis=-1, keepdims=True)\n"
            "dx = dx_hat * r + dvar * 2 * (x - mu) / n + dmu / n\n"
            "return dx, (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)",
            "^dvar: the power in r .. 2 should be another number$",
        ),
    ],
    "swiglu": [
        (
            "s = 1 / (1 + np.exp(-g))\nslope = s * (1 - s)\nreturn dp * u * slope, dp * a",
            "^slope: the slope is that of the logistic function",
        )
    ],
    "log_softmax": [("return dz * (1 - np.exp(z))", "only the diagonal of the Jacobian is there")],
    "embedding": [
        ("d = np.zeros_like(weight)\nd[ids] = dy\nreturn d", "read twice has the last of its gradients, not the sum")
    ],
    "block": [
        (
            "dr = dy + norm2_backward(feed_forward_backward(dropout2_backward(dy)))\n"
            "dr = residual_mid_backward(dr)\n"
            "g = norm1_backward(attention_backward(dropout1_backward(dy)))\nreturn dr + g",
            "g: dy stands where the gradient of r belongs",
        )
    ],
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "name, body, pattern",
    [
        pytest.param(name, *entry, marks=pytest.mark.slow if entry is not some[-1] or name in LONG else ())
        for name, some in WRITTEN.items()
        for entry in some
    ],
)
def test_the_first_sentence_names_the_mistake(name, body, pattern, graded):
    verdict = graded(name, filled(body, name))
    assert verdict.status == "not right yet"
    assert re.search(pattern, verdict.mistake), str(verdict)
    assert not any("still wrong" in remark for remark in verdict.remarks)


LEADING = {
    "return rows(x).T @ rows(dy), dy @ weight.T, rows(dy).sum(axis=0)": "which order does forward take",
    "return dy @ weight.T, (rows(x).T @ rows(dy)).T, rows(dy).sum(axis=0)": "which index comes first",
    "return dy @ weight.T, rows(x).T @ rows(dy), rows(dy).sum(axis=0)[None]": "which sum keeps its axis",
    "return dy @ weight.T, rows(x).T @ rows(dy), dy": "which entries of y does one entry of bias reach",
    "dy @ weight.T": "end with return",
    "return da @ weight.T": "is it a part of dy",
    "return dy @ weight.T, rows(x).T @ rows(dy), rows(dy).sum(axis=0), dy": "which of them belongs neither to x nor to",
}


@pytest.mark.parametrize("body, question", LEADING.items())
def test_a_question_leads_from_a_shape_or_an_exception_to_its_cause(body, question, graded):
    assert question in graded("linear", filled(body, "linear")).question


def test_a_wrong_number_of_gradients_is_asked_about_and_names_the_argument_that_is_none(graded):
    body = "return dy @ weight.T, rows(x).T @ rows(dy), rows(dy).sum(axis=0)"
    assert graded("linear", filled(body, "linear")).sentence.endswith("one for each of x, weight. Here bias is None")
    question = graded("rotary", filled("return pairs(dy, layout)", "rotary")).question
    assert question == "backward returned 2 gradients: how do they become one array of the shape of x?"


@pytest.mark.slow
def test_a_hint_begins_with_a_question_on_the_mistake_and_starts_anew_for_another_one(graded, tmp_path):
    exercise = named_exercise("softmax")
    for body, question in (
        ("y * dy", "has no term in your sum"),
        ("y * (dy - (dy * dy).sum(axis=axis, keepdims=True))", "or the gradient of one"),
        ("y * (dy + (y * dy).sum(axis=axis, keepdims=True))", "grow"),
    ):
        hint = next_hint(tmp_path, exercise, graded("softmax", filled(f"return {body}")))
        assert hint.startswith("hint 1 of ") and question in hint, hint


@pytest.mark.parametrize("body", ["return y * dy.foo", "return y * len", "return None", "return 1 / 0"])
def test_no_hint_repeats_what_the_check_says(body, graded, tmp_path):
    verdict = graded("softmax", filled(body))
    hint = next_hint(tmp_path, SOFTMAX, verdict)
    assert verdict.sentence and verdict.sentence not in hint


def test_after_a_shape_error_between_two_lines_no_hint_is_about_one_of_them(graded, tmp_path):
    verdict = graded(
        "sum_and_share", filled("dS = (x * dy).sum(axis=-1)\ndx = S * dy + dS\nreturn dx", "sum_and_share")
    )
    hints = [next_hint(tmp_path, named_exercise("sum_and_share"), verdict) for _ in range(2)]
    assert "a sum that keeps its axis" in hints[0] and "each part of the failing line" in hints[1]
