"""Grading: what a learner's file may do, what is refused, and that nothing else is graded."""

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from other_styles import BODIES
from test_learn import blank_filled, solution

from minitransformer import cli
from minitransformer.learn import check, plot
from minitransformer.learn.checking import Grader
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.hints import STATE, lines_of, next_hint
from minitransformer.learn.pictures import draw_class
from minitransformer.learn.running import train
from minitransformer.learn.updates import OTHERWISE
from minitransformer.learn.verdict import Verdict
from minitransformer.learn.watching import saved_files
from minitransformer.learn.workspace import start
from minitransformer.system.bounded import Bounded, Ended

SOFTMAX = named_exercise("softmax")


@pytest.fixture(scope="module")
def grader():
    with Grader() as grader:
        yield grader


@pytest.fixture
def graded(grader, tmp_path):
    """Return a function that returns the Verdict on an exercise whose backward has this body, or on a text."""

    def verdict(name, body="", *, level=1, text=None):
        exercise = named_exercise(name)
        text = blank_filled(cut(exercise, level), textwrap.indent(textwrap.dedent(body), " " * 8)) if body else text
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return grader.verdict(tmp_path, name)

    return verdict


RIGHT = "return y * (dy - (y * dy).sum(axis=axis, keepdims=True))"


def test_what_is_graded_is_the_file_and_never_the_package(graded):
    planted = "raise RuntimeError('this is the file')\n" + RIGHT
    assert graded("softmax", planted).sentence == "softmax.py, line 41: RuntimeError: this is the file"


@pytest.mark.parametrize(
    "body, said",
    [
        ("return np.zeros(10**13)", "softmax.py, line 41: "),
        ("import sys; sys.exit(3)", "softmax.py, line 41: SystemExit: 3"),
        ("import os; os._exit(3)", "softmax.py: it ended its process with status 3"),
        ("import ctypes; ctypes.string_at(0)", "softmax.py: it ended its process"),
        ("return backward(dy)", "softmax.py, line 41: RecursionError: "),
    ],
    ids=["huge", "exit", "exit at once", "crash", "recursion"],
)
def test_code_that_does_not_return_ends_its_check_with_a_line(body, said, graded):
    verdict = graded("softmax", body)
    assert verdict.status == "failed"
    assert verdict.sentence.startswith(said)
    assert "\n" not in verdict.sentence
    assert graded("softmax", RIGHT).is_solved  # and the next check is as any


def test_an_endless_loop_ends_after_a_while(tmp_path):
    (tmp_path / "softmax.py").write_text(blank_filled(cut(SOFTMAX, 1), "        while True: pass"), "utf-8")
    with Grader(seconds=0.2) as grader:
        assert grader.verdict(tmp_path, "softmax").sentence == "softmax.py: it did not end within 0.2 seconds"


def test_what_it_prints_is_shown_as_of_one_run_and_what_it_asks_for_is_nobodys(graded):
    assert graded("softmax", "print('x' * 10**6)\n" + RIGHT).printed == "x" * 500
    verdict = graded("softmax", "print('dy is', dy.shape)\nreturn dy @ dy")
    assert verdict.lines()[-1] == "   it prints: dy is (2, 5, 6)"
    assert graded("softmax", "input()\n" + RIGHT).sentence == "softmax.py, line 41: EOFError: EOF when reading a line"


@pytest.mark.parametrize(
    "text, said",
    [
        ("def softmax(x:\n", "softmax.py, line 1, column 12: not Python: '(' was never closed"),
        ("x = 1\0\n", "softmax.py: not Python"),
        ("x = 1\nreturn x\n", "softmax.py, line 2, column 1: not Python: 'return' outside function"),
        ("def f(x):\n    global x\n", "softmax.py, line 2, column 5: not Python: name 'x' is parameter and global"),
        (f"x = {'+'.join('1' * 20000)}\n", "softmax.py: not Python: "),
        (f"1\ndef softmax(x):\n    return {'-' * 600}x\n", "the code is nested too deeply to be examined"),
    ],
)
def test_a_file_that_is_no_python_is_a_line_with_its_place(text, said, graded):
    assert graded("softmax", text=text).sentence.startswith(said)


