"""check_update: right updates pass in every style, and the usual mistakes are caught and named."""

import ast
import inspect
import math
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minitransformer
from gradcheck import GradientError, check_update
from gradcheck.updates import FORMULAS, from_config, from_object, from_optimizer, from_steps
from minitransformer import AdamW, Parameter, clip_grad_norm, optim

AS_A_FUNCTION = """
def adamw(w, dw, m, v, t, lr, beta1, beta2, eps, weight_decay):
    decayed = w - lr * weight_decay * w
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return decayed - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
"""

WITH_A_DICTIONARY = """
def adamw(w, dw, config=None):
    settings = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}
    config = settings | {"m": np.zeros_like(w), "v": np.zeros_like(w), "t": 0} | (config or {})
    b1, b2, t = config["beta1"], config["beta2"], config["t"] + 1
    m = b1 * config["m"] + (1 - b1) * dw
    v = b2 * config["v"] + (1 - b2) * (dw * dw)
    step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + config["epsilon"]) + config["weight_decay"] * w
    config["m"], config["v"], config["t"] = m, v, t
    return w - config["learning_rate"] * step, config
"""

IN_PLACE = """
class Optimizer:
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params, self.lr, self.eps, self.weight_decay = params, lr, eps, weight_decay
        self.beta1, self.beta2 = betas
        self.m = [np.zeros_like(p.data) for p in params]
        self.v = [np.zeros_like(p.data) for p in params]
        self.t = 0

    def step(self):
        self.t += 1
        for i, p in enumerate(self.params):
            g, m, v = p.grad, self.m[i], self.v[i]
            p.data *= 1 - self.lr * self.weight_decay
            m *= self.beta1
            m += (1 - self.beta1) * g
            v *= self.beta2
            v += (1 - self.beta2) * g * g
            denominator = np.sqrt(v / (1 - self.beta2**self.t)) + self.eps
            p.data -= self.lr / (1 - self.beta1**self.t) * m / denominator
"""

# words of the diagnosis | right text → wrong text | …
PLANTED = [
    (AS_A_FUNCTION, r"""
1 - beta1.* missing; and .* 1 - beta2 | m / (1 - beta1**t) → m | v / (1 - beta2**t) → v
t [+] 1 stands .*m_hat.*v_hat | beta1**t → beta1**(t + 1) | beta2**t → beta2**(t + 1)
ε is inside the root | (np.sqrt(v_hat) + eps) → np.sqrt(v_hat + eps)
the decay is coupled | = w - lr * weight_decay * w → = w; dw = dw + weight_decay * w
divided by the root | w - lr * weight_decay * w → w | lr * m_hat → lr * (m_hat + weight_decay * w)
subtracted after the step | decayed = w - lr * weight_decay * w → shrink = 1 - lr * weight_decay |
    decayed - → shrink * (w - | + eps), m → + eps)), m
v_new and m_new are in each other's place | + eps), m, v → + eps), v, m
beta1 and beta2 are exchanged | decayed = → beta1, beta2 = beta2, beta1; decayed =
beta2 stands where beta1 belongs; and beta1 stands where beta2 | beta1 * m + (1 - beta1) → beta2 * m + (1 - beta2) |
    beta2 * v + (1 - beta2) → beta1 * v + (1 - beta1)
the step has the wrong sign | decayed - lr → decayed + lr
the new m is not kept | + eps), m, v → + eps), 0 * m, v
"""),
    (WITH_A_DICTIONARY, r"""
the new m is not kept | config["m"], config["v"], → config["v"], | = m, v, t → = v, t
"""),
    (IN_PLACE, r"""
t stays 1 | self.t += 1 → self.t = 1
all parameters share one m and v | self.m[i], self.v[i] → self.m[0], self.v[0]
t counts parameters | self.t += 1 → pass | p.data *= 1 → self.t += 1; p.data *= 1
"""),
]  # fmt: skip


