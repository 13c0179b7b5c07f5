"""Adapters that run code with one of five interfaces for a whole course of steps.

An adapter has a `name`, for the report. `arguments(formula)` returns {setting: the code's name for it} for the settings
of a Formula that the code takes. `takes_any` is True if the code takes settings of any name. `take(course, options)`
yields the list of the parameters' values after each step. `jointly` is True if the code receives the gradients of all
parameters at once, which it needs to clip them by their common norm.
"""

import functools
import inspect
from types import SimpleNamespace

import numpy as np

from gradcheck.call import describe

# Other names of the settings. A name that several settings share belongs to the first of them without a name yet.
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
PAIR = "betas"  # one name for two settings


def spelled(wanted, names):
    """Return {setting: its name} for the wanted settings that are found among the names."""
    found = {setting: setting for setting in wanted if setting in names}
    for setting in wanted:
        free = [n for n in SPELLINGS.get(setting, ()) if n in names and (n == PAIR or n not in found.values())]
        if setting not in found and free:
            found[setting] = free[0]
    return found


def options_of(values, arguments):
    """Return the values of the settings under the code's names for them."""
    options = {}
    for setting, name in arguments.items():
        value = values[setting]
        options[name] = (*options.get(name, ()), value) if name == PAIR else value
    return options


class OfFunction:
    """A function `update(theta, g, *state, **settings)` that returns θ′ and the new state, or changes them in place."""

    jointly = False

    def __init__(self, function):
        self.function = function
        self.name = _name(function)
        self.takes_any = _takes_any(function)
        self.counter = None
        self.state = ()

    def arguments(self, formula):
        """Find the settings, t and the state among the arguments after θ and g."""
        after = _after(self.function, 2)
        found = spelled((*formula.settings, "max_norm", "t"), after)
        self.counter = found.pop("t", None)
        others = {name: p.default for name, p in after.items() if name not in (*found.values(), self.counter)}
        required = [name for name, default in others.items() if default is inspect.Parameter.empty]
        optional = [name for name, default in others.items() if default is None]
        self.state = tuple(required or optional[: len(formula.state)])
        return found

    def understood(self, found):
        """Describe the arguments taken to be the state, for the message about a missing setting."""
        return f" (its state is taken to be {', '.join(self.state)})" if self.state else ""

    def take(self, course, options):
        """Call the function once for each parameter at each step."""
        thetas = [start.copy() for start in course.starts]
        states = [[np.zeros(start.shape) for _ in self.state] for start in course.starts]
        for t, gradients in enumerate(course.gradients, start=1):
            count = {} if self.counter is None else {self.counter: t}
            for i, g in enumerate(gradients):
                state = dict(zip(self.state, states[i], strict=True))
                returned = self.function(thetas[i], g.copy(), **state, **options, **count)
                thetas[i], states[i] = self._after_step(returned, thetas[i], states[i])
            yield thetas

    def _after_step(self, returned, theta, state):
        if returned is None:
            return theta, state
        if not isinstance(returned, (tuple, list)):
            return returned, state
        if len(returned) != 1 + len(state):
            raise TypeError(
                f"{self.name} returned {len(returned)} values; expected {1 + len(state)}: "
                f"{', '.join(['θ′', *(f'the new {name}' for name in self.state)])}"
            )
        return returned[0], list(returned[1:])


class OfConfig:
    """A function `update(w, dw, config) -> (w, config)` that keeps its settings and state in a dictionary."""

    jointly = takes_any = False

    def __init__(self, function):
        self.function = function
        self.name = _name(function)

    def arguments(self, formula):
        """Find the settings among the keys that the function looks up in an empty dictionary or adds to it."""
        wanted, config = (*formula.settings, "max_norm"), {}
        while True:
            try:
                return spelled(wanted, self._call(np.ones(2), np.ones(2), config)[1])
            except KeyError as error:
                if error.args[0] in config or not spelled(wanted, error.args):
                    raise
                config[error.args[0]] = 0.5

    def understood(self, found):
        """Describe the settings that were found in the dictionary."""
        return f" (in its dictionary it has {', '.join(found.values()) or 'no setting'})"

    def take(self, course, options):
        """Call the function once for each parameter at each step, with a separate dictionary for each parameter."""
        thetas, configs = [start.copy() for start in course.starts], [dict(options) for _ in course.starts]
        for gradients in course.gradients:
            for i, g in enumerate(gradients):
                thetas[i], configs[i] = self._call(thetas[i], g.copy(), configs[i])
            yield thetas

    def _call(self, theta, g, config):
        returned = self.function(theta, g, config)
        if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict):
            return returned
        what = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else describe(returned)
        raise TypeError(f"{self.name} returned {what}; expected a pair (θ′, config)")


