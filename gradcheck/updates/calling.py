"""Run an optimiser through one of five interfaces."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradcheck.call import Call, describe

# Other names of the settings. If a name is listed for several settings, it belongs to the first that has no name yet.
SPELLINGS = {
    "lr": ("learning_rate", "eta", "step_size", "stepsize", "alpha"),
    "momentum": ("mu", "beta", "gamma", "rho"),
    "rho": ("decay_rate", "alpha", "beta", "beta2", "gamma"),
    "beta1": ("beta_1", "b1", "betas"),
    "beta2": ("beta_2", "b2", "betas"),
    "eps": ("epsilon",),
    "weight_decay": ("wd", "lambda_", "lambd", "lam"),
    "max_norm": ("clip_norm", "max_grad_norm", "grad_clip"),
    "t": ("step", "iteration", "timestep"),
}
PAIR = "betas"  # the name of a pair of settings, (beta1, beta2)


def spelled(wanted, names):
    found = {setting: setting for setting in wanted if setting in names}
    for setting in wanted:
        free = [n for n in SPELLINGS.get(setting, ()) if n in names and (n == PAIR or n not in found.values())]
        if setting not in found and free:
            found[setting] = free[0]
    return found


def options_of(values, arguments):
    options = {}
    for setting, name in arguments.items():
        value = values[setting]
        options[name] = (*options.get(name, ()), value) if name == PAIR else value
    return options


class Code:
    """An optimiser under test, as a generator function `steps` like that of from_steps.

    The names and defaults of its settings are those of `function`, after the first `before` arguments. `jointly` is
    True if the code receives the gradients of all parameters at once, and may clip their common norm.
    """

    state: tuple[str, ...] = ()  # the names of the arguments that contain the state

    def __init__(self, function, steps, before, jointly=True):
        if not callable(function):
            raise TypeError(f"check_update: {describe(function)} cannot be called")
        self.function, self.steps, self.jointly, self.name = function, steps, jointly, Call(function).name
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters[before:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self.after = {p.name: p.default for p in named}

    def arguments(self, formula):
        """Return the accepted settings, as {name in the formula: name in the code}."""
        found = spelled((*formula.settings, "max_norm"), self.after)
        needed = [name for name, default in self.after.items() if default is inspect.Parameter.empty]
        if unknown := [name for name in needed if name not in found.values()]:
            raise TypeError(
                f"{self.name} requires the argument {unknown[0]}, but the settings of {formula.name} are "
                f"{', '.join(formula.settings)}, max_norm"
            )
        return found


class OfFunction(Code):
    """A function update(theta, g, *state, **settings) that returns θ′ and the new state."""

    def __init__(self, function):
        super().__init__(function, by_parameter(self._stepper), 2, jointly=False)

    def arguments(self, formula):
        """Identify the settings, the argument t, and the arguments that contain the state.

        The state is all other arguments without a default or, if there are no others, those with the default None.
        """
        found = spelled((*formula.settings, "max_norm", "t"), self.after)
        self.counter = found.pop("t", None)
        others = {name: d for name, d in self.after.items() if name not in (*found.values(), self.counter)}
        required = [name for name, default in others.items() if default is inspect.Parameter.empty]
        optional = [name for name, default in others.items() if default is None]
        self.state = tuple(required or optional[: len(formula.state)])
        return found

    def _stepper(self, start, settings):
        state = {name: np.zeros(start.shape) for name in self.state}

        def step(theta, g, t):
            count = {} if self.counter is None else {self.counter: t}
            returned = self.function(theta, g, **state, **settings, **count)
            if not isinstance(returned, (tuple, list)):
                return returned
            if len(returned) != 1 + len(state):
                expected = ", ".join(["θ′", *(f"the new {name}" for name in state)])
                raise TypeError(f"{self.name} returned {len(returned)} values; expected {1 + len(state)}: {expected}")
            state.update(zip(state, returned[1:], strict=True))
            return returned[0]

        return step


def by_parameter(stepper):
    """Return the generator function of code that updates one parameter at a time.

    `stepper(theta, settings)` returns a function step(theta, g, t) for one parameter. `step` returns θ′, or None if it
    changed θ in place.
    """

    def steps(thetas, gradients, **settings):
        each = [stepper(theta, settings) for theta in thetas]
        for t, present in enumerate(gradients, start=1):
            for i, g in enumerate(present):
                returned = each[i](thetas[i], g, t)
                thetas[i] = thetas[i] if returned is None else returned
            yield

    return steps


def from_config(function: Callable[..., Any]) -> Code:
    """Adapt a function `function(w, dw, config) -> (w, config)` for check_update.

    The function keeps its settings and its state in the dictionary `config`. To find the settings, the function is
    called with an empty dictionary. The settings are the keys that it looks up with `config[key]` or adds.
    """
    name = Call(function).name

    def call(theta, g, config):
        returned = function(theta, g, config)
        if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict):
            return returned
        raise TypeError(f"{name} returned {describe(returned)}; expected a pair (θ′, config)")

    def stepper(_, settings):
        config = dict(settings)

        def step(theta, g, t):
            nonlocal config
            theta, config = call(theta, g, config)
            return theta

        return step

    code, looked_up = Code(function, by_parameter(stepper), 3, jointly=False), {}
    while True:
        try:
            keys = call(np.ones(2), np.ones(2), dict(looked_up))[1]
            break
        except KeyError as error:
            if error.args[0] in looked_up:
                raise
            looked_up[error.args[0]] = 0.5
    code.after, code.takes_any = dict.fromkeys(keys), False
    return code


def from_optimizer(
    make: Callable[..., Any], parameter: Callable[..., Any] | None = None, gradient: Callable[..., Any] = np.asarray
) -> Code:
    """Adapt an optimiser class with a method `step()` for check_update.

    `make(parameters, **settings)` is the class, or a function that creates an optimiser. It receives a list of
    parameters, each created by `parameter(array)`. A parameter has the attributes `.grad`, which is set to
    `gradient(array)` before each step, and `.data`, which is read after each step. By default a parameter has no other
    attributes, and the gradient is an array. For PyTorch:

        from_optimizer(torch.optim.AdamW, torch.tensor, torch.tensor)
    """
    new = parameter or (lambda array: SimpleNamespace(data=array, grad=None))

    def steps(thetas, gradients, **settings):
        parameters = [new(theta) for theta in thetas]
        step = method_of(make(parameters, **settings), "step", make)
        for present in gradients:
            for held, g in zip(parameters, present, strict=True):
                held.grad = gradient(g)
            step()
            yield [held.data for held in parameters]

    return Code(make, steps, 1)


def from_object(
    make: Callable[..., Any], container: type[dict[Any, Any]] | type[list[Any]] | None = None, *, method: str = "update"
) -> Code:
    """Adapt a class with a method `update(w, dw)` for check_update.

    `make(**settings)` is the class, or a function that creates an object. It is called once for each parameter. The
    method `update` takes two arrays, and returns the new parameter or changes it in place. If `container` is dict or
    list, a single object is created, and `update` takes a container of all parameters and a container of all gradients.
    `method` is the name of the method, "update" by default.

    Raises ValueError if `container` is not dict, list or None.
    """
    if container not in (None, dict, list):
        raise ValueError(f"from_object: container must be dict, list or None, not {container!r}")

    def stepper(_, settings):
        update = method_of(make(**settings), method, make)
        return lambda theta, g, t: update(theta, g)

    def held(arrays):
        return arrays if container is list else {str(i): array for i, array in enumerate(arrays)}

    def steps(thetas, gradients, **settings):
        update, thetas = method_of(make(**settings), method, make), held(thetas)
        for present in gradients:
            returned = update(thetas, held(present))
            thetas = thetas if returned is None else returned
            yield thetas if container is list else thetas.values()

    return Code(make, by_parameter(stepper), 0, jointly=False) if container is None else Code(make, steps, 0)


def from_steps(function: Callable[..., Any]) -> Code:
    """Adapt a generator function for check_update.

    The function is called as `function(parameters, gradients, **settings)`. `parameters` is a list of arrays, and
    `gradients` contains one such list for each step. After each step the generator yields the list of parameters in the
    same order, or None if it changed `parameters` in place.
    """
    return Code(function, function, 2)


def method_of(made, name, make):
    if not callable(getattr(made, name, None)):
        raise TypeError(f"{Call(make).name} returned {describe(made)}, which has no method {name}()")
    return getattr(made, name)