def built(source, *edits):
    """Return the update that a source defines, with each edit made in the one place that there is for it."""
    assert all(source.count(old) == 1 for old, _ in edits)
    names = {"np": np}
    exec(re.sub("|".join(re.escape(old) for old, _ in edits) or "$^", lambda m: dict(edits)[m.group()], source), names)
    if "class" in source:
        return from_optimizer(names["Optimizer"])
    return from_config(names["adamw"]) if "config" in source else names["adamw"]


SOURCES = [AS_A_FUNCTION, WITH_A_DICTIONARY, IN_PLACE]
EVERY = [
    (source, *row.split(" | ")) for source, text in PLANTED for row in text.replace("|\n    ", "| ").split("\n")[1:-1]
]


def said_of(update, formula, **settings):
    """Return the diagnosis of a wrong update."""
    with pytest.raises(GradientError) as caught:
        check_update(update, formula, **settings)
    assert len(str(caught.value).splitlines()) <= 2  # the second is the diagnosis
    return caught.value.report.diagnosis


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "settings", [{}, {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}]
)
def test_a_right_update_passes_in_every_style(source, settings):
    for seed in range(3):
        report = check_update(built(source), "adamw", seed=seed, **settings)
        assert report.is_right and [step.verdict for step in report.steps] == ["right"] * 5
        assert max(step.relative for step in report.steps) < 1e-10


@pytest.mark.one_in(4)
@pytest.mark.parametrize("row", EVERY, ids=lambda row: row[1])
def test_a_usual_mistake_is_caught_and_named_in_every_style(row):
    source, words, *edits = row
    assert re.search(words, said_of(built(source, *(edit.split(" → ") for edit in edits)), "adamw"))


# Other people's optimisers


def test_minitransformers_own_update_and_optimiser_are_right():
    assert check_update(optim.adamw, "adamw").name == "adamw"
    engine = check_update(from_optimizer(AdamW, Parameter), "adamw")
    with minitransformer.plain():
        textbook = check_update(from_optimizer(AdamW, Parameter), "adamw")
    assert max(step.relative for step in textbook.steps) < max(step.relative for step in engine.steps) < 1e-12


def plain_momentum(w, dw, velocity, *, lr, momentum):
    velocity = momentum * velocity + dw
    return w - lr * velocity, velocity


def plain_rmsprop(w, dw, v, *, lr, rho, eps):
    v = rho * v + (1 - rho) * dw**2
    return w - lr * dw / (np.sqrt(v) + eps), v


def plain_adam(w, dw, m, v, *, t, lr, beta1, beta2, eps):
    m, v = beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


PLAIN = {
    "sgd": lambda w, dw, *, lr: w - lr * dw,
    "momentum": plain_momentum,
    "adagrad": lambda w, dw, v, *, lr, eps: (w - lr * dw / (np.sqrt(v + dw**2) + eps), v + dw**2),
    "rmsprop": plain_rmsprop,
    "adam": plain_adam,
}


@pytest.mark.parametrize("formula", PLAIN)
def test_an_update_without_weight_decay_is_right(formula):
    assert check_update(PLAIN[formula], formula).is_right


