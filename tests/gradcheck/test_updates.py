"""check_update: right updates pass in every style, the usual mistakes are caught and named, nothing else is said."""

import itertools
import math
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import minitransformer
from gradcheck import GradientError, check_update
from gradcheck.updates import FORMULAS, from_config, from_object, from_optimizer, from_steps
from gradcheck.updates.following import Habits, follow, read_formula
from gradcheck.updates.mistakes import CLIPPED, IN_A_FORMULA, around, mistakes_in
from gradcheck.updates.trying import SHAPES, draw_course, draw_settings
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
    if config is None:
        config = {}
    config.setdefault("learning_rate", 1e-3)
    config.setdefault("beta1", 0.9)
    config.setdefault("beta2", 0.999)
    config.setdefault("epsilon", 1e-8)
    config.setdefault("weight_decay", 0.01)
    config.setdefault("m", np.zeros_like(w))
    config.setdefault("v", np.zeros_like(w))
    config.setdefault("t", 0)
    lr, b1, b2, eps = config["learning_rate"], config["beta1"], config["beta2"], config["epsilon"]
    t = config["t"] + 1
    m = b1 * config["m"] + (1 - b1) * dw
    v = b2 * config["v"] + (1 - b2) * (dw * dw)
    mt = m / (1 - b1**t)
    vt = v / (1 - b2**t)
    next_w = w - lr * (mt / (np.sqrt(vt) + eps) + config["weight_decay"] * w)
    config["m"], config["v"], config["t"] = m, v, t
    return next_w, config
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

