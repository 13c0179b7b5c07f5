"""Hints and verdicts that were false or misled: each is a file that a student handed in."""

import ast
import re

import pytest
from solutions import edited, filled, solution

from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.hints import lines_of, next_hint


@pytest.fixture
def told(graded, tmp_path):
    """Return a function that grades a text as the file of an exercise, and returns the Verdict and all hints."""

    def judged(name, text):
        (tmp_path / ".hints.json").unlink(missing_ok=True)
        verdict, hints = graded(name, text), []
        while not hints or not hints[-1].endswith("(the last hint)"):
            hints.append(next_hint(tmp_path, named_exercise(name), verdict))
        return verdict, hints

    return judged


def test_no_row_says_that_a_value_is_not_followed_above_a_wrong_one(told):
    verdict, _ = told("cross_entropy", edited("cross_entropy", 1, ("(A * p - a)", "(p - a)")))
    assert {row.verdict for row in verdict.rows} <= {"right", "WRONG", "follows"}
    assert "not followed" not in str(verdict) and "nor need it be" not in str(verdict)


def test_a_wrong_line_above_a_blank_one_has_its_own_hint(told):
    verdict, hints = told("expression", cut(named_exercise("expression"), 0).replace("ds = ...", "ds = 2 * s"))
    assert "still blank" in verdict.sentence
    assert hints[0].startswith("hint 1 of") and "ds" in hints[0] and "dy" not in str(hints)


def test_a_wrong_line_below_a_blank_one_has_its_own_hint(told):
    text = cut(named_exercise("expression"), 0).replace("da, db = ...", "da, db = b * dc, 2 * a * dc")
    verdict, hints = told("expression", text)
    assert {row.name: row.verdict for row in verdict.rows} == {"ds": "blank", "da": "follows", "db": "WRONG"}
    assert verdict.sentence == "line 36 reads dc = ds, which is still blank"
    assert "db" in hints[0] and "ds" not in str(hints)


@pytest.mark.slow
def test_the_hint_on_a_wrong_value_without_a_name_is_about_its_own_line(told):
    verdict, hints = told("adamw", edited("adamw", 1, ("m_new / (1 - beta1**t)", "m_new / (1 - beta1 * t)")))
    assert verdict.first_wrong.name == "m_hat" and not verdict.first_wrong.kind
    assert "both averages begin at 0" in hints[0] and "decay" not in str(hints)


def test_a_value_without_a_number_is_said_if_the_textbooks_mends_the_gradient(told):
    edit = ("(dx_hat * x_hat).mean(axis=-1, keepdims=True)", "(dx_hat * x_hat).mean(axis=0)")
    verdict, _ = told("rms_norm", edited("rms_norm", 1, edit))
    assert verdict.first_wrong.sentence == "scale has shape (5, 6), and should have (2, 5, 1)"


@pytest.mark.slow
def test_lines_behind_a_wrong_array_follow_from_it_where_the_textbook_has_a_list(told):
    text = cut(named_exercise("shares"), 0)
    text = text.replace("J = ...", "J = np.array([[y1 * y1, -y1 * y2], [-y1 * y2, y2 * y2]])")
    text = text.replace("dx1 = ...", "dx1 = J[0, 0] * dy1 + J[1, 0] * dy2")
    text = text.replace("dx2 = ...", "dx2 = J[0, 1] * dy1 + J[1, 1] * dy2")
    verdict, _ = told("shares", text)
    assert {row.name: row.verdict for row in verdict.rows} == {"J": "WRONG", "dx1": "follows", "dx2": "follows"}
    assert verdict.first_wrong.sentence.startswith("J[0:2, 0:2] is [[")