@pytest.mark.parametrize(
    "body, said",
    [
        ("import gradcheck", "line 41 imports gradcheck: your gradient is compared with its results"),
        ("import torch", "line 41 imports torch: it computes gradients automatically"),
        ("return softmax(x + dy)[0]", "line 41 calls softmax itself: backward must use the values saved by forward"),
    ],
)
def test_what_takes_the_gradient_from_elsewhere_is_refused_with_a_word(body, said, graded):
    verdict = graded("softmax", body)
    assert verdict.status == "refused"
    assert verdict.sentence.startswith(said)


RIGHT_TEXT = solution(SOFTMAX, 1)
BESIDE = {
    "a main program": """
if __name__ == "__main__":
    import torch
    from minitransformer import softmax as expected
    y, backward = softmax(np.ones((2, 3)))
    raise SystemExit(str(expected))
""",
    "a test": """
def test_softmax():
    import gradcheck
    x = np.random.randn(2, 3)
    y, backward = softmax(x)
    numeric = (softmax(x + 1e-6)[0] - y) / 1e-6
    gradcheck.check(softmax, x)
""",
    "a class of tests": """
class TestSoftmax:
    def test(self):
        super().__init__()
        self.forward = softmax(np.ones(3))
""",
    "an experiment": """
import gradcheck
from minitransformer.layers.softmax import softmax as theirs
x = y = dy = np.random.randn(2, 3)
y, backward = softmax(x)
print(backward(dy), theirs(x))
gradcheck.check(softmax, x)
""",
}


@pytest.mark.parametrize("beside", BESIDE)
def test_what_stands_beside_the_function_and_is_not_called_by_it_costs_nothing(beside, graded):
    for text in (RIGHT_TEXT, solution(SOFTMAX, 3)):
        verdict = graded("softmax", text=text + "\n\n" + BESIDE[beside])
        assert verdict.is_solved, verdict
        assert not verdict.uses_package


def test_a_file_may_begin_with_a_byte_order_mark_or_name_its_encoding(graded, tmp_path):
    wrong = RIGHT_TEXT.replace("dy - mean_dy", "dy")
    for text, solved in ((RIGHT_TEXT, True), (wrong, False)):
        verdict = graded("softmax", text="\ufeff" + text)
        assert verdict.is_solved is solved
        assert solved or verdict.mistake == graded("softmax", text=text).mistake != ""
    cookie = "# -*- coding: latin-1 -*-\n" + re.sub(r"[^\x00-\xff]", "?", RIGHT_TEXT)
    (tmp_path / "softmax.py").write_text(cookie + "# é\n", "latin-1")
    with Grader() as grader:
        assert grader.verdict(tmp_path, "softmax").is_solved
        (tmp_path / "softmax.py").write_bytes(b"\xff\xfe" + RIGHT_TEXT.encode("utf-16-le"))
        assert grader.verdict(tmp_path, "softmax").sentence.startswith("softmax.py cannot be decoded (")
        (tmp_path / "softmax.py").write_text(RIGHT_TEXT.replace("−", "-") + "# é\n", "latin-1", errors="replace")
        assert grader.verdict(tmp_path, "softmax").sentence.endswith("): save it as UTF-8")


@pytest.mark.parametrize(
    "helper",
    ["import torch\n\ndef helper(x):\n    return torch.sum(x)", "def helper(x):\n    return softmax(x)[0]"],
)
def test_functions_that_the_exercise_calls_are_looked_at(helper, graded):
    text = RIGHT_TEXT.replace("mean_dy = ", "mean_dy = helper(dy) - helper(dy) + ")
    verdict = graded("softmax", text=f"{text}\n\n{helper}\n")
    assert verdict.status == "refused"
    assert re.match(r"line \d+ (imports torch|calls softmax itself)", verdict.sentence)


def test_a_failure_of_the_code_at_module_level_is_reported_as_such(graded):
    line = RIGHT_TEXT.count("\n") + 1
    verdict = graded("softmax", text=f"{RIGHT_TEXT}1 / 0\n")
    assert verdict.sentence == f"softmax.py, line {line}, at module level: ZeroDivisionError: division by zero"
    verdict = graded("softmax", text=f"{RIGHT_TEXT}softmax(3)\n")
    assert re.match(rf"softmax\.py, line \d+, called at line {line}, at module level: Attr", verdict.sentence)
    verdict = graded("softmax", text=f"{RIGHT_TEXT}import os; os._exit(7)\n")
    assert verdict.sentence == "softmax.py: it ended its process with status 7, in the code at module level"