# What is said of a mistake, and (what the code says, what stands there instead) in each of the three, as a list.
PLANTED = {
    "bias forgotten": (
        "The bias of m and v is not corrected",
        [("m / (1 - beta1**t)", "m"), ("v / (1 - beta2**t)", "v")],
        [("m / (1 - b1**t)", "m"), ("v / (1 - b2**t)", "v")],
        [("v / (1 - self.beta2**self.t)", "v"), ("self.lr / (1 - self.beta1**self.t)", "self.lr")],
    ),
    "bias of v forgotten": (
        "The bias of v is not corrected",
        [("v / (1 - beta2**t)", "v")],
        [("v / (1 - b2**t)", "v")],
        [("v / (1 - self.beta2**self.t)", "v")],
    ),
    "bias off by one": (
        "The bias is corrected with t + 1 in place of t",
        [("beta1**t", "beta1**(t + 1)"), ("beta2**t", "beta2**(t + 1)")],
        [('setdefault("t", 0)', 'setdefault("t", 1)')],
        [("self.t = 0", "self.t = 1")],
    ),
    "t forgotten": (
        "The bias is corrected with β in place of βᵗ: t is missing, or stays 1",
        [("beta1**t", "beta1"), ("beta2**t", "beta2")],
        [(', config["t"] = m, v, t', " = m, v")],
        [("self.t += 1", "self.t = 1")],
    ),
    "ε inside the root": (
        "ε is inside the root",
        [("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)")],
        [("(np.sqrt(vt) + eps)", "np.sqrt(vt + eps)")],
        [("self.beta2**self.t)) + self.eps", "self.beta2**self.t) + self.eps)")],
    ),
    "ε outside": (
        "ε is added to ",
        [("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat) + eps")],
        [("(np.sqrt(vt) + eps)", "np.sqrt(vt) + eps")],
        [("m / denominator", "(m / (denominator - self.eps)) - self.eps")],
    ),
    "decay coupled": (
        "The decay is coupled: λθ is added to the gradient, as L2",
        [("decayed = w - lr * weight_decay * w", "decayed, dw = w, dw + weight_decay * w")],
        [(' + config["weight_decay"] * w', ""), ("    m = b1", '    dw = dw + config["weight_decay"] * w\n    m = b1')],
        [
            ("            p.data *= 1 - self.lr * self.weight_decay\n", ""),
            ("p.grad,", "p.grad + self.weight_decay * p.data,"),
        ],
    ),
    "decay divided": (
        "The decay is coupled: λθ is added to m̂",
        [("decayed = w - lr * weight_decay * w", "decayed = w"), ("lr * m_hat", "lr * (m_hat + weight_decay * w)")],
        [("mt / (np.sqrt(vt) + eps) + config[", "(mt + config["), ('"] * w)\n', '"] * w) / (np.sqrt(vt) + eps))\n')],
        None,
    ),
    "decay without lr": (
        "The decay is not multiplied by lr",
        [("lr * weight_decay * w", "weight_decay * w")],
        [
            (
                'lr * (mt / (np.sqrt(vt) + eps) + config["weight_decay"] * w)',
                'lr * mt / (np.sqrt(vt) + eps) - config["weight_decay"] * w',
            )
        ],
        [("1 - self.lr * self.weight_decay", "1 - self.weight_decay")],
    ),
    "decay of the gradient": (
        "The decay is of the gradient, not of θ",
        [("lr * weight_decay * w", "lr * weight_decay * dw")],
        [('config["weight_decay"] * w)', 'config["weight_decay"] * dw)')],
        [("p.data *= 1 - self.lr * self.weight_decay", "p.data -= self.lr * self.weight_decay * g")],
    ),
    "decay after the step": (
        "The decay is taken of θ after the step",
        [
            ("decayed = w - lr * weight_decay * w", "decayed = w"),
            (
                "return decayed - lr * m_hat / (np.sqrt(v_hat) + eps)",
                "new = w - lr * m_hat / (np.sqrt(v_hat) + eps)\n    return new - lr * weight_decay * new",
            ),
        ],
        [
            (' + config["weight_decay"] * w', ""),
            ("    return next_w", '    return next_w * (1 - lr * config["weight_decay"])'),
        ],
        [
            ("            p.data *= 1 - self.lr * self.weight_decay\n", ""),
            ("* m / denominator", "* m / denominator\n            p.data *= 1 - self.lr * self.weight_decay"),
        ],
    ),
    "m and v exchanged": (
        "m and v are exchanged for the next step",
        [(", m, v\n", ", v, m\n")],
        [('config["m"], config["v"], config["t"] = m', 'config["v"], config["m"], config["t"] = m')],
        [("            p.data -=", "            self.m[i], self.v[i] = v, m\n            p.data -=")],
    ),
    "β exchanged": (
        "β₁ and β₂ are exchanged",
        [("    decayed", "    beta1, beta2 = beta2, beta1\n    decayed")],
        [('config["beta1"], config["beta2"], config["e', 'config["beta2"], config["beta1"], config["e')],
        [("self.beta1, self.beta2 = betas", "self.beta2, self.beta1 = betas")],
    ),
    "β exchanged in the moments": (
        "β₁ and β₂ are exchanged in m′ and v′, though",
        [
            ("beta1 * m + (1 - beta1)", "beta2 * m + (1 - beta2)"),
            ("beta2 * v + (1 - beta2)", "beta1 * v + (1 - beta1)"),
        ],
        [
            ("b1 * config", "b2 * config"),
            ("(1 - b1) * dw", "(1 - b2) * dw"),
            ("b2 * config", "b1 * config"),
            ("(1 - b2) * (dw", "(1 - b1) * (dw"),
        ],
        [
            ("m *= self.beta1", "m *= self.beta2"),
            ("(1 - self.beta1) * g", "(1 - self.beta2) * g"),
            ("v *= self.beta2", "v *= self.beta1"),
            ("(1 - self.beta2) * g * g", "(1 - self.beta1) * g * g"),
        ],
    ),
    "squared twice": (
        "v′ is made of g⁴ in place of g²: it is squared twice",
        [("dw**2", "(dw**2) ** 2")],
        [("(dw * dw)", "(dw * dw) ** 2")],
        [("* g * g", "* g * g * g * g")],
    ),
    "not squared": (
        "v′ is made of g in place of g²: it is not squared",
        [("dw**2", "dw")],
        [("(dw * dw)", "dw")],
        [("* g * g", "* g")],
    ),
    "uphill": (
        "The step has the wrong sign",
        [("decayed - lr", "decayed + lr")],
        [("w - lr * (mt / (np.sqrt(vt) + eps)", "w - lr * (-mt / (np.sqrt(vt) + eps)")],
        [("p.data -= self.lr", "p.data += self.lr")],
    ),
    "state lost": (
        "The new m is not kept for the next step",
        [(", m, v\n", ", 0 * m, v\n")],
        [('config["m"], config["v"], config["t"] = m,', 'config["v"], config["t"] =')],
        [("m *= self.beta1", "m = m * self.beta1")],
    ),
    "state shared": (
        "all parameters share one m and v",
        [("    decayed", "    m, v = kept\n    decayed"), ("    return", "    kept[:] = m, v\n    return")],
        None,
        [("self.m[i], self.v[i]", "self.m[0], self.v[0]")],
    ),
    "t counts parameters": (
        "t counts parameters, not steps",
        [("    decayed", "    count[0] += 1\n    t = count[0]\n    decayed")],
        None,
        [
            ("        self.t += 1\n", ""),
            ("            p.data *= 1", "            self.t += 1\n            p.data *= 1"),
        ],
    ),
}