@pytest.mark.parametrize(
    "name, body, names",
    [
        (
            "linear",
            "dx = dy @ weight.T\ndweight = rows(x).T @ rows(dy)\ndbias = rows(dy).sum(axis=0)",
            "dx dweight dbias",
        ),
        ("linear", "a = dy @ weight.T\nb = rows(x).T @ rows(dy)\nc = rows(dy).sum(0)", "dx dweight dbias"),
        ("sum_and_share", "dS = (x * dy).sum(axis=-1, keepdims=True)\ndx = S * dy + dS\nretu", "dx"),
        ("shares", "slope = y1 * y2\ndx1 = slope * (dy[0] - dy[1])\ndx2 = -dx1\nreturn dx2, dx1", "dx1 dx2"),
    ],
    ids=["no return", "under other names", "a typo in return", "exchanged"],
)
def test_a_right_value_that_is_not_returned_in_its_place_is_called_that(name, body, names, told):
    verdict, _ = told(name, filled(body, name))
    said = {row.name: row.sentence for row in verdict.rows if row.verdict == "WRONG"}
    assert said == dict.fromkeys(names.split(), "its value is right, but it is not returned in its place")


def test_the_hint_on_a_file_that_is_not_python_is_no_question_on_shapes(told):
    verdict, (hint,) = told("relu", cut(named_exercise("relu"), 0).replace("dx = ...", "dx = dy * (x > 0"))
    assert "not Python: '(' was never closed" in verdict.sentence and "until then, the file is not run" in hint


def test_a_line_that_is_wrong_in_another_case_is_not_said_to_have_a_right_value(told):
    body = "s = (dy * y).sum(axis=axis, keepdims=True)\ndx = y * (dy - s) * (1 if axis == -1 else 2)\nreturn dx"
    verdict, _ = told("softmax", filled(body, "softmax"))
    assert verdict.first_wrong.name == "dx" and "is right" not in verdict.first_wrong.sentence


def test_a_number_in_place_of_a_gradient_does_not_follow_from_a_wrong_line(told):
    verdict, _ = told(
        "neuron", filled("dz = dy * (1 - z**2)\ndx, dw, db = w * dz, x * dz, 1\nreturn dx, dw, db", "neuron")
    )
    rows = {row.name: row.verdict for row in verdict.rows}
    assert rows == {"dz": "WRONG", "dx": "follows", "dw": "follows", "db": "WRONG"}


@pytest.mark.slow
def test_a_line_that_reads_a_blank_tuple_of_axes_is_judged_with_the_textbooks(told):
    text = cut(named_exercise("layer_norm"), 0)
    for name, code in (("dbeta", "dy.sum(axis=positions)"), ("dgamma", "(dy * x).sum(axis=positions)")):
        text = text.replace(f"{name} = ...", f"{name} = {code}")
    verdict, _ = told("layer_norm", text)
    assert {row.name: row.verdict for row in verdict.rows if row.name in ("dbeta", "dgamma")} == {
        "dbeta": "right",
        "dgamma": "WRONG",
    }
    assert verdict.first_wrong.sentence == "x stands in place of x̂"


def test_an_exception_below_a_blank_line_is_said_at_its_own_line(told):
    text = cut(named_exercise("expression"), 0).replace("da, db = ...", "da, db = b * du, a * dv")
    verdict, _ = told("expression", text)
    assert "line 36: NameError: name 'dv' is not defined" in verdict.first_wrong.sentence


def test_shapes_that_do_not_fit_above_a_blank_line_have_their_own_hint(told):
    text = cut(named_exercise("attend"), 0).replace("dv = ...", "dv = weights * dy")
    verdict, hints = told("attend", text)
    assert "ValueError" in verdict.sentence and verdict.status == "begun"
    assert "(5,)" in hints[0] and "(4,)" in hints[0], hints


@pytest.mark.one_in(4)
@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_a_hint_asks_only_for_names_that_are_in_the_file(exercise):
    text = solution(exercise, 1)
    known = {*re.findall(r"\w+", text)}
    for line in lines_of(exercise):
        asked = re.match(r"which lines of the forward pass read (.*)\?", line.rungs(1, known)[0])
        if asked:
            assert known.issuperset(asked[1].split(" or "))
        assert line.rungs(1, set())[0] == "which values of forward does it depend on?"