OF_PYTORCH = {"sgd": "SGD", "momentum": "SGD", "nesterov": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop"}
OF_PYTORCH |= {"adam": "Adam", "adamw": "AdamW"}


@pytest.mark.parametrize("formula, optimiser", OF_PYTORCH.items())
def test_the_formulas_are_pytorchs(torch, formula, optimiser):
    make = partial(getattr(torch.optim, optimiser), **({"nesterov": True} if formula == "nesterov" else {}))
    report = check_update(from_optimizer(make, torch.tensor, torch.tensor), formula)
    assert report.name == optimiser
    assert max(step.relative for step in report.steps) < 1e-11


def velocity_with_lr(w, dw, velocity, learning_rate, mu):
    """CS231n's."""
    velocity = mu * velocity - learning_rate * dw
    return w + velocity, velocity


def in_place(w, dw, cache, eta, epsilon):
    """Adagrad that returns nothing."""
    cache += dw**2
    w -= eta * dw / (np.sqrt(cache) + epsilon)


def optional_state(w, dw, lr, momentum, velocity=None):
    """Momentum whose state may be left out."""
    velocity *= momentum
    velocity += dw
    return w - lr * velocity


def of_any_settings(parameters, **settings):
    return AdamW(parameters, betas=(settings.pop("beta1"), settings.pop("beta2")), **settings)


@pytest.mark.parametrize(
    "update, formula, takes",
    [
        (velocity_with_lr, "momentum", "lr (learning_rate)"),
        (in_place, "adagrad", "eps (epsilon)"),
        (optional_state, "momentum", "lr 0"),
        (from_optimizer(of_any_settings, Parameter), "adamw", "beta1 0"),
        (lambda w, dw, *, lr, wd: w - lr * (dw + wd * w), "sgd", "weight_decay (wd)"),
    ],
)
def test_other_conventions_and_names_are_right_too(update, formula, takes):
    report = check_update(update, formula)
    assert report.is_right and takes in report.notes[0]


def with_dictionaries(parameters, gradients, lr, beta1, beta2):
    """Adam in the style of a course: an update of dictionaries, ε fixed and added before the bias is corrected."""
    params = {str(i): p for i, p in enumerate(parameters)}
    m, v = ({key: np.zeros_like(p) for key, p in params.items()} for _ in range(2))
    for t, step in enumerate(gradients, start=1):
        rate = lr * np.sqrt(1.0 - beta2**t) / (1.0 - beta1**t)
        for key, g in zip(params, step, strict=True):
            m[key] += (1 - beta1) * (g - m[key])
            v[key] += (1 - beta2) * (g**2 - v[key])
            params[key] -= rate * m[key] / (np.sqrt(v[key]) + 1e-7)
        yield


def test_a_generator_takes_its_steps_itself():
    assert "before the bias of v is corrected" in said_of(from_steps(with_dictionaries), "adam", eps=1e-7)


class RMSprop:
    """An object for one parameter, or for all in a list or dictionary; its state may begin at 1."""

    def __init__(self, learning_rate, decay_rate, epsilon, first=0.0):
        self.lr, self.rho, self.eps, self.first, self.v = learning_rate, decay_rate, epsilon, first, {}

    def update(self, params, grads):
        if isinstance(params, np.ndarray):
            return self.one("w", params, grads)
        for key in params if isinstance(params, dict) else range(len(params)):
            params[key] = self.one(key, params[key], grads[key])
        return None

    def one(self, key, w, dw):
        self.v[key] = self.rho * self.v.get(key, self.first) + (1 - self.rho) * dw**2
        return w - self.lr * dw / (np.sqrt(self.v[key]) + self.eps)


@pytest.mark.parametrize("container", [None, dict, list])
def test_an_object_has_one_parameter_or_all_of_them_in_a_container(container):
    assert check_update(from_object(RMSprop, container), "rmsprop").name == "RMSprop"
    at_one = from_object(partial(RMSprop, first=1.0), container)
    assert "v begins at 1" in said_of(at_one, "rmsprop")


def test_a_formula_of_ones_own_is_asked_whether_state_and_steps_are_kept():
    def signed(theta, g, m, *, lr, pace):
        m = pace * m + (1 - pace) * g
        return theta - lr * math.copysign(math.sqrt(abs(m)), m), m

    def step(w, dw, m, lr, pace, keep=1.0):
        m = pace * m + (1 - pace) * dw
        return w - lr * np.sign(m) * np.sqrt(np.abs(m)), keep * m

    assert check_update(step, signed).is_right
    assert said_of(partial(step, keep=0.0), signed, pace=0.7) == "the new m is not kept for the next step"


# Clipping


def clipping(w, dw, m, v, t, lr, beta1, beta2, eps, max_norm, *, where="g"):
    """Adam that clips the gradient, or by mistake the step, or nothing."""

    def clip(x, there):
        return x * min(1.0, max_norm / np.linalg.norm(x)) if there == where else x

    dw = clip(dw, "g")
    m, v = beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw**2
    return w - clip(lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), "step"), m, v