def changed(source, edits):
    """Return the code with each edit made in the one place that there is for it, all at once."""
    assert all(source.count(old) == 1 for old, _ in edits)
    return re.sub("|".join(re.escape(old) for old, _ in edits) or "$^", lambda m: dict(edits)[m.group()], source)


def built(source, edits=()):
    """Return the update that a source defines."""
    names = {"np": np, "kept": [0.0, 0.0], "count": [0]}
    exec(changed(source, edits), names)
    if "class" in source:
        return from_optimizer(names["Optimizer"])
    return from_config(names["adamw"]) if "config" in source else names["adamw"]


SOURCES = {"a function": AS_A_FUNCTION, "a dictionary": WITH_A_DICTIONARY, "in place": IN_PLACE}
EVERY = [
    (mistake, style, sentence, edit)
    for mistake, (sentence, *edits) in PLANTED.items()
    for style, edit in zip(SOURCES, edits, strict=True)
    if edit is not None
]


def said_of(update, formula, **settings):
    """Return what is said of an update that is wrong."""
    with pytest.raises(GradientError) as caught:
        check_update(update, formula, **settings)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.report.diagnosis


@pytest.mark.parametrize("style", SOURCES)
def test_a_right_update_passes_in_every_style(style):
    for seed in range(3):
        report = check_update(built(SOURCES[style]), "adamw", seed=seed)
        assert report.is_right and [step.verdict for step in report.steps] == ["right"] * 5
        assert max(step.relative for step in report.steps) < 1e-11


@pytest.mark.parametrize("mistake, style, sentence, edit", EVERY)
def test_a_usual_mistake_is_caught_and_named_in_every_style(mistake, style, sentence, edit):
    assert said_of(built(SOURCES[style], edit), "adamw").startswith(sentence)


@pytest.mark.slow
def test_mistakes_are_named_and_right_updates_pass_whatever_is_drawn():
    for seed in range(100, 104):
        for _, style, sentence, edit in EVERY:
            assert said_of(built(SOURCES[style], edit), "adamw", seed=seed).startswith(sentence)
    for seed, (source, usual) in itertools.product(range(100, 130), itertools.product(SOURCES.values(), (False, True))):
        settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01} if usual else {}
        assert check_update(built(source), "adamw", seed=seed, **settings).is_right


# Other people's optimisers


def test_minitransformers_own_update_and_optimiser_are_right():
    assert check_update(optim.adamw, "adamw").name == "adamw"
    engine = check_update(from_optimizer(AdamW, Parameter), "adamw")
    with minitransformer.plain():
        textbook = check_update(from_optimizer(AdamW, Parameter), "adamw")
    assert max(step.relative for step in textbook.steps) < max(step.relative for step in engine.steps) < 1e-12


@pytest.mark.parametrize(
    "formula, optimiser, options, settings",
    [
        ("sgd", "SGD", {}, {}),
        ("sgd", "SGD", {}, {"weight_decay": 0.3}),
        ("momentum", "SGD", {}, {}),
        ("nesterov", "SGD", {"nesterov": True}, {}),
        ("adagrad", "Adagrad", {}, {}),
        ("rmsprop", "RMSprop", {}, {}),
        ("adam", "Adam", {}, {}),
        ("adam", "Adam", {}, {"weight_decay": 0.0}),
        ("adamw", "AdamW", {}, {}),
    ],
)
def test_the_formulas_are_pytorchs(torch, formula, optimiser, options, settings):
    make = partial(getattr(torch.optim, optimiser), **options)
    report = check_update(from_optimizer(make, torch.tensor, torch.tensor), formula, **settings)
    assert report.name == optimiser
    assert max(step.relative for step in report.steps) < 1e-11


