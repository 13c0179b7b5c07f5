"""The points of a solution are those of its mathematics, whatever its names and its form."""

import ast
import sys

import pytest
from solutions import backwards, edited, filled, solution
from typical_mistakes import MISTAKES

from minitransformer.learn.cutting import statements_of
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.explaining import equation_numbers
from minitransformer.learn.grading_server import grade
from minitransformer.module import plain

OF_GAMMA_AND_BETA = "(dy * x_hat).reshape(-1, x.shape[-1]).sum(0), dy.reshape(-1, x.shape[-1]).sum(0)"
STYLES = {  # layer norm with one of the three paths forgotten
    "the names of the textbook": f"""
        dx_hat = dy * gamma
        scale = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = r * (dx_hat - x_hat * scale)
        return dx, {OF_GAMMA_AND_BETA}""",
    "other names": f"""
        dxh = gamma * dy
        g = r * (dxh - x_hat * np.mean(dxh * x_hat, -1, keepdims=True))
        return g, {OF_GAMMA_AND_BETA}""",
    "one expression": f"""
        return r * (dy * gamma - x_hat * (dy * gamma * x_hat).mean(-1, keepdims=True)), {OF_GAMMA_AND_BETA}""",
    "sums": f"""
        h, C = gamma * dy, x.shape[-1]
        return r / C * (C * h - x_hat * (h * x_hat).sum(-1, keepdims=True)), {OF_GAMMA_AND_BETA}""",
    "the other order of factors": f"""
        dx = dy * r * gamma - r * x_hat * (dy * x_hat * gamma).mean(-1, keepdims=True)
        return dx, {OF_GAMMA_AND_BETA}""",
    "einsum": f"""
        h = np.einsum("...c,c->...c", dy, gamma)
        dx = r * h - r * x_hat * np.einsum("...c,...c->...", h, x_hat)[..., None] / x.shape[-1]
        return dx, {OF_GAMMA_AND_BETA}""",
    "a loop": """
        dx, dgamma, dbeta = np.zeros_like(x), np.zeros_like(gamma), np.zeros_like(beta)
        for i in np.ndindex(x.shape[:-1]):
            h = dy[i] * gamma
            dgamma += dy[i] * x_hat[i]
            dbeta += dy[i]
            dx[i] = r[i] * (h - x_hat[i] * (h * x_hat[i]).mean())
        return dx, dgamma, dbeta""",
    "in place": f"""
        d = dy * gamma
        d -= x_hat * (d * x_hat).mean(axis=-1, keepdims=True)
        d *= r
        return d, {OF_GAMMA_AND_BETA}""",
    "a helper": f"""
        def mean(a):
            return a.mean(axis=-1, keepdims=True)

        step = lambda d: r * (d - x_hat * mean(d * x_hat))
        return step(dy * gamma), {OF_GAMMA_AND_BETA}""",
    "one name for all": """
        axes = tuple(range(dy.ndim - 1))
        d, b, g = dy * gamma, dy.sum(axes), (x_hat * dy).sum(axes)
        d = (d - x_hat * (d * x_hat).mean(-1)[..., None]) * r
        return [d, g, b]""",
}


def points(verdict):
    return len(verdict.earned), len(equation_numbers(named_exercise(verdict.name)))