def test_an_endless_loop_at_module_level_is_said_to_be_there(tmp_path):
    (tmp_path / "softmax.py").write_text(f"{RIGHT_TEXT}while True: pass\n", "utf-8")
    with Grader(seconds=0.5) as grader:
        sentence = grader.verdict(tmp_path, "softmax").sentence
    assert sentence == "softmax.py: it did not end within 0.5 seconds, in the code at module level"


@pytest.mark.parametrize(
    "after",
    [
        "softmax = lambda x, *, axis=-1: (x, lambda dy: dy)",
        "globals()['softmax'] = lambda x, *, axis=-1: (x, lambda dy: dy)",
        "def other(x, *, axis=-1):\n    return x, lambda dy: dy\n\nsoftmax = other",
        "class softmax:\n    pass",
        "softmax = 3",
        "del softmax",
    ],
)
def test_what_takes_the_name_of_the_function_later_is_not_graded_in_its_place(after, graded):
    verdict = graded("softmax", text=f"{RIGHT_TEXT}\n{after}\n")
    assert verdict.status == "failed"
    assert re.fullmatch(r"softmax is reassigned after its definition at line \d+", verdict.sentence)


@pytest.mark.parametrize(
    "found",
    [
        "from minitransformer import softmax as theirs",
        "import minitransformer.layers.softmax; theirs = minitransformer.layers.softmax.softmax",
        "import importlib; theirs = importlib.import_module('minitransformer.layers.softmax').softmax",
        "import sys; theirs = vars(sys.modules['minitransformer.layers.softmax'])['softmax']",
        "import minitransformer; theirs = getattr(minitransformer, 'soft' + 'max')",
        "theirs = __import__('minitransformer').fast.softmax",
        "from minitransformer import Softmax; theirs = lambda x, axis: Softmax(axis)(x)",
        "from minitransformer.layers import softmax as m; globals().update(vars(m)); theirs = globals()['softmax']",
    ],
)
def test_code_that_calls_the_packages_own_function_is_graded_and_its_row_says_so(found, graded):
    body = f"{found}\nreturn theirs(x, axis=axis)[1](dy)"
    verdict = graded("softmax", body)
    assert verdict.is_solved
    assert re.match(r"line 4[12] calls minitransformer\.[\w.]*softmax", verdict.uses_package)
    assert f"   uses the package's answer: {verdict.uses_package}" in str(verdict).splitlines()
    assert verdict.mistake == "uses the package's answer"
    wrong = graded("softmax", body.replace("return ", "return 2 * "))
    assert wrong.status == "not right yet"
    assert wrong.mistake.endswith("; uses the package's answer")


def test_an_update_that_calls_the_packages_own_is_told_too(graded):
    text = solution(named_exercise("adamw"), 1)
    assert not graded("adamw", text=text).uses_package
    calls = (
        "    from minitransformer import optim\n    return optim.adamw(theta, g, m, v, lr=lr, betas=betas, eps=eps, "
    )
    calls += "weight_decay=weight_decay, t=t)\n"
    body = re.sub(r"(?s)(\n    decayed = .*)", lambda m: "\n" + calls, text)
    assert "line " in graded("adamw", text=body).uses_package


def test_a_right_gradient_of_another_name_has_its_numbered_row(graded):
    text = solution(named_exercise("linear"), 0)
    for old, new in (("dweight", "dW"), ("dbias", "db"), ("rows(dy).sum(axis=0)", "rows(dy).mean(axis=0)")):
        assert old in text
        text = text.replace(old, new)
    rows = graded("linear", text=text).rows
    assert [(row.equation, row.verdict) for row in rows if row.name == "dweight"] == [("(3)", "right")]
    assert [row.name for row in rows if row.verdict == "WRONG"] == ["db"]