@pytest.mark.parametrize(
    "formula, optimiser, words",
    [
        ("adam", "AdamW", "the weight decay is decoupled, as AdamW's"),
        ("adamw", "Adam", "The decay is coupled: λθ is added to the gradient, as L2"),
        ("nesterov", "SGD", "the momentum is plain, not Nesterov's"),
    ],
)
def test_pytorchs_optimisers_are_told_apart(torch, formula, optimiser, words):
    make = getattr(torch.optim, optimiser)
    said = said_of(from_optimizer(make, torch.tensor, torch.tensor), formula)
    assert said.lower().startswith(words.lower())


def velocity_with_lr(w, dw, velocity, learning_rate, mu):
    """CS231n's."""
    velocity = mu * velocity - learning_rate * dw
    return w + velocity, velocity


def looking_ahead(w, dw, v, lr, mu):
    """CS231n's Nesterov momentum."""
    v_prev, v = v, mu * v - lr * dw
    return w - mu * v_prev + (1 + mu) * v, v


def cached(w, dw, config=None):
    """CS231n's RMSprop."""
    config = {} if config is None else config
    config.setdefault("learning_rate", 1e-2)
    config.setdefault("decay_rate", 0.99)
    config.setdefault("epsilon", 1e-8)
    config.setdefault("cache", np.zeros_like(w))
    config["cache"] = config["decay_rate"] * config["cache"] + (1 - config["decay_rate"]) * dw**2
    return w - config["learning_rate"] * dw / (np.sqrt(config["cache"]) + config["epsilon"]), config


def in_place(w, dw, cache, eta, epsilon):
    """Adagrad that returns nothing."""
    cache += dw**2
    w -= eta * dw / (np.sqrt(cache) + epsilon)


def optional_state(w, dw, lr, momentum, velocity=None, verbose=False):
    """Momentum whose state may be left out; it is the only argument that may be None."""
    assert not verbose
    velocity *= momentum
    velocity += dw
    return w - lr * velocity