class Clipping(AdamW):
    """AdamW that clips all gradients together: before its step, or too late."""

    def __init__(self, parameters, lr, betas, eps, weight_decay, max_norm, *, late=False, alone=False):
        super().__init__(parameters, lr, betas, eps, weight_decay)
        self.groups = [[p] for p in parameters] if alone else [parameters]
        self.max_norm, self.late = max_norm, late

    def step(self):
        for late in (self.late, not self.late):
            if late:
                super().step()
            for group in self.groups if not late else ():
                clip_grad_norm(group, self.max_norm)


def test_clipping_the_gradient_is_right_and_none_or_another_is_not():
    assert check_update(clipping, "adam").is_right
    assert check_update(from_optimizer(Clipping, Parameter), "adamw").is_right
    assert "not clipped" in said_of(partial(clipping, where="nowhere"), "adam")
    with pytest.raises(GradientError):
        check_update(partial(clipping, where="step"), "adam", explain=False)
    late, alone = (from_optimizer(partial(Clipping, **{how: True}), Parameter) for how in ("late", "alone"))
    assert "too late" in said_of(late, "adamw") and "by its own norm" in said_of(alone, "adamw")


# Other messages


def adam(w, dw, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def in_single(w, dw, m, v, t, lr, beta1, beta2, eps):
    return adam(w, dw.astype(np.float32).astype(float), m, v, t, lr, beta1, beta2, eps)


def from_zero(w, dw, m, v, t, lr, beta1, beta2, eps):
    return adam(w, dw, m, v, t - 1, lr, beta1, beta2, eps)


def uncorrected_inside(w, dw, m, v, t, lr, beta1, beta2, eps):
    m, v = beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw**2
    return w - lr * (m / (1 - beta1**t)) / np.sqrt(v + eps), m, v


def first(parameters, lr):
    """An optimiser that moves the first of its parameters alone."""
    one = parameters[0]
    return SimpleNamespace(step=lambda: setattr(one, "data", one.data - lr * one.grad))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "update, formula, words",
    [
        (lambda w, dw, lr: w - lr * dw + 0.01 * np.tanh(w), "sgd", "^$"),
        (lambda w, dw, lr: None, "sgd", "no parameter ever moves"),
        (from_optimizer(first), "sgd", "parameter 1 never moves"),
        (uncorrected_inside, "adam", "ε is inside the root; and a division by 1 - beta2"),
        (in_single, "adam", "float32"),
        (from_zero, "adam", "no entry is finite .* t began at 0"),
    ],
)
def test_other_faults_are_named_or_left_without_a_name(update, formula, words):
    assert re.search(words, said_of(update, formula))


def test_of_two_explanations_that_no_course_separates_both_are_given():
    def forgetful(w, dw, velocity, lr, momentum):
        return w - lr * (momentum * velocity + dw), 0 * velocity

    said = said_of(forgetful, "momentum")
    assert "the new velocity is not kept" in said and "; or the term momentum * velocity is missing" in said


@given(st.sampled_from(sorted(FORMULAS)), st.data())
@settings(max_examples=25, deadline=None)
def test_any_operator_that_is_exchanged_in_a_formula_is_caught_and_named(name, data):
    tree = ast.parse(inspect.getsource(FORMULAS[name]))
    operators = [
        n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, (ast.Add, ast.Mult, ast.Div))
    ]
    node = data.draw(st.sampled_from(operators))
    node.op = data.draw(
        st.sampled_from([op() for op in (ast.Add, ast.Sub, ast.Mult, ast.Div) if op is not type(node.op)])
    )
    names = {"sqrt": np.sqrt}
    exec(ast.unparse(tree), names)
    with pytest.raises(GradientError) as caught:
        check_update(names[name], name)
    assert caught.value.report.diagnosis or re.search("moves by (-?inf|nan)", str(caught.value))  # a division by zero


