"""The exercises, in reading order: functions of the textbook and the cases on which they are graded."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gradcheck import Call, Case

PACKAGE = Path(__file__).parents[1]
LEVELS = {
    0: "the right-hand side of each line of backward",
    1: "the body of backward",
    2: "the derivation and the body of backward",
    3: "forward and backward",
}


@dataclass(frozen=True)
class Exercise:
    """A function, or a class with a `forward`, whose backward pass the student writes.

    `name` is the name of the exercise and of its file. The exercise is cut from the function `target` of the file
    `source`. Its cases are those of `cases.py` whose names begin with `prefix`. If they call another function, `make`
    converts their Calls into Calls of the target. `given` is the text of the exercise if its source is not available.
    """

    name: str
    title: str
    source: Path
    target: str
    prefix: str
    make: Callable | None = None
    given: str = ""

    @property
    def reference(self):
        """Return the function or class that the exercise is cut from."""
        return getattr(import_module(self.module), self.target)

    @property
    def module(self) -> str:
        return ".".join((PACKAGE.name, *self.source.relative_to(PACKAGE).with_suffix("").parts))

    @property
    def is_update(self) -> bool:
        """Return True for a step of an optimiser, which has no backward pass."""
        return self.target == "adamw"

    def cases(self) -> list[Case]:
        from minitransformer.cases import FUNCTIONS, MODULES

        return [case for case in (*FUNCTIONS, *MODULES) if f"{case.name},".startswith(f"{self.prefix},")]


def turned_call(call):
    from minitransformer.layers.positions import cos_and_sin, turned

    (x,), options = call.inputs, {"base": 10000.0, "layout": "half", "scaling": None} | call.options
    cos, sin = cos_and_sin(options["positions"], x.shape[-1], options["base"], options["scaling"], x.dtype)
    return Call(turned, x, cos=cos, sin=sin, layout=options["layout"])


def gelu_tanh_call(call):
    from minitransformer.layers.activations import gelu_tanh

    return Call(gelu_tanh, *call.inputs)


def of_layers(name, title, file, target=None, prefix=None, make=None):
    return Exercise(name, title, PACKAGE / "layers" / f"{file}.py", target or name, prefix or name, make)


EXERCISES = (
    of_layers("linear", "a product with a matrix", "linear"),
    of_layers("embedding", "looking up the rows of a table", "embedding"),
    of_layers("unembedding", "the product with the same table", "embedding"),
    of_layers("rotary", "pairs of channels, rotated by their position", "positions", "turned", "rotary", turned_call),
    of_layers("layer_norm", "layer normalization", "layer_norm"),
    of_layers("rms_norm", "layer normalization without the mean", "rms_norm"),
    of_layers("softmax", "weights that sum to one", "softmax"),
    of_layers("log_softmax", "the logarithm of softmax", "softmax"),
    of_layers("attention", "scaled dot-product attention", "attention"),
    of_layers(
        "multi_head_attention",
        "several heads side by side",
        "multi_head_attention",
        "MultiHeadAttention",
        "MultiHeadAttention",
    ),
    of_layers("relu", "the slope is 1 or 0", "activations"),
    of_layers("silu", "a product rule", "activations"),
    of_layers("gelu", "a chain rule within a product rule", "activations", "gelu_tanh", "gelu, tanh", gelu_tanh_call),
    of_layers("dropout", "noise that trains", "dropout"),
    of_layers("feed_forward", "two maps and an activation", "feed_forward", "FeedForward", "FeedForward"),
    of_layers("swiglu", "a gated activation", "feed_forward"),
    of_layers("gated_feed_forward", "three maps", "feed_forward", "GatedFeedForward", "GatedFeedForward"),
    of_layers("block", "two residual steps", "block", "TransformerBlock", "TransformerBlock"),
    Exercise("cross_entropy", "the loss", PACKAGE / "losses.py", "cross_entropy", "cross_entropy"),
    Exercise("adamw", "a step of the optimiser", PACKAGE / "optim.py", "adamw", "adamw"),
)
SETS = {
    "all": tuple(exercise.name for exercise in EXERCISES),
    "first": ("linear", "relu", "softmax", "layer_norm"),
    "attention": ("linear", "softmax", "attention", "multi_head_attention"),
    "norms": ("layer_norm", "rms_norm"),
    "activations": ("relu", "silu", "gelu", "swiglu"),
    "loss": ("softmax", "log_softmax", "cross_entropy"),
    "composition": ("multi_head_attention", "feed_forward", "gated_feed_forward", "block"),
}


def named_exercise(name: str) -> Exercise:
    """Return the exercise of that name. Raises ValueError if there is none."""
    return looked_up(name, {exercise.name: exercise for exercise in EXERCISES}, "exercise")


def names_by_file() -> dict[str, list[str]]:
    """Return {path relative to the package: names of the exercises cut from it}."""
    found = {}
    for exercise in EXERCISES:
        found.setdefault(exercise.source.relative_to(PACKAGE).as_posix(), []).append(exercise.name)
    return found


def exercise_set(name: str) -> list[Exercise]:
    """Return the exercises of a set. Raises ValueError for an unknown name."""
    return [named_exercise(member) for member in looked_up(name, SETS, "set of exercises")]


def looked_up(name, known, what):
    """Return known[name]. Raises ValueError, with a suggestion, if it is missing."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; it must be one of {', '.join(known)}"
    raise ValueError(f"there is no {what} {name!r}{hint}")