class _OfAll:
    """Code that takes its settings after `before` other arguments, and all parameters at once if `jointly` is True."""

    jointly = True

    def __init__(self, function, before):
        self.function = function
        self.before = before
        self.name = _name(function)
        self.takes_any = _takes_any(function)

    def arguments(self, formula):
        """Find the settings among the arguments."""
        after = _after(self.function, self.before)
        found = spelled((*formula.settings, "max_norm"), after)
        for name, parameter in after.items():
            if parameter.default is parameter.empty and name not in found.values():
                known = ", ".join((*formula.settings, "max_norm"))
                raise TypeError(f"{self.name} wants {name}, which is no setting of {formula.name}; these are {known}")
        return found

    def understood(self, found):
        """Describe the settings that were found among the arguments."""
        return f" (it takes {', '.join(dict.fromkeys(found.values())) or 'none'})"


class OfOptimizer(_OfAll):
    """A class or function that creates an object with step() from a list of parameters with .data and .grad."""

    def __init__(self, make, parameter, gradient):
        super().__init__(make, before=1)
        self.parameter = parameter
        self.gradient = gradient

    def take(self, course, options):
        """Set the gradient of each parameter and call step(), at each step."""
        parameters = [self.parameter(start.copy()) for start in course.starts]
        optimizer = self.function(parameters, **options)
        if not callable(getattr(optimizer, "step", None)):
            raise TypeError(f"{self.name} made {describe(optimizer)}, which has no method step()")
        for gradients in course.gradients:
            for parameter, g in zip(parameters, gradients, strict=True):
                parameter.grad = self.gradient(g.copy())
            optimizer.step()
            yield [parameter.data for parameter in parameters]


class OfObject(_OfAll):
    """A class or function that takes only settings and creates an object whose method takes parameters and gradients.

    Without a `container`, there is one object for each parameter, and its method takes two arrays. With a `container`
    (`dict` or `list`), there is a single object, and its method takes two containers.
    """

    def __init__(self, make, method, container):
        super().__init__(make, before=0)
        self.method = method
        self.container = container
        self.jointly = container is not None

    def take(self, course, options):
        """Call the method at each step. It returns the new parameters, or None if it changed them in place."""
        if self.container is None:
            methods = [self._made(options) for _ in course.starts]
            thetas = [start.copy() for start in course.starts]
            for gradients in course.gradients:
                for i, (method, g) in enumerate(zip(methods, gradients, strict=True)):
                    returned = method(thetas[i], g.copy())
                    thetas[i] = thetas[i] if returned is None else returned
                yield thetas
        else:
            method, thetas = self._made(options), self._held(course.starts)
            for gradients in course.gradients:
                returned = method(thetas, self._held(gradients))
                thetas = thetas if returned is None else returned
                yield [thetas[key] for key in self._keys(course.starts)]

    def _made(self, options):
        made = self.function(**options)
        if not callable(getattr(made, self.method, None)):
            raise TypeError(f"{self.name} made {describe(made)}, which has no method {self.method}()")
        return getattr(made, self.method)

    def _keys(self, arrays):
        return [str(i) if self.container is dict else i for i in range(len(arrays))]

    def _held(self, arrays):
        copies = [array.copy() for array in arrays]
        return copies if self.container is list else dict(zip(self._keys(arrays), copies, strict=True))


class OfSteps(_OfAll):
    """A generator function `steps(parameters, gradients, **settings)` that yields the parameters after each step."""

    def __init__(self, function):
        super().__init__(function, before=2)

    def take(self, course, options):
        """Run the generator over the whole course."""
        parameters, count = [start.copy() for start in course.starts], 0
        for yielded in self.function(parameters, [[g.copy() for g in step] for step in course.gradients], **options):
            values = parameters if yielded is None else list(yielded)
            if len(values) != len(parameters):
                raise TypeError(f"{self.name} yielded {len(values)} parameters; it was given {len(parameters)}")
            count += 1
            yield values
        if count != len(course.gradients):
            raise TypeError(
                f"{self.name} yielded {count} times; expected once after each of {len(course.gradients)} steps"
            )


def new_parameter(array):
    """Return a parameter with only the attributes `.data` and `.grad`."""
    return SimpleNamespace(data=array, grad=None)


def _name(function):
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _takes_any(function):
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _after(function, count):
    """Return {name: inspect.Parameter} of the named arguments after the first `count`, without *args and **kwargs."""
    parameters = list(inspect.signature(function).parameters.values())[count:]
    return {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
