"""Certificates: right gradients are certified, wrong ones never, however they are built."""

import functools
import itertools
import math
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from right_functions import STYLES
from scipy import special
from scipy.special import logsumexp

import gradcheck
from gradcheck.call import Call
from gradcheck.certify import certify_call, constants
from gradcheck.certify.arrays import numpy_replaced
from gradcheck.certify.certificate import sides
from gradcheck.certify.relations import Run
from gradcheck.certify.scalar import CannotTell
from gradcheck.contract import run_and_test
from minitransformer import Config, Transformer, one_page, optim, plain
from minitransformer.cases import FUNCTIONS, MODULES, ONE_PAGE
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.softmax import log_softmax, softmax

x = np.random.default_rng(0).normal(size=(2, 3))


def certified(f, *inputs):
    """Return the verdict on a function of `inputs`, or of x."""
    return gradcheck.certify(f, *(inputs or (x,))).verdict


def square(slope):
    """Return x² with the gradient slope(x, dy)."""

    def f(x):
        return x * x, lambda dy: slope(x, dy)

    return f


PARTS = [*FUNCTIONS, *(case for case in MODULES if not case.name.startswith(("Transf", "Paired"))), ONE_PAGE]


@pytest.mark.parametrize("case", PARTS[::8], ids=lambda case: case.name)  # test_recheck.py has all, which is slow
def test_a_gradient_of_the_textbook_is_an_identity(case):
    with plain():
        certificate = certify_call(case.call(np.random.default_rng(0)))
    assert certificate, certificate
    assert certificate.exponent <= -60


@pytest.mark.one_in(6)
@pytest.mark.parametrize(("f", "inputs"), STYLES, ids=lambda value: getattr(value, "__name__", ""))
def test_right_functions_of_other_styles_are_not_refused(f, inputs):
    gradcheck.check(f, *inputs)
    expected = "cannot tell" if f.__name__ == "powers" else "certified"
    assert certified(f, *inputs) == expected


def test_a_certificate_states_its_scope_and_the_constants_it_read():
    certificate = gradcheck.certify(layer_norm, x, x[0], x[1])
    assert certificate and certificate.constants == ((1e-05, "1/100000"),)
    assert "for all inputs of these shapes that compare as follows" in str(certificate)
    (decision,) = certificate.decisions
    assert "np.sqrt(variance" in decision and "the first value is greater in all 4 compared pairs" in decision
    assert "1e-05 read as 1/100000" in str(certificate)
    assert certificate.exponent > constants.ROUNDS * math.log10(1 / 4)  # the number p may not be prime


def by_rule(f, rule):
    return lambda *inputs: (f(*inputs), lambda dy: rule(dy, *inputs))


def attention_by(scores):
    """Return a softmax of scores(q, k, w), and its gradients as if the scores were (q w) kᵀ."""

    def f(q, k, w):
        e = np.exp(scores(q, k, w))
        p = e / e.sum(axis=1, keepdims=True)

        def backward(dy):
            d = p * (dy - (dy * p).sum(axis=1, keepdims=True))
            return d @ k @ w.T, d.T @ (q @ w), q.T @ d @ k

        return p, backward

    return f


A, M, QKW = x / 3, np.random.default_rng(1).normal(size=(3, 3)), [x, x[:, ::-1] + 1, x.T @ x]
RULES = {  # function: (value, its gradient, inputs)
    "arctan": (np.arctan, lambda dy, a: dy / (1 + a * a), [A]),
    "arctan2": (np.arctan2, lambda dy, a, b: (dy * b / (a * a + b * b), -dy * a / (a * a + b * b)), [A, x]),
    "arcsin": (np.arcsin, lambda dy, a: dy / np.sqrt(1 - a * a), [A]),
    "arccos": (np.arccos, lambda dy, a: -dy / np.sqrt(1 - a * a), [A]),
    "arcsinh": (np.arcsinh, lambda dy, a: dy / np.sqrt(1 + a * a), [A]),
    "arctanh": (np.arctanh, lambda dy, a: dy / (1 - a * a), [A]),
    "cbrt": (np.cbrt, lambda dy, a: dy / (3 * np.cbrt(a) ** 2), [A]),
    "norm": (np.linalg.norm, lambda dy, a: dy * a / np.linalg.norm(a), [A]),
    "inv": (np.linalg.inv, lambda dy, m: -np.linalg.inv(m).T @ dy @ np.linalg.inv(m).T, [M]),
    "log det": (lambda m: np.linalg.slogdet(m)[1], lambda dy, m: dy * np.linalg.inv(m).T, [M]),
    "logsumexp": (lambda a: logsumexp(a, axis=1), lambda dy, a: dy[:, None] * special.softmax(a, axis=1), [A]),
    "sin cos": (lambda a: np.sin(a) * np.cos(a), lambda dy, a: dy * np.cos(2 * a), [A]),
    "sin of a sum": (
        lambda a, b: np.sin(a + b),
        lambda dy, a, b: 2 * (dy * (np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b)),),
        [A, x],
    ),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", RULES)