@pytest.fixture
def first(tmp_path, monkeypatch):
    """Return a function that grades a text as the file of an exercise, without an explanation."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the folder is added

    def verdict(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        with plain():
            return next(grade(tmp_path / f"{name}.py", name))

    return verdict


def test_axes_that_are_moved_the_wrong_way_are_noticed(first):
    """In three axes, moving the second one to the end is its own inverse."""
    body = """
    p, g = np.moveaxis(y, axis, -1), np.moveaxis(dy, axis, -1)
    dx = p * (g - (p * g).sum(axis=-1, keepdims=True))
    return np.moveaxis(dx, axis, -1)"""
    assert not first("softmax", filled(body)).is_solved


def lost(verdict):
    return {*equation_numbers(named_exercise(verdict.name))} - {*verdict.earned}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("body", STYLES.values(), ids=STYLES)
def test_one_forgotten_path_costs_one_point_in_each_style(body, first):
    verdict = first("layer_norm", filled(body, "layer_norm"))
    assert lost(verdict) == {"dx"}
    assert [row.verdict for row in verdict.rows if row.name in ("dbeta", "dgamma", "dx_hat")] == ["right"] * 3


# (exercise, right code, wrong code, the names that lose their points)
ONE_ERROR = [
    ("layer_norm", "dbeta = dy.sum(axis=positions)", "dbeta = dy.sum(axis=0)", {"dbeta"}),
    ("layer_norm", "shift = dx_hat.mean(axis=-1, keepdims=True)", "shift = dx_hat.mean(axis=-1)", {"dx"}),
    ("layer_norm", "shift - x_hat * scale", "shift + x_hat * scale", {"dx"}),
    ("layer_norm", "dx_hat = dy * gamma", "dx_hat = dy", {"dx_hat"}),
    ("layer_norm", "dx_hat = dy * gamma", "dx_hat = dy @ gamma @ gamma", {"dx_hat"}),
    ("layer_norm", "dx_hat = dy * gamma", "dx_hat = ...", {"dx_hat"}),
    ("layer_norm", "dx_hat = dy * gamma", "dx_hat = 1 / 0", {"dx_hat"}),
    ("layer_norm", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma", {"dbeta", "dgamma"}),
    ("layer_norm", "return dx, dgamma, dbeta", "return dx, dgamma", {"dbeta"}),
    ("attention", "dscores = weigh_backward(dweights)", "dscores = dweights", {"dscores"}),
    ("attention", "dweights = dy @ v.swapaxes(-1, -2)", "dweights = dy @ v", {"dweights"}),
    ("attention", "dscores.swapaxes(-1, -2) @ q", "dscores @ q", {"dk"}),
    ("linear", "dbias = rows(dy).sum(axis=0)", "dbias = dy", {"dbias"}),
    ("linear", "dx = dy @ weight.T", "dx = dy @ weight", {"dx"}),
    ("neuron", "dz = (1 - y**2) * dy", "dz = (1 - y) * dy", {"dz"}),
    ("neuron", "w * dz, x * dz, dz", "w * dz, x * dz, y / y", {"db"}),
    ("swiglu", "da = dp * u", "da = dp", {"da"}),
    ("gelu", "3 * 0.044715", "0.044715", {"u_slope"}),
    ("cross_entropy", "A = a.sum(axis=-1, keepdims=True)", "A = a.mean(axis=-1, keepdims=True)", {"A"}),
    ("feed_forward", "dh = activation_backward(da)", "dh = da", {"dh"}),
    ("heads", "dx = dq @ w_q.T + dk", "dx = dk", {"dx"}),
    ("tied", "dx = (1 - h**2) * dh", "dx = (1 - h) ** 2 * dh", {"dx"}),
    ("one_page", "dPhi = da * h ", "dPhi = da ", {"dPhi"}),
    ("one_page", "dheads = split(dmerged, B, H)", "dheads = split(dmerged, H, B)", {"dheads"}),
    ("whole_model", "dr = dy + dr_n", "dr = dr_n", {"dr"}),
    ("adamw", "v_new = beta2 * v + (1 - beta2) * g**2", "v_new = beta2 * v + (1 - beta2) * g", {"v_new"}),
    ("adamw", "m_hat = m_new / (1 - beta1**t)", "m_hat = m_new", {"m_hat"}),
]


def test_a_wrong_entry_costs_the_point_of_its_line_though_another_entry_has_its_value(tmp_path):
    path = tmp_path / "shares.py"
    path.write_text(edited("shares", 1, ("[-y1 * y2, y1 * y2]]", "[-e1 * y2, y1 * y2]]")), "utf-8")
    *_, explained = grade(path, "shares")
    assert lost(explained) == {"J"}
    assert [row.verdict for row in explained.rows] == ["WRONG", "follows", "right"]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, right, wrong, expected", ONE_ERROR)
def test_one_error_costs_its_own_point(name, right, wrong, expected, first):
    verdict = first(name, edited(name, 1, (right, wrong)))
    assert not verdict.is_solved and lost(verdict) == expected, verdict


@pytest.mark.parametrize(
    "body", ["return w * dy, x * dy, 1", "return 0 * w, 0 * x, y / y", "return None", "return 1, 1, 1"]
)
def test_what_is_not_computed_earns_nothing(body, first):
    assert "db" in lost(first("neuron", filled(body, "neuron")))


def test_a_solution_with_a_gradient_too_many_does_not_have_all_points(first):
    verdict = first("layer_norm", edited("layer_norm", 1, ("return dx, dgamma, dbeta", "return dx, dgamma, dbeta, dx")))
    assert points(verdict) == (3, 4)


def test_a_part_that_is_called_twice_costs_the_point_of_its_line(first):
    twice = ("dh = activation_backward(da)", "down_backward(dy)\n            dh = activation_backward(da)")
    assert lost(first("feed_forward", edited("feed_forward", 1, twice))) == {"da"}


def test_a_file_that_cannot_run_has_no_points(first):
    for text in (filled("return (", "layer_norm"), filled("return dy", "layer_norm") + "\n1 / 0\n"):
        assert not first("layer_norm", text).earned


# Each exercise, renamed and inlined.


class Renamed(ast.NodeTransformer):
    """Renames the variables of backward. Functions that backward calls, and names of forward, are kept."""

    def __init__(self, names):
        self.names = {name: f"v{k}" for k, name in enumerate(sorted(names))}

    def visit_Name(self, node):
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)


class Inlined(ast.NodeTransformer):
    def __init__(self, values):
        self.values = values

    def visit_Name(self, node):
        return self.values.get(node.id, node) if isinstance(node.ctx, ast.Load) else node


def in_other_styles(name, text):
    """Yield a solution with other names, and with each variable that is assigned once written out where it is read."""
    renamed, inlined = ast.parse(text), ast.parse(text)
    for tree in (renamed, inlined):
        own = {function.name for function in backwards(named_exercise(name))}
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in own):
            assigned = [s for s in statements_of(function) if isinstance(s, ast.Assign)]
            single = [s for s in assigned if isinstance(s.targets[0], ast.Name) and s in function.body]
            names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
            stores = [n.id for n in names if isinstance(n.ctx, ast.Store)]
            if tree is renamed:
                function.body = [Renamed({*stores}).visit(s) for s in function.body]
                continue
            values = {}
            calls = {n.func.id for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
            for statement in single:
                target = statement.targets[0].id
                statement.value = Inlined(values).visit(statement.value)
                is_pure = not any(call in ast.unparse(statement.value) for call in calls if call.endswith("backward"))
                is_read = any(isinstance(n.ctx, ast.Load) for n in names if n.id == target)
                is_written = isinstance(statement.value, ast.List) or "zeros" in ast.unparse(statement.value)
                is_kept = is_written or len(statement.targets) > 1 or not is_read
                if stores.count(target) == 1 and is_pure and not is_kept:
                    values[target] = statement.value
            others = [s for s in function.body if s not in single or s.targets[0].id not in values]
            function.body = [s if s in single else Inlined(values).visit(s) for s in others]
    header = text.partition('"""\n')[0] + '"""\n'
    return [header + ast.unparse(ast.fix_missing_locations(tree)).partition('"""\n')[2] for tree in (renamed, inlined)]


SEVERAL = [e.name for e in EXERCISES if len(equation_numbers(e)) > 1 and e.name not in ("training_step",)]
WRONG = {name: [pair for other, *pair in MISTAKES if other == name] for name in SEVERAL}
MARKS = [(name, *pair) for name, pairs in WRONG.items() for pair in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("name, right, wrong", MARKS)
def test_a_wrong_solution_has_the_same_points_renamed_and_inlined(name, right, wrong, first):
    text = edited(name, 1, (right, wrong))
    found = [lost(first(name, style)) for style in (text, *in_other_styles(name, text))]
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_a_right_solution_is_right_renamed_and_inlined(name, first):
    for style in in_other_styles(name, solution(named_exercise(name), 1)):
        assert first(name, style).is_solved, style