@pytest.mark.parametrize(
    "update, formula, takes",
    [
        (velocity_with_lr, "momentum", "lr (learning_rate)"),
        (looking_ahead, "nesterov", "momentum (mu)"),
        (from_config(cached), "rmsprop", "rho (decay_rate)"),
        (in_place, "adagrad", "eps (epsilon)"),
        (optional_state, "momentum", "lr 0"),
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


def as_in_section_2_of_the_paper(theta, g, m, v, *, t, lr, beta1, beta2):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    rate = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
    return theta - rate * m / (math.sqrt(v) + 1e-7), m, v


def test_a_generator_takes_its_steps_itself_and_a_formula_may_be_ones_own():
    assert (
        said_of(from_steps(with_dictionaries), "adam", eps=1e-7)
        == "ε is added before the bias of v is corrected, as in section 2 of the paper"
    )
    report = check_update(from_steps(with_dictionaries), as_in_section_2_of_the_paper)
    assert report.is_right and report.notes[0].startswith("by the formula of as_in_section_2_of_the_paper, with lr 0.")


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
    assert said_of(at_one, "rmsprop") == "v begins at 1, not at 0"


def test_an_object_for_all_that_keeps_one_state_is_named():
    class Shared(RMSprop):
        def one(self, key, w, dw):
            return super().one("all", w, dw)

    assert said_of(from_object(Shared, list), "rmsprop") == "all parameters share one v"


def test_a_formula_of_ones_own_is_asked_whether_state_and_steps_are_kept():
    def signed(theta, g, m, *, lr, pace):
        m = pace * m + (1 - pace) * g
        return theta - lr * math.copysign(math.sqrt(abs(m)), m), m

    def step(w, dw, m, lr, pace, keep=1.0):
        m = pace * m + (1 - pace) * dw
        return w - lr * np.sign(m) * np.sqrt(np.abs(m)), keep * m

    assert check_update(step, signed).is_right
    assert said_of(partial(step, keep=0.0), signed, pace=0.7) == "The new m is not kept for the next step"


# Clipping


def clipping(w, dw, m, v, t, lr, beta1, beta2, eps, max_norm, *, where="g"):
    """Adam that clips the gradient, or by mistake something else."""

    def clip(x, there):
        return x * min(1.0, max_norm / np.linalg.norm(x)) if there == where else x

    dw = clip(dw, "g")
    m = clip(beta1 * m + (1 - beta1) * dw, "m")
    v = beta2 * v + (1 - beta2) * dw**2
    m_hat, v_hat = clip(m / (1 - beta1**t), "m_hat"), v / (1 - beta2**t)
    return w - clip(lr * clip(m_hat / (np.sqrt(v_hat) + eps), "step"), "lr step"), m, v


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


def test_clipping_before_the_moments_is_right():
    assert check_update(clipping, "adam").is_right
    assert check_update(from_optimizer(Clipping, Parameter), "adamw").is_right


@pytest.mark.parametrize(
    "where, words",
    [
        ("m", "clipping comes after the moments: it is m′ that is clipped"),
        ("m_hat", "clipping comes after the moments: it is m̂ that is clipped"),
        ("step", "it is the step before its product with lr that is clipped"),
        ("lr step", "it is the step that is clipped"),
        ("nowhere", "the gradients are not clipped, or too late to matter"),
    ],
)
def test_clipping_anything_else_is_named(where, words):
    assert said_of(partial(clipping, where=where), "adam").lower().startswith(words)


def test_clipping_too_late_or_one_by_one_is_named():
    late, alone = (from_optimizer(partial(Clipping, **{how: True}), Parameter) for how in ("late", "alone"))
    assert said_of(late, "adamw") == "The gradients are not clipped, or too late to matter"
    assert said_of(alone, "adamw") == "each gradient is clipped by its own norm, not all by their common one"


def test_scaling_the_step_by_what_the_gradient_should_be_clipped_to_is_named():
    def scaled(w, dw, m, v, t, lr, beta1, beta2, eps, max_norm):
        scale = min(1.0, max_norm / np.linalg.norm(dw))
        moved, m, v = clipping(0.0, dw, m, v, t, lr, beta1, beta2, eps, math.inf)
        return w + scale * moved, m, v

    assert said_of(scaled, "adam").startswith("clipping comes after the moments: m and v are those of the gradient")


# What else is said, and what is not


def adam(w, dw, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * dw
    v = beta2 * v + (1 - beta2) * dw**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def test_two_mistakes_at_once_are_named():
    def step(w, dw, m, v, t, lr, beta1, beta2, eps):
        m, v = beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw**2
        return w - lr * (m / (1 - beta1**t)) / np.sqrt(v + eps), m, v

    said = said_of(step, "adam")
    assert said.startswith("Two mistakes: the bias of v is not corrected") and "; and ε is inside the root" in said


def test_what_is_none_of_the_mistakes_is_caught_and_not_named():
    assert said_of(lambda w, dw, lr: w - lr * dw + 0.01 * np.tanh(w), "sgd") == ""


@pytest.mark.parametrize(
    "factor, words", [(2.0, "each step is 2 × what it should be"), (-0.25, "each step is -0.25 × what")]
)
def test_steps_in_proportion_are_named(factor, words):
    assert said_of(lambda w, dw, lr: w - factor * lr * dw, "sgd").startswith(words)


def test_what_float32_leaves_is_said_to_be_little():
    def step(w, dw, m, v, t, lr, beta1, beta2, eps):
        return adam(w, dw.astype(np.float32).astype(float), m, v, t, lr, beta1, beta2, eps)

    assert said_of(step, "adam") == "so little may come of float32 within, or of a constant that is rounded"


def test_a_parameter_that_never_moves_is_named():
    def forgotten(w, dw, lr):
        w = w - lr * dw

    assert said_of(forgotten, "sgd").startswith("no parameter ever moves: a new θ is neither returned nor put")

    class First:
        def __init__(self, parameters, lr):
            self.parameters, self.lr = parameters, lr

        def step(self):
            for p in self.parameters:
                p.data = p.data - self.lr * p.grad
                return

    assert said_of(from_optimizer(First), "sgd") == "parameter 1 never moves"


def test_a_count_from_zero_is_recognised_by_what_it_leaves():
    def step(w, dw, m, v, t, **settings):
        return adam(w, dw, m, v, t - 1, **settings)

    assert said_of(step, "adam").startswith("nothing is finite, as it would be if the bias were corrected with t − 1")


def test_the_report_shows_the_first_step_that_is_wrong():
    with pytest.raises(GradientError) as caught:
        check_update(built(AS_A_FUNCTION, PLANTED["state lost"][1]), "adamw")
    report = caught.value.report
    header, *rows = str(report).splitlines()[1:7]
    assert header.split() == ["step", "entries", "relative", "verdict"]
    assert [row.split()[-1] for row in rows] == ["right", *["WRONG"] * 4]
    assert "step 2: 12 of 12 entries are not where they should be; worst at [" in str(caught.value)
    html = report._repr_html_()
    assert html.count("WRONG") == 5 and "The new m is not kept" in html


# What is asked of the code


def test_no_two_mistakes_of_a_formula_give_the_same_numbers_but_those_that_are_one():
    for function in FORMULAS.values():
        formula, rng = read_formula(function), np.random.default_rng(0)
        course = draw_course(SHAPES[0], draw_settings([*formula.settings, "max_norm"], {}, rng), True, rng)
        thetas = [[rng.standard_normal(start.shape) for start in course.starts] for _ in course.gradients]
        candidates = [("right", formula, Habits()), *((s, wrong, Habits()) for s, _, wrong in mistakes_in(function))]
        candidates += [(sentence, formula, habits) for sentence, habits in around(formula, course)]
        with np.errstate(all="ignore"):
            followed = [follow(f, course, thetas, habits) for _, f, habits in candidates]
            values = [np.concatenate([np.concatenate(step, None) for step in steps]) for steps in followed]
        values = np.array(values)
        alike = np.isclose(values[:, None], values, rtol=1e-7, atol=1e-10, equal_nan=True).all(axis=-1)
        same = {(candidates[i][0], candidates[j][0]) for i, j in np.argwhere(np.triu(alike, 1))}
        assert same <= SAME, function.__name__


SAME = {
    ("right", "the weight decay is decoupled, as AdamW's, and not a part of the gradient"),  # without any moments
    ("the momentum is missing, or the new velocity is not kept", "the new velocity is not kept for the next step"),
    ("the bias is corrected with β in place of βᵗ: t is missing, or stays 1", "t stays 1"),
}


def test_every_mistake_is_one_that_some_formula_can_have():
    possible = {sentence for function in FORMULAS.values() for sentence, *_ in mistakes_in(function)}
    assert possible == {sentence for sentence, *_ in (*IN_A_FORMULA, *CLIPPED)}


@pytest.mark.parametrize(
    "error, words, call",
    [
        (
            ValueError,
            "there is no formula 'adamm'; did you mean 'adam'? known are sgd, ",
            lambda: check_update(adam, "adamm"),
        ),
        (ValueError, "there is no formula 'zzz'; known are sgd, ", lambda: check_update(adam, "zzz")),
        (
            TypeError,
            "the formula is a float; it must be a name or a function of scalars",
            lambda: check_update(adam, 1.0),
        ),
        (
            TypeError,
            "AdamW is a class: see from_optimizer and from_object of gradcheck.updates",
            lambda: check_update(AdamW, "adamw"),
        ),
        (
            TypeError,
            "an AdamW has its parameters already",
            lambda: check_update(AdamW([Parameter(np.ones(3))]), "adamw"),
        ),
        (TypeError, "check_update: a float cannot be called", lambda: check_update(1.0, "sgd")),
        (TypeError, "from_steps: a list cannot be called", lambda: from_steps([])),
        (ValueError, "container must be dict, list or None, not <class 'tuple'>", lambda: from_object(RMSprop, tuple)),
        (
            TypeError,
            "RMSprop made a RMSprop, which has no method step()",
            lambda: check_update(from_object(RMSprop, method="step"), "rmsprop"),
        ),
        (
            TypeError,
            "mu is no setting of momentum, which has lr, momentum, weight_decay",
            lambda: check_update(adam, "momentum", mu=1),
        ),
        (TypeError, "eps must be a number, not '1e-8'", lambda: check_update(adam, "adam", eps="1e-8")),
        (ValueError, "eps must be finite, not inf", lambda: check_update(adam, "adam", eps=math.inf)),
        (
            TypeError,
            "takes no weight_decay, which the formula of adamw needs (its state is taken to be m, v); if its value is",
            lambda: check_update(adam, "adamw"),
        ),
        (
            TypeError,
            "<lambda> takes no lr, which the formula of sgd needs",
            lambda: check_update(lambda w, dw: w - dw, "sgd"),
        ),
        (
            TypeError,
            "<lambda> returned 2 values; expected 1: θ′",
            lambda: check_update(lambda w, dw, lr: (w, dw), "sgd"),
        ),
        (
            TypeError,
            "<lambda> returned 2 values; expected 3: θ′, the new a, the new b",
            lambda: check_update(lambda w, dw, a, b, lr: (w, dw), "sgd"),
        ),
        (
            TypeError,
            "<lambda> returned an array of float64; expected a pair (θ′, config)",
            lambda: check_update(from_config(lambda w, dw, c: w), "sgd"),
        ),
        (
            TypeError,
            "takes no lr, which the formula of sgd needs (in its dictionary it has no setting)",
            lambda: check_update(from_config(lambda w, dw, c: (w, c)), "sgd"),
        ),
        (
            TypeError,
            "<lambda> made None, which has no method step()",
            lambda: check_update(from_optimizer(lambda p, lr: None), "sgd"),
        ),
        (
            TypeError,
            "<lambda> wants decay, which is no setting of sgd; these are lr, weight_decay, max_norm",
            lambda: check_update(from_optimizer(lambda p, lr, decay: None), "sgd"),
        ),
        (
            TypeError,
            "<lambda> yielded 1 parameters; it was given 2",
            lambda: check_update(from_steps(lambda p, g, lr: [p[:1]]), "sgd"),
        ),
        (
            TypeError,
            "<lambda> yielded 1 times; expected once after each of 5 steps",
            lambda: check_update(from_steps(lambda p, g, lr: [p]), "sgd"),
        ),
        (
            TypeError,
            "<lambda> returned 1 values; expected 2: θ′, the new m",
            lambda: check_update(lambda w, dw, lr: w, lambda theta, g, m, *, lr: theta),
        ),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_line(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "step, fault",
    [
        (lambda w, dw, lr: (w - lr * dw).astype(np.float32), "step 1: parameter 0 becomes float32, and was float64"),
        (lambda w, dw, lr: (w - lr * dw).ravel(), "step 1: parameter 0 becomes (6,), and was (2, 3)"),
    ],
)
def test_a_parameter_that_becomes_something_else_is_a_fault(step, fault):
    with pytest.raises(GradientError, match=re.escape(fault)) as caught:
        check_update(step, "sgd")
    assert caught.value.report.problems == (fault,)


def test_any_name_of_a_setting_reaches_what_takes_them_all():
    def make(parameters, **settings):
        assert sorted(settings) == ["beta1", "beta2", "eps", "lr", "weight_decay"]
        betas = settings.pop("beta1"), settings.pop("beta2")
        return AdamW(parameters, betas=betas, **settings)

    assert check_update(from_optimizer(make, Parameter), "adamw").is_right


def test_a_parameter_has_data_and_a_gradient_and_nothing_else_unless_one_is_given():
    def make(parameters, lr):
        assert all(vars(p).keys() == {"data", "grad"} for p in parameters)

        def step():
            for p in parameters:
                p.data -= lr * p.grad

        return SimpleNamespace(step=step)

    assert check_update(from_optimizer(make), "sgd").is_right


def test_the_state_is_left_to_the_update():
    calls = []

    def step(w, dw, velocity, lr, momentum):
        calls.append(velocity)
        return w + (momentum * velocity - lr * dw), momentum * velocity - lr * dw

    check_update(step, "momentum")
    assert not calls[0].any() and calls[2].any() and calls[3].any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m, g, beta1: beta1 * m + (1 - beta1) + g,
        lambda m, g, beta1: beta1 + m + (1 - beta1) * g,
        lambda m, g, beta1: beta1 * m + (1 - beta1) / g,
    ],
)
def test_an_edit_of_the_table_is_named_by_its_kind_and_place(wrong):
    def step(w, dw, m, v, t, lr, beta1, beta2, eps):
        m = wrong(m, dw, beta1)
        v = beta2 * v + (1 - beta2) * dw**2
        return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    assert said_of(step, "adam") == "in m_new: one of + − · / stands in the place of another"