def test_functions_beyond_exp_and_log_are_certified(name):
    value, rule, inputs = RULES[name]
    assert certified(by_rule(value, rule), *inputs) == "certified"


SCORES = {"regrouped": lambda q, k, w: q @ (k @ w.T).T, "transposed": lambda q, k, w: (k @ w.T @ q.T).T}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_exponential_of_a_regrouped_product_is_the_same(scores):
    assert gradcheck.same(attention_by(lambda q, k, w: (q @ w) @ k.T), attention_by(scores), *QKW)
    assert certified(attention_by(scores), *QKW) == "certified"


WRONG_WAYS = {  # each makes a gradient wrong in a way that the new relations must not hide
    "a multiple": lambda g, dy, *inputs: g * 1.0000001,
    "a term": lambda g, dy, *inputs: g + 1e-9 * np.sum(dy),
    "the other sign": lambda g, dy, *inputs: -g,
    "one entry": lambda g, dy, *inputs: g + 1e-8 * (np.arange(g.size).reshape(g.shape) == 1),
}


@pytest.mark.one_in(6)
@pytest.mark.parametrize(  # each rule in two ways
    "name, way",
    [(n, way) for i, n in enumerate(RULES) for k, way in enumerate(WRONG_WAYS) if (i + k) % 2],
)
def test_wrong_variants_of_these_functions_are_refused(name, way):
    value, rule, inputs = RULES[name]

    def wrong(dy, *inputs):
        first, *others = given if isinstance(given := rule(dy, *inputs), tuple) else (given,)
        return (WRONG_WAYS[way](first, dy), *others)

    assert certified(by_rule(value, wrong), *inputs) == "refused"


def perturbed(f, change):
    """Return f with its last gradient changed."""

    def wrong(*inputs, **options):
        y, backward = f(*inputs, **options)

        def wrong_backward(dy):
            gradients = backward(dy)
            *others, last = gradients if isinstance(gradients, tuple) else (gradients,)
            return (*others, change(last))

        return y, wrong_backward

    return wrong


CHANGES = {
    "a relative error of 1e-9": lambda dx: dx * (1 + 1e-9),
    "a relative error of 1e-12": lambda dx: dx * (1 + 1e-12),
    "a wrong sign": lambda dx: -dx,
    "the wrong order": np.flip,
    "an entry in another place": lambda dx: np.roll(dx, 1),
}
CALLS = [case.call(np.random.default_rng(0)) for case in FUNCTIONS[::8]] + [Call(f, *f_in) for f, f_in in STYLES[::4]]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "call, change", list(zip(CALLS, itertools.cycle(CHANGES))), ids=lambda value: getattr(value, "name", value)
)
def test_a_changed_gradient_is_never_certified(call, change):
    wrong = perturbed(call.target, CHANGES[change])
    with plain():
        certificate = gradcheck.certify(wrong, *call.inputs, **call.options)
    assert not certificate
    assert certificate.verdict == "cannot tell" or re.match(r"d\w+", certificate.reason)  # the argument


def keeps_the_slope(kept={}):  # noqa: B006 (the mistake)
    def f(x):
        slope = kept.setdefault(x.shape, 2 * x)
        return x * x, lambda dy: slope * dy

    return f


def changes_dy(x):
    def backward(dy):
        dy *= 2
        return dy

    return 2 * x, backward