def test_lists_in_the_place_of_tuples_are_right(graded):
    text = solution(named_exercise("layer_norm"), 3)
    text = text.replace("return dx, dgamma, dbeta", "return [dx, dgamma, dbeta]")
    assert graded("layer_norm", text=text).is_solved
    assert graded("layer_norm", text=text.replace("return y, backward", "return [y, backward]")).is_solved
    wrong = graded("layer_norm", text=text.replace("dx_hat - shift - x_hat", "dx_hat - x_hat"))
    assert wrong.mistake == "dx: the path through the mean is missing"


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        (
            "softmax",
            "np.exp(x - finite_max(x, axis))",
            "np.exp(x)",
            "1,000 times as large, 14 of 60 entries of y are nan",
        ),
        (
            *("softmax", "np.exp(x - finite_max(x, axis))", "np.exp(x - x.real.max(axis=axis, keepdims=True))"),
            "of which some entries are −∞, 6 of 60 entries of y are nan",
        ),
        ("log_softmax", "x - finite_max(x, axis)", "x * 1.0", "1,000 times as large, "),
        ("cross_entropy", "log_softmax(logits)", "naive(logits)", "1,000 times as large, 1 of 1 entries of y are nan"),
        ("silu", "x * sigma", "x * np.exp(x) / (1 + np.exp(x))", "1,000 times as large, "),
    ],
)
def test_at_level_3_a_forward_pass_must_be_stable_where_the_textbooks_is(name, old, new, said, graded):
    text = solution(named_exercise(name), 3)
    assert old in text
    text = text.replace(old, new)
    if "naive" in new:
        text += "\n\ndef naive(x):\n    e = np.exp(x)\n    s = e.sum(axis=-1, keepdims=True)\n"
        text += "    return np.log(e / s), lambda dy: dy - e / s * dy.sum(axis=-1, keepdims=True)\n"
    verdict = graded(name, text=text)
    assert verdict.status == "failed"
    assert verdict.sentence.startswith(f"forward is not stable: for inputs {said}"), verdict
    assert graded(name, text=text.replace("level 3", "level 1")).status == "refused"


def test_a_forward_pass_that_fails_for_extreme_inputs_alone_is_told_for_which(graded):
    text = solution(SOFTMAX, 3).replace("    e = np.exp", "    assert abs(x).max() < 700\n    e = np.exp")
    verdict = graded("softmax", text=text)
    assert verdict.status == "failed"
    assert re.fullmatch(
        r"softmax\.py, line \d+: AssertionError, for inputs 1,000 times as large \(softmax\)", verdict.sentence
    )


def test_a_mistake_that_takes_too_long_to_explain_is_a_verdict_all_the_same(tmp_path):
    text = solution(named_exercise("layer_norm"), 1).replace("dx_hat - shift - x_hat * scale", "dx_hat - x_hat * scale")
    (tmp_path / "layer_norm.py").write_text(text, "utf-8")
    with Grader(explanation=0.001) as grader:
        verdict = grader.verdict(tmp_path, "layer_norm")
        assert verdict.status == "not right yet"
        assert [row.name for row in verdict.rows if row.verdict == "WRONG"] == ["dx"]
        assert verdict.remarks[-1] == "the explanation is missing: it did not end within 0.001 seconds"
    with Grader(seconds=5) as grader:
        assert grader.verdict(tmp_path, "layer_norm").mistake == "(7) dx: the path through the mean is missing"


def test_code_that_forks_prints_verdicts_or_raises_long_texts_is_graded_as_any(graded):
    fork = "import os, time\nif os.fork() == 0:\n    time.sleep(1000)\n"
    assert graded("softmax", fork + RIGHT).is_solved
    assert graded("softmax", fork + "return dy").status == "not right yet"
    forged = json.dumps(Verdict("softmax", "solved", 1).to_json())
    write = "import os, contextlib\nfor k in range(99):\n    with contextlib.suppress(OSError):\n"
    write += f"        os.write(k, b'\\n' + {forged!r}.encode() + b'\\n')\n"
    assert graded("softmax", write + "return dy").status == "not right yet"
    assert graded("softmax", write + RIGHT).is_solved
    verdict = graded("softmax", "raise ValueError('x' * 5_000_000)")
    assert len(verdict.sentence) < 600
    assert verdict.sentence.startswith("softmax.py, line 41: ValueError: xxx")


def test_another_forward_pass_is_refused_but_at_level_3(graded):
    text = solution(SOFTMAX, 1).replace("y = e / sum_or_one(e, axis)", "y = 0.9 * e / sum_or_one(e, axis)")
    assert graded("softmax", text=text).sentence.startswith("softmax was changed outside backward")
    verdict = graded("softmax", text=text.replace("level 1", "level 3"))
    assert verdict.sentence == "forward: 60 of 60 entries of y are wrong (softmax)"