def test_hints_name_the_line_of_the_formula_and_quote_no_code():
    with pytest.raises(GradientError) as caught:
        check_update(built(AS_A_FUNCTION, ("m / (1 - beta1**t)", "m")), "adamw")
    ((name, sentence),) = caught.value.report.hints
    assert name == "m_hat" and "division" in sentence and "beta" not in sentence


def test_the_report_shows_the_first_step_that_is_wrong():
    with pytest.raises(GradientError, match="step 2: 12 of 12 entries disagree; worst at ") as caught:
        check_update(built(AS_A_FUNCTION, (", m, v\n", ", 0 * m, v\n")), "adamw")
    report = caught.value.report
    header, *rows = str(report).splitlines()[1:7]
    assert header.split() == ["step", "entries", "relative", "verdict"]
    assert [row.split()[-1] for row in rows] == ["right", *["WRONG"] * 4]
    html = report._repr_html_()
    assert html.count("WRONG") == 5 and "the new m is not kept" in html


# Questions about the code


@pytest.mark.parametrize(
    "error, words, call",
    [
        (ValueError, "known are sgd, momentum", lambda: check_update(adam, "adamm")),
        (TypeError, "the formula is a float", lambda: check_update(adam, 1.0)),
        (TypeError, "a class in from_optimizer", lambda: check_update(AdamW, "adamw")),
        (TypeError, "not an AdamW", lambda: check_update(AdamW([Parameter(np.ones(3))]), "adamw")),
        (TypeError, "a float cannot be called", lambda: check_update(1.0, "sgd")),
        (ValueError, "container must be dict, list or None", lambda: from_object(RMSprop, tuple)),
        (TypeError, "has no method step()", lambda: check_update(from_object(RMSprop, method="step"), "rmsprop")),
        (TypeError, "mu is not a setting of momentum", lambda: check_update(adam, "momentum", mu=1)),
        (ValueError, "eps must be a finite number, not '1e-8'", lambda: check_update(adam, "adam", eps="1e-8")),
        (ValueError, "eps must be a finite number, not inf", lambda: check_update(adam, "adam", eps=math.inf)),
        (TypeError, "its state is taken to be m, v", lambda: check_update(adam, "adamw")),
        (TypeError, "<lambda> takes no lr", lambda: check_update(lambda w, dw: w - dw, "sgd")),
        (TypeError, "the new a, the new b", lambda: check_update(lambda w, dw, a, b, lr: (w, dw), "sgd")),
        (TypeError, "a pair (θ′, config)", lambda: check_update(from_config(lambda w, dw, c: w), "sgd")),
        (TypeError, "it takes no setting", lambda: check_update(from_config(lambda w, dw, c: (w, c)), "sgd")),
        (TypeError, "requires the argument d", lambda: check_update(from_optimizer(lambda p, lr, d: None), "sgd")),
        (TypeError, "yielded 1 parameters", lambda: check_update(from_steps(lambda p, g, lr: [p[:1]]), "sgd")),
        (TypeError, "yielded 1 times; expected", lambda: check_update(from_steps(lambda p, g, lr: [p]), "sgd")),
        (TypeError, "expected 2: θ′, the new m", lambda: check_update(lambda w, dw, lr: w, lambda o, g, m, *, lr: o)),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_line(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "step, fault",
    [
        (lambda w, dw, lr: (w - lr * dw).astype(np.float32), "step 1: parameter 0 changes from float64 to float32"),
        (lambda w, dw, lr: (w - lr * dw).ravel(), "step 1: parameter 0 changes from shape (2, 3) to (6,)"),
    ],
)
def test_a_parameter_that_becomes_something_else_is_a_fault(step, fault):
    with pytest.raises(GradientError, match=re.escape(fault)) as caught:
        check_update(step, "sgd")
    assert caught.value.report.problems == (fault,)