# Attempts to have a wrong gradient certified, with full knowledge of the method.
ATTACKS = {
    "a wrong ε": lambda x: (1 / np.sqrt(x * x + 1e-5), lambda dy: -dy * x * (x * x + 1.00001e-5) ** -1.5),
    "a rounded √(2/π)": lambda x: (x * math.sqrt(2 / math.pi), lambda dy: dy * 0.79788456),
    "a wrong 0.044715": lambda x: (x + 0.044715 * x**3, lambda dy: dy * (1 + 3 * 0.0447150001 * x**2)),
    "the wrong sign of a root": lambda x: (np.sqrt(x * x), lambda dy: -dy * np.sign(x)),
    "the wrong sign of a root that is not factored": lambda x: (
        np.sqrt(x * x + 2 * x + 1),
        lambda dy: -dy * np.sign(x + 1),
    ),
    "a difference below the digits": square(lambda x, dy: 2 * x * dy + 1e-60 * x * dy),
    "wrong on floats only": square(lambda x, dy: 2 * x * dy * (1.1 if type(x) is np.ndarray else 1)),
    "slightly wrong on floats only": square(lambda x, dy: 2 * x * dy * (1 + 1e-8 if type(x) is np.ndarray else 1)),
    "a slope kept from other inputs": keeps_the_slope(),
    "clipping that this dy does not reach": square(lambda x, dy: 2 * x * np.clip(dy, -50, 50)),
    "clipping that no float dy reaches": square(lambda x, dy: 2 * x * np.clip(dy, -1e30, 1e30)),
    "a constant slope": lambda x: (x * float(x[0, 0]), lambda dy: dy * float(x[0, 0])),
    "an array that is not filled": square(lambda x, dy: 2 * x * dy + 0 * np.empty(x.shape)),
    "a gradient that is not finite": square(lambda x, dy: dy * np.nan),
    "a gradient of another shape": square(lambda x, dy: (2 * x * dy).sum(axis=0)),
    "a backward that raises": square(lambda x, dy: dy @ x @ x),
    "a modified dy": changes_dy,
    "the inputs themselves": square(lambda x, dy: 2 * x * dy if np.array_equal(x, globals()["x"]) else dy),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_construction_has_a_wrong_gradient_certified(attack):
    assert certified(ATTACKS[attack]) != "certified"


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_a_multiple_of_the_prime_does_not_hide_an_error(shares):
    """A function that knew the prime could add p · x · dy, in parts of which none is zero in the field."""
    guess = 4 * math.prod([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]) * 3**200 - 1

    def slope(x, dy):
        gradient = 2 * x * dy
        for _ in range(shares):
            gradient = gradient + x * dy * 1e-200 * (guess // shares)
        return gradient

    assert certified(square(slope)) != "certified"


OF_NO_MODULE = """
import numpy as np
def total(x):
    y = np.zeros(x.shape[0])
    for i in range(len(x)):
        y[i] = x[i].sum()
    def backward(dy):
        dx = np.zeros(x.shape)
        for i in range(len(x)):
            dx[i] += dy[i]
        return dx
    return y, backward
"""


def test_functions_of_no_module_may_fill_arrays_of_zeros():
    names = {}
    exec(OF_NO_MODULE, names)
    total = names["total"]
    for target in (total, functools.partial(total), lambda x: total(x)):
        assert certified(target) == "certified"


def test_inputs_that_cannot_be_checked_raise():
    with pytest.raises(ValueError, match="nothing to differentiate"):
        certified(lambda ids: (ids, lambda dy: dy), np.arange(3))


def test_infinite_values_that_vanish_are_followed():
    def masked(x):
        mask = np.array([True, False, True])
        e = np.exp(np.where(mask, x, -np.inf))
        y = e / e.sum(axis=-1, keepdims=True) + 1 / np.where(mask, 1, np.inf) * x

        def backward(dy):
            p = e / e.sum(axis=-1, keepdims=True)
            return p * (dy - (dy * p).sum(axis=-1, keepdims=True)) + dy * mask

        return y, backward

    assert certified(masked) == "certified"


TIES = {
    "relu": (lambda x: (np.where(x > 0, x, 0), lambda dy: np.where(x > 0, dy, 0)), np.array([0.0, 1.0])),
    "abs": (lambda x: (np.abs(x), lambda dy: np.sign(x) * dy), np.array([0.0, 1.0])),
    "max": (lambda x: (x.max(keepdims=True), lambda dy: dy * (x == x.max())), np.array([2.0, 1.0, 2.0])),
}


@pytest.mark.parametrize("name", TIES)
def test_a_tie_is_not_decided(name):
    f, inputs = TIES[name]
    certificate = gradcheck.certify(f, inputs)
    assert certificate.verdict == "cannot tell" and "tie" in certificate.reason


@pytest.mark.slow
@pytest.mark.parametrize("prime", [43, 1031])
def test_false_identities_hold_at_one_in_p_random_points(prime):
    """The experiment of certify/README.md. Decimals are ignored: only the field decides."""

    def wrong(x):
        y, backward = softmax(x)
        return y, lambda dy: backward(dy) + dy * y

    call = Call(wrong, x[:1])
    floats = run_and_test(call, None, np.random.default_rng(0))
    pairs, equal, tried = sides(call, floats, np.random.default_rng(1)), 0, 120
    for seed in range(tried):
        run = Run(random.Random(seed), prime)
        try:
            with run.computing(), numpy_replaced(pairs):
                [(left, right, _)] = pairs(run)
        except (CannotTell, ValueError):  # a number is zero in this small field
            continue
        equal += left.v == right.v
    assert abs(equal - tried / prime) < 4 * math.sqrt(tried / prime) + 1
    assert prime > 1000 or equal


PRIMES = [(2, 31), (3, 47), (5, 37), (7, 19), (11, 17), (13, 3), (23, 5), (29, 2), (41, 3), (43, 2)]
SAME = {
    "√p √q = √(p q)": (
        lambda a: functools.reduce(lambda b, pair: b * math.sqrt(pair[0]) * math.sqrt(pair[1]), PRIMES, a),
        lambda a: functools.reduce(lambda b, pair: b * math.sqrt(pair[0] * pair[1]), PRIMES, a),
    ),
    "softmax": (lambda a: softmax(a)[0], lambda a: np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)),
    "log_softmax": (lambda a: log_softmax(a)[0], lambda a: a - np.log(np.exp(a).sum(axis=-1, keepdims=True))),
    "(a + b)²": (lambda a: (a + 1) ** 2, lambda a: a * a + 2 * a + 1),
    "cos² + sin²": (lambda a: np.cos(a) ** 2 + np.sin(a) ** 2, lambda a: 1 + 0 * a),
}


@pytest.mark.parametrize("name", SAME)
def test_two_forms_of_a_function_are_the_same(name):
    f, g = SAME[name]
    assert gradcheck.same(f, g, x)
    assert gradcheck.same(f, lambda a: g(a) + 1e-9, x).verdict == "refused"


def test_adamw_is_the_same_on_one_page():
    options = {"t": 3, "lr": 2e-3, "eps": 1e-8}

    def textbook(theta, g, m, v):
        return optim.adamw(theta, g, m, v * v, betas=(0.9, 0.99), weight_decay=0.1, **options)

    def on_one_page(theta, g, m, v):
        return one_page.adamw(theta, g, m, v * v, **options)

    assert gradcheck.same(textbook, on_one_page, x, x + 1, x - 1, x + 2)


def test_the_transformer_is_the_same_on_one_page():
    rng, ids = np.random.default_rng(0), np.array([[0, 3, 1]])
    sizes = {"context": 3, "d_model": 4, "n_heads": 2, "n_layers": 1, "d_ff": 6, "bias": False, "dtype": "float64"}
    model = Transformer(Config(5, feed_forward="gelu_tanh", **sizes))
    theta = [rng.normal(size=parameter.data.shape) for parameter in model.parameters()]

    def textbook(*theta):
        for parameter, array in zip(model.parameters(), theta, strict=True):
            parameter.data = array
        with plain():
            return model.loss(ids, ids)[0]

    def on_one_page(*theta):
        return one_page.gpt(*theta, ids=ids, targets=ids, H=2)[0]

    assert gradcheck.same(textbook, on_one_page, *theta)


def test_import_gradcheck_does_not_load_certificates():
    code = "import gradcheck, sys; assert 'gradcheck.certify' not in sys.modules; assert callable(gradcheck.certify)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_prints_a_verdict_for_each_case(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from gradcheck import Call, Case\n"
        "def f(slope):\n    return lambda x: (x * x, lambda dy: slope * x * dy)\n"
        "CASES = [Case('right', lambda rng: Call(f(2), rng.normal(size=3))),"
        " Case('wrong', lambda rng: Call(f(3), rng.normal(size=3)))]\n"
    )
    from gradcheck.__main__ import main

    assert main(["certify", str(tmp_path / "mine.py")]) == 1
    printed = capsys.readouterr().out
    assert "certified" in printed and "refused" in printed and "1 of 2 components certified" in printed
    assert main(["certify", f"{tmp_path / 'mine.py'}:right"]) == 0