@pytest.mark.parametrize(
    "end, said",
    [
        ("return y", "softmax must return the pair (y, backward)"),
        ("return y[0], backward", "forward: y has shape (5, 6), expected (2, 5, 6) (softmax)"),
        ("return y, None", "softmax must return the pair (y, backward)"),
        ("return None, backward", "forward: y has shape (), expected (2, 5, 6)"),
    ],
)
def test_a_forward_pass_that_returns_something_else_is_a_line(end, said, graded):
    text = solution(SOFTMAX, 3).replace("return y, backward", end)
    verdict = graded("softmax", text=text)
    assert verdict.status == "failed"
    assert said in verdict.sentence, verdict.sentence


def test_a_forward_pass_of_ones_own_is_right_at_level_3(graded):
    text = solution(named_exercise("relu"), 3).replace("np.where(off, 0, x)", "np.maximum(x, 0)")
    assert graded("relu", text=text).is_solved  # which takes no complex numbers


def test_a_class_keeps_its_forward_and_may_have_other_methods(graded):
    text = solution(named_exercise("feed_forward"), 1)
    assert graded("feed_forward", text=text + "\n    def mine(self):\n        return 1\n").is_solved
    changed = graded("feed_forward", text=text.replace("self.up(x)", "self.up(2 * x)"))
    assert changed.sentence.startswith("FeedForward.forward was changed outside backward")
    again = graded("feed_forward", text=text.replace("dx = up_backward(dh)", "dx = self.forward(dy)[0]"))
    assert again.sentence.startswith("line 61 calls forward again")


def test_a_file_may_import_what_lies_beside_it_as_it_is_now(graded, tmp_path):
    for factor, solved in ((2, False), (1, True)):
        (tmp_path / "helper.py").write_text(f"factor = {factor}\n")
        assert graded("softmax", "from helper import factor\n" + RIGHT + " * factor").is_solved is solved
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "softmax.py"]


def test_formatting_and_comments_change_nothing(graded):
    text = solution(SOFTMAX, 0).replace(
        "e = np.exp(x - finite_max(x, axis))", "e = np.exp(\n        x - finite_max(x, axis)\n    )"
    )
    assert graded("softmax", text=text).is_solved


@pytest.mark.parametrize(
    "name, body, said",
    [
        ("softmax", "dy *= 2\n" + RIGHT, "backward changed dy in place: 60 entries"),
        ("softmax", "dx = dy", "backward returned nothing, expected an array: one for x"),
        ("softmax", "return dy[0]", "dx has shape (5, 6), but x has (2, 5, 6)"),
        ("softmax", "return dy, dy", "backward returned 2 gradients, expected 1: one for x"),
        ("unembedding", "return dy.reshape(-1, 11).T @ x.reshape(-1, 6), dy @ weight", "dx has shape (11, 6), but x"),
    ],
)
def test_faults_of_the_contract_come_first(name, body, said, graded):
    assert graded(name, body).sentence.startswith(said)


def test_a_mistake_is_told_by_its_line(graded):
    text = solution(named_exercise("layer_norm"), 0)
    verdict = graded("layer_norm", text=text.replace("dx_hat - shift - x_hat * scale", "dx_hat - x_hat * scale"))
    assert [(row.equation, row.name, row.verdict) for row in verdict.rows] == [
        *(("(6)", name, "right") for name in ("dbeta", "dgamma", "dx_hat")),
        ("(7)", "dx", "WRONG"),
    ]
    assert verdict.mistake.startswith("(7) dx: ")


def test_a_line_without_a_number_has_that_of_its_equation_and_what_follows_is_said_to(graded):
    text = re.sub(r"  # \(.*", "", solution(named_exercise("layer_norm"), 1))
    verdict = graded("layer_norm", text=text.replace("dx_hat = dy * gamma", "dx_hat = dy"))
    assert [(row.equation, row.name, row.verdict) for row in verdict.rows[-2:]] == [
        ("(6)", "dx_hat", "WRONG"),
        ("(7)", "dx", "follows"),
    ]
    assert str(verdict).splitlines()[4] == "   (7) dx      follows from dx_hat"