def test_a_function_too_many_is_no_contribution_that_is_counted_twice(told):
    text = filled("dz = (1 - np.tanh(y) ** 2) * dy\nreturn w * dz, x * dz, dz", "neuron")
    verdict, hints = told("neuron", text)
    assert verdict.mistake == "(17) dz: tanh is too much"
    assert hints[0].endswith("does forward apply this function here?")
    _, hints = told("linear", edited("linear", 1, ("dx = dy", "dx = 2 * dy")))
    assert "does forward multiply or divide by this number" in hints[0]


@pytest.mark.slow
def test_a_forgotten_hook_of_the_block_is_named(told):
    text = edited("block", 1, ("residual_mid_backward(dr)", "dr"))
    verdict, hints = told("block", text)
    rows = [(row.name, row.verdict) for row in verdict.rows]
    assert rows == [("dn2", "right"), ("dr", "right"), ("dmid", "WRONG"), ("dn1", "follows"), ("dx", "follows")]
    assert "residual_mid's backward is skipped" in verdict.mistake and ".grad" not in str(verdict)
    assert "in which order did forward call its functions" in hints[0]


def test_no_hint_is_on_a_right_line_after_a_change_in_place(told):
    verdict, hints = told("softmax", filled("dy *= 2\nreturn y * (dy - (y * dy).sum(axis=axis, keepdims=True)) / 2"))
    assert verdict.mistake.startswith("backward changed dy in place")
    assert hints == [
        "hint 1 of 1: print what backward returns, and dy before and after it: which of them is not as it should be? "
        "(the last hint)"
    ]


def test_after_a_name_that_is_read_too_early_the_hints_are_on_the_failing_line(told):
    _, hints = told("expression", edited("expression", 1, ("du = dc = ds", "du = dc = db")))
    assert "(5) du, dc" in hints[1] and not any("(6)" in hint for hint in hints)


@pytest.mark.slow
def test_a_mistake_without_a_name_shows_its_place_and_four_of_its_numbers(told):
    text = edited(
        "multi_head_attention",
        1,
        ("split(w_o_backward(dy), self.d_head)", "split(2 * np.sort(w_o_backward(dy)), self.d_head)"),
    )
    verdict, _ = told("multi_head_attention", text)
    number = r"-?\d+\.\d* ?"
    block = rf"\[\[ ?{number}{number}\] \[ ?{number}{number}\]\]"
    assert re.search(
        rf"^\(4\) dheads: dheads\[1, \d, \d:\d, \d:\d\] is {block}, and should be {block}$", verdict.mistake
    )


@pytest.mark.slow
def test_the_numbers_beside_a_wrong_value_are_its_own(told):
    lines = "s * dscores @ k", "s * dscores.swapaxes(-1, -2) @ q"
    verdict, _ = told("attention", edited("attention", 1, *((line, f"2 * np.sort({line})") for line in lines)))
    for name in ("dq", "dk"):
        (row,) = (row for row in verdict.rows if row.name == name)
        assert (row.verdict, row.sentence.partition("[")[0]) == ("WRONG", name), str(verdict)


