"""gradcheck's checks without the explanation, which takes most of their time if they fail, and a plain module."""

import functools

import numpy as np

import gradcheck

check = functools.partial(gradcheck.check, explain=False)
check_call = functools.partial(gradcheck.check_call, explain=False)
check_case = functools.partial(gradcheck.check_case, explain=False)
check_module = functools.partial(gradcheck.check_module, explain=False)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def diagnosed(function, *inputs, **options):
    """Return the report of a check that fails, with its diagnoses. The lines of backward are not examined."""
    report = gradcheck.check(function, *inputs, raises=False, **options)
    assert not report.is_right
    return report


def message(function, *inputs, **options):
    """Return the message of a check that fails, without the lines of backward."""
    return str(gradcheck.GradientError(diagnosed(function, *inputs, **options)))


def verdicts(function, *inputs, check=check, **options):
    """Return {argument: verdict} of a check, whatever it finds."""
    return {a.name: a.verdict for a in check(function, *inputs, raises=False, **options).arguments}


def verdict(function, x, **options):
    """Return the verdict on the gradient of a function of one argument."""
    return next(iter(verdicts(function, x, **options).values()))


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = None
        self.requires_grad = True


class Scale:
    """y = γ x + β, a module of the plainest kind; `wrong` doubles γ's gradient."""

    def __init__(self, wrong=False):
        self.gamma = Parameter(np.ones(3, np.float32))
        self.beta = Parameter(np.zeros(3, np.float32))
        self.wrong = wrong
        self.seen = []

    def named_parameters(self):
        yield "gamma", self.gamma
        yield "beta", self.beta

    def forward(self, x):
        self.seen.append((self.gamma.data.copy(), self.beta.data.copy()))
        gamma = self.gamma.data

        def backward(dy):
            factor = 2 if self.wrong else 1
            for parameter, grad in ((self.gamma, factor * (dy * x).sum(axis=0)), (self.beta, dy.sum(axis=0))):
                if parameter.requires_grad:
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad
            return dy * gamma

        return gamma * x + self.beta.data, backward

    __call__ = forward