def test_of_two_mistakes_in_an_update_none_is_said_to_follow_from_the_other(graded):
    text = solution(named_exercise("adamw"), 0)
    for old, new in (("theta - lr * weight_decay", "theta - weight_decay"), ("(1 - beta2) * g**2", "(1 - beta2) * g")):
        assert old in text
        text = text.replace(old, new)
    first, *rows = graded("adamw", text=text).rows
    assert first.name == "decayed" and "a factor is missing" in first.sentence
    assert [(row.name, row.verdict, row.sentence) for row in rows] == [
        ("m_new", "right", ""),
        ("v_new", "WRONG", OTHERWISE),
        ("m_hat", "right", ""),
        ("v_hat", "follows", "from v_new"),
        ("theta_new", "follows", "from decayed and v_hat"),
    ]


def test_a_name_is_not_said_twice(graded):
    body = "dweight = np.zeros_like(weight)\nnp.add.at(dweight, ids, 1.0)  # (2)\nreturn dweight"
    assert graded("embedding", body).mistake.count("dweight") == 1


def test_who_puts_something_else_in_numpys_place_is_told_so_and_the_next_check_is_as_any(graded):
    for change in ("np.abs = None", "np.random.default_rng = None", "np.ndarray = list"):
        verdict = graded("softmax", f"{change}\n{RIGHT}")
        place = f"numpy.{change.partition(' ')[0][3:]}"
        assert verdict.sentence == f"softmax.py replaces {place}, which the grader needs"
        assert graded("softmax", RIGHT).is_solved
    left = "import os, warnings; np.seterr(all='raise'); warnings.simplefilter('error'); os.chdir('/')\n"
    assert graded("softmax", left + RIGHT).is_solved
    settings = "import os, warnings; print(np.geterr()['under'], warnings.filters[0][0], os.getcwd(), sep='|')\n"
    assert graded("softmax", left + RIGHT).is_solved
    assert graded("softmax", settings + RIGHT).printed.strip().split("|")[::2] == ["ignore", str(Path.cwd())]


def test_right_only_where_gamma_is_1_or_nothing_is_masked_is_wrong(graded):
    text = solution(named_exercise("layer_norm"), 1).replace("dx_hat = dy * gamma", "dx_hat = dy")
    assert graded("layer_norm", text=text).status == "not right yet"
    text = solution(named_exercise("attention"), 1)
    verdict = graded("attention", text=text.replace("on_weights_backward(dused)", "dused"))
    assert verdict.remarks[-1].startswith("right on attention; attention, square")
    assert "Wrong on attention, dropout" in verdict.remarks[-1]


def test_right_only_for_so_many_axes_is_wrong(graded):
    text = solution(named_exercise("layer_norm"), 0)
    verdict = graded("layer_norm", text=text.replace("tuple(range(dy.ndim - 1))", "(0, 1)"))
    assert verdict.sentence == "right for shape (2, 5, 6), wrong for (1, 2, 5, 6): allow any number of leading axes"


def test_blanks_that_are_left_are_listed_and_the_rest_is_looked_at(graded):
    text = (
        cut(named_exercise("linear"), 0)
        .replace("dx = ...", "dx = dy @ weight.T")
        .replace("dbias = ...", "dbias = dy[0, 0]")
    )
    verdict = graded("linear", text=text)
    assert verdict.status == "begun"
    assert [(row.name, row.verdict) for row in verdict.rows] == [
        ("dx", "right"),
        ("dweight", "blank"),
        ("dbias", "WRONG"),
    ]


def test_a_line_that_reads_what_is_still_blank_is_told_so(graded, tmp_path):
    text = cut(named_exercise("feed_forward"), 0).replace("dx = ...", "dx = up_backward(dh)")
    verdict = graded("feed_forward", text=text)
    assert (verdict.status, verdict.sentence) == ("begun", "line 62 reads dh, which is still blank")
    assert [row.name for row in verdict.rows] == ["da", "dh"]
    text = cut(named_exercise("multi_head_attention"), 0).replace("dheads = ...", "dheads = dy")
    verdict = graded("multi_head_attention", text=text)
    assert verdict.sentence == "line 103 is still blank"
    hint = next_hint(tmp_path, named_exercise("multi_head_attention"), verdict)
    assert hint.startswith("hint 1 of 1: dattended, line 102: which lines of the forward pass read attended?")