IN_OWN_STYLE = {  # (exercise, backward, the row of the mistake)
    "one name returned twice": (
        "shares",
        "a, b = dy\nslope = y1 * y2\ng = slope * (a - b)\nreturn g, g",
        ("dx2", "the sign is wrong"),
    ),
    "an array in place of another": (
        "low_rank",
        """
        G = (s * dy).reshape(-1, b.shape[1])
        H = h.reshape(-1, b.shape[0])
        gh = dy.reshape(-1, b.shape[1]) @ b.T
        return (gh @ a.T).reshape(x.shape), rows(x).T @ gh, H.T @ G""",
        ("gh", "dy.reshape(-1, b.shape[1]) stands where another array belongs"),
    ),
    "a sum left out": (
        "sink_softmax",
        """
        inner = np.sum(y * dy, -1, keepdims=True)
        gs = -(p * inner)
        gs = gs.reshape(len(sink), -1).sum(1)
        return y * (dy - inner), gs""",
        ("gs", "gs is not summed over one of its axes"),
    ),
    "a factor of a right value": (
        "attention",
        """
        g = weigh_backward(dy @ v.swapaxes(-1, -2))
        return g @ k, g.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ dy""",
        ("dq", "the scale is forgotten in dq and in dk"),
    ),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, body, expected", IN_OWN_STYLE.values(), ids=IN_OWN_STYLE)
def test_a_mistake_in_a_style_of_its_own_is_named_as_it_is(name, body, expected, told):
    verdict, _ = told(name, filled(body, name))
    assert (verdict.first_wrong.name, verdict.first_wrong.sentence) == expected, str(verdict)


LISTS = {  # (exercise, backward, {name: sentence} of the wrong rows)
    "in the returned tuple": (
        "neuron",
        "dz = (1 - y**2) * dy\nreturn [w_i * dz for w_i in w], x * dz, dz",
        {"dx": "dx is a list of 3, where an array of shape (3,) is expected"},
    ),
    "of two gradients": (
        "attend",
        """
        dv = weights[:, None] * dy
        dweights = [sum(dy * v[t]) for t in range(T)]
        total = sum(weights * dweights)
        dscores = [weights[t] * (dweights[t] - total) for t in range(T)]
        dq = [s * sum(dscores[t] * k[t, c] for t in range(T)) for c in range(D)]
        dk = [[s * dscores[t] * q[c] for c in range(D)] for t in range(T)]
        return dq, dk, dv""",
        {
            "dq": "dq is a list of 4, where an array of shape (4,) is expected",
            "dk": "dk is a list of 5, where an array of shape (5, 4) is expected",
        },
    ),
    "in an earlier line": (
        "sum_and_share",
        "dS = [(x * dy).sum(axis=-1, keepdims=True)]\ndx = S * dy + dS\nreturn dx",
        {"dS": "dS is a list of 1, where an array of shape (2, 3, 1) is expected"},
    ),
    "of a number": (
        "neuron",
        "dz = [(1 - y**2) * dy]\ndx, dw, db = w * dz, x * dz, dz\nreturn dx, dw, db",
        {"dz": "dz is a list of 1, where a number is expected"},
    ),
    "before an exception": (
        "softmax",
        "weighted_sum = [(y * dy).sum(axis=axis, keepdims=True)]\ndx = y * (dy + -weighted_sum)\nreturn dx",
        {"weighted_sum": "weighted_sum is a list of 1, where an array of shape (2, 5, 1) is expected"},
    ),
    "filled in a loop": (
        "neuron",
        "dz, dx = (1 - y**2) * dy, []\nfor w_i in w:\n    dx.append(w_i * dz)\nreturn [dx, x * dz, dz]",
        {"dx": "dx is a list of 3, where an array of shape (3,) is expected"},
    ),
}


@pytest.mark.parametrize("name, body, wrong", LISTS.values(), ids=LISTS)
def test_a_list_in_place_of_an_array_is_said_once_at_its_line(name, body, wrong, told):
    verdict, hints = told(name, filled(body, name))
    assert {row.name: row.sentence for row in verdict.rows if row.verdict == "WRONG"} == wrong, str(verdict)
    assert [row.equation for row in verdict.rows] == sorted(row.equation for row in verdict.rows)
    (only,) = hints
    assert "does this line need a list?" in only and next(iter(wrong)) in only
    assert all(str(verdict).count(sentence) == 1 for sentence in wrong.values())
    assert not verdict.sentence or "Error" in verdict.sentence


def test_a_list_is_said_at_its_line_while_others_are_blank(told):
    text = cut(named_exercise("attend"), 0)
    verdict, _ = told("attend", text.replace("dv = ...", "dv = [[p * d for d in dy] for p in weights]"))
    assert verdict.first_wrong.sentence == "dv is a list of 5, where an array of shape (5, 4) is expected"


def test_an_exception_in_a_part_of_a_module_has_the_names_of_the_file(told):
    text = edited("multi_head_attention", 1, ("k_backward(dk)", "k_backward(dq)"))
    verdict, hints = told("multi_head_attention", text)
    refused = text[: text.index("(through_step(")].count("\n") + 1
    called = text[: text.index("k_backward(dq)")].count("\n") + 1
    assert f"line {refused}, called at line {called}: ValueError: through_step: dy must have y's shape" in str(verdict)
    assert "identity" not in str(verdict) and "dq is an array (2, 4, 5, 8)" in hints[0]
    assert [(row.name, row.verdict) for row in verdict.rows if row.verdict != "right"] == [("dx", "WRONG")]


@pytest.mark.slow
def test_a_sentence_has_no_name_that_the_file_does_not_have(told):
    """At level 3 the equations, and with them the name dscores, are not given."""
    body = """
        of_v = np.array([[weights[t] * dy[c] for c in range(D)] for t in range(T)])
        outer = np.array([sum(dy[c] * v[t, c] for c in range(D)) for t in range(T)])
        aux = np.array([weights[t] * outer[t] for t in range(T)])
        of_q = np.array([s * sum(aux[t] * k[t, c] for t in range(T)) for c in range(D)])
        return of_q, np.array([[s * aux[t] * q[c] for c in range(D)] for t in range(T)]), of_v"""
    verdict, _ = told("attend", filled(body, "attend", 3))
    assert verdict.first_wrong.sentence == "a term is missing" and "dscores" not in str(verdict)


def test_values_that_are_assigned_within_an_expression_have_their_points(told):
    verdict, _ = told("fork", filled("return (dx := s * dy - np.cos(x) * (ds := x * dy))", "fork"))
    assert [(row.name, row.verdict) for row in verdict.rows] == [("ds", "right"), ("dx", "WRONG")]


FIRST_HINTS = {  # the first hint depends on the mistake
    "adamw": [
        ("theta - lr * weight_decay * theta", "theta - weight_decay * theta", "is at (1) decayed"),
        ("decayed - lr * m_hat", "decayed + lr * m_hat", "is at (6) theta_new"),
        ("m_new / (1 - beta1**t)", "m_new", "is at (4) m_hat"),
    ],
    "clipping": [
        ("scale  # (7)", "scale / 2  # (7)", "of its own, or all of them by one?"),
        ("math.inf else 1.0", "math.inf else 0.5", "the norm is below the limit"),
    ],
    "chosen": [
        ("before < top_p", "before <= top_p", "exactly `top_p` at one token"),
        ("u * P[-1] >= P", "u * P[-1] > P", "does the sum exceed it there"),
        ("np.argsort(-p)", "np.argsort(p)", "in which order do you look at the tokens"),
    ],
    "cosine_schedule": [
        ("lr * (step + 1)", "lr * step", "in which steps does the rate rise"),
        ("1 + math.cos", "1 - math.cos", "at which steps is the cosine 1"),
    ],
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name, right, wrong, hint", [(name, *one) for name, some in FIRST_HINTS.items() for one in some]
)
def test_the_first_hint_without_a_backward_pass_depends_on_the_mistake(name, right, wrong, hint, told):
    _, hints = told(name, edited(name, 1, (right, wrong)))
    assert hint in hints[0]


def test_a_line_behind_an_exception_follows_from_the_failing_one(told):
    """The failing value is NaN, and its true value is put in its place, also if it is a part of an array."""
    text = edited("attend", 1, ("weights[t] * (dweights[t] - total)", "D[t] * (dweights[t] - total)"))
    verdict, _ = told("attend", text)
    assert [(row.name, row.verdict) for row in verdict.rows[2:]] == [
        ("dscores", "WRONG"),
        ("dq", "follows"),
        ("dk", "follows"),
    ]
    assert ast.parse(text) and len(verdict.earned) == 4