def test_a_gradient_that_is_float64_for_float32_is_right_with_a_remark(graded):
    verdict = graded("softmax", "return np.float64(1) * y * (dy - (y * dy).sum(axis=axis, keepdims=True))")
    assert verdict.is_solved
    assert verdict.remarks[0].startswith("for float32 inputs dx is float64")


def test_a_missing_file_and_an_unknown_exercise_are_lines(grader, tmp_path):
    assert grader.verdict(tmp_path, "softmax").status == "not there"
    with pytest.raises(ValueError, match="there is no exercise 'softmaxx'; did you mean softmax"):
        grader.verdict(tmp_path, "softmaxx")


def test_check_shows_a_table_in_a_notebook(tmp_path):
    start(tmp_path, [SOFTMAX], 0)
    (tmp_path / "softmax.py").write_text(solution(SOFTMAX, 0).replace("dy - mean_dy", "dy - 2 * mean_dy"), "utf-8")
    verdict = check("softmax", tmp_path)
    assert "<td" in verdict._repr_html_()
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_a_process_that_is_asked_again_after_it_ended_is_another():
    with Bounded("minitransformer.learn.grading", megabytes=500) as process:
        process.begin()
        process.process.kill()
        with pytest.raises(Ended, match="it ended its process: SIGKILL"):
            process.ask({"file": "x", "name": "softmax"}, seconds=5)
        assert process.ask({"file": "x/softmax.py", "name": "softmax"}, seconds=20)["status"] == "not there"


@pytest.mark.parametrize(
    "old, new, said",
    [
        (
            "dy - mean_dy",
            "dy",
            "the sum over y · dy is not subtracted",
        ),  # a mistake of learners, before the repair of the line
        ("y * (dy - mean_dy)", "y * (dy - mean_dy) ** 3", "(dy - mean_dy) ** 3 stands where dy - mean_dy belongs"),
        ("y * (dy - mean_dy)", "np.sin(y * (dy - mean_dy))", "sin is too much"),
    ],
)
def test_a_mistake_is_named_as_learners_make_it_or_by_its_line(graded, old, new, said):
    verdict = graded("softmax", text=solution(SOFTMAX, 0).replace(old, new))
    assert said in verdict.mistake, verdict.mistake


def test_gradients_that_are_returned_in_each_others_place_are_told_so_and_their_lines_are_right(graded):
    text = solution(named_exercise("layer_norm"), 0).replace("return dx, dgamma, dbeta", "return dx, dbeta, dgamma")
    verdict = graded("layer_norm", text=text)
    assert [row.verdict for row in verdict.rows[:4]] == ["right"] * 4
    assert verdict.mistake == "(6) dgamma: dgamma and dbeta are returned in each other's place"


def test_a_line_without_a_number_is_told_in_the_whole_sentence(graded):
    text = re.sub("  # .*", "", solution(SOFTMAX, 1)).replace("y * (dy - mean_dy)", "y * dy * mean_dy")
    assert graded("softmax", text=text).mistake == "(3) dx: dx is not linear in dy: for 2 dy it is not twice as large"


def test_what_readme_shows_is_what_is_said(graded, tmp_path):
    exercise = named_exercise("layer_norm")
    verdict = graded("layer_norm", text=solution(exercise, 0).replace(" - x_hat * scale", ""))
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert f"$ .venv/bin/minitransformer learn check layer_norm\n{verdict}\n" in readme
    assert f"$ .venv/bin/minitransformer learn hint layer_norm\n{next_hint(tmp_path, exercise, verdict)}\n" in readme


# Hints


def test_hints_go_up_a_ladder_and_never_show_a_line_of_code(tmp_path):
    for exercise in EXERCISES:
        untouched, seen = Verdict(exercise.name, "not begun", 1), []
        while not seen or seen[-1] != (hint := next_hint(tmp_path, exercise, untouched)):
            seen.append(hint if seen else next_hint(tmp_path, exercise, untouched))
        assert len(seen) == len(set(seen)) >= 2, seen
        assert "the equation is" in seen[-1]
        assert all(lines_of(exercise)[0].number in hint for hint in seen)
        assert "np." not in "".join(seen)
        assert "@" not in "".join(seen)


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
    start(tmp_path / "learn", [named_exercise(name) for name in ("softmax", "layer_norm", "relu")], 0)
    (tmp_path / "learn/softmax.py").write_text(solution(SOFTMAX, 0), "utf-8")
    wrong = solution(named_exercise("layer_norm"), 0).replace("dy.sum(axis=positions)", "dy.mean(axis=positions)")
    (tmp_path / "learn/layer_norm.py").write_text(wrong, "utf-8")
    return tmp_path / "learn"


def test_the_commands_tell_where_a_learner_is(folder, capsys):
    assert cli.main(["learn"]) == 0
    assert capsys.readouterr().out == (
        "1 of 3 solved in learn\n"
        "next: learn/layer_norm.py (not right yet), then: minitransformer learn check layer_norm\n"
    )
    assert cli.main(["learn", "check"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("layer_norm: not right yet\n")
    assert out.endswith("softmax: right (level 0)\n")
    assert "(6) dbeta   WRONG: a mean over all positions stands in place of the sum" in out
    assert cli.main(["learn", "hint"]) == 0
    assert capsys.readouterr().out.startswith("hint 1 of 3: the first mistake is at (6) dbeta")


@pytest.mark.slow
def test_progress_is_a_table_and_a_check_of_what_is_right_ends_with_0(folder, capsys):
    assert cli.main(["learn", "check", "softmax"]) == 0
    assert cli.main(["learn", "progress"]) == 0
    assert capsys.readouterr().out.endswith("relu        not begun\n\n1 of 3 solved\n")


def test_without_a_folder_the_command_says_how_to_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn"]) == 0
    assert "`minitransformer learn start`" in capsys.readouterr().out
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
    assert looks[4:] == [None, None, "", None, None, "x = 2\n", None]  # what is empty is not saved yet


def test_a_model_learns_with_the_learners_functions_in_it(tmp_path):
    names = ["linear", "softmax", "attention", "layer_norm", "block", "adamw", "gelu", "cross_entropy"]
    for name in names:
        exercise = named_exercise(name)
        text = cut(exercise, 1)
        for body in BODIES[name]:
            text = blank_filled(text, body)
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
    said = []
    calls, written = train(tmp_path, names, style="gpt", steps=3, seed=0, say=said.append)
    assert all(calls.values())
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
    with pytest.raises(ValueError, match=r"silu\.py, line 30: NameError: name 'sigmoid' is not defined"):
        plot("silu", tmp_path)


def test_a_class_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    figure = draw_class([("softmax", 3, 5, "(3) dx: " + "long " * 50, 2), ("relu", 5, 5, "", 0)])
    assert [text.get_text()[:10] for text in figure.axes[0].texts] == ["2: (3) dx:", ""]


TOML = """
name = "double"
title = "twice"
source = "double.py"
function = "double"

[[cases]]
name = "double"
inputs = {x = [2, 3]}
options = {by = 3.0}
"""
OWN = '''
def double(x, *, by=2.0):
    """y = by · x (1)."""
    y = by * x  # (1)

    def backward(dy):
        dx = by * dy  # (2)
        return dx

    return y, backward
'''


def test_a_teachers_own_exercise_is_a_function_and_a_few_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "double.toml").write_text(TOML, "utf-8")
    (tmp_path / "double.py").write_text(OWN, "utf-8")
    assert cli.main(["learn", "start", "--exercise", "double.toml", "--level", "0"]) == 0
    mine = tmp_path / "learn/double.py"
    assert "by * dy" not in "".join(path.read_text("utf-8") for path in mine.parent.iterdir())
    assert check("double", "learn").status == "not begun"
    mine.write_text(mine.read_text("utf-8").replace("dx = ...", "dx = 2 * dy"), "utf-8")
    assert check("double", "learn").status == "not right yet"
    mine.write_text(mine.read_text("utf-8").replace("dx = 2 * dy", "dx = dy * by"), "utf-8")
    assert check("double", "learn").is_solved
    mine.write_text(mine.read_text("utf-8").replace("y = by * x", "y = x"), "utf-8")
    assert check("double", "learn").status == "refused"
    (tmp_path / "double.toml").write_text(TOML.replace("[2, 3]", "2"), "utf-8")
    assert cli.main(["learn", "start", "--exercise", "double.toml"]) == 1
    assert "double.toml: the shape of x must be a list of positive integers, not 2" in capsys.readouterr().err


def test_ctrl_c_ends_a_watch_with_a_line(folder):
    command = [sys.executable, "-m", "minitransformer", "learn", "watch"]
    with subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"watching learn: ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"minitransformer: interrupted\n")
