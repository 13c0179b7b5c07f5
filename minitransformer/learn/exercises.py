"""List the exercises in reading order, with the cases on which they are graded."""

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from gradcheck import Case
from minitransformer.system.values import looked_up

PACKAGE = Path(__file__).parents[1]
LEVELS = {  # for each level, the given part of backward and the task
    0: "the equations and the names of all lines are given; write the right-hand side of each line",
    1: "the equations are given; write the body of backward",
    2: "slopes (entries of the Jacobian), if any, and the way back are given; sum over the paths, and write backward",
    3: "nothing is given; derive the equations, and write the body of backward",
    4: "the docstring of forward is given; write forward and backward",
}
SLOPES, NOTHING, FORWARD = 2, 3, 4


@dataclass(frozen=True)
class Exercise:
    """A function, or a class with a `forward`, whose backward pass the student writes."""

    name: str  # name of the exercise and of its file
    title: str  # short description
    source: Path  # file from which the exercise is cut
    target: str  # name of the function or class in this file
    prefix: str  # first part of the case names in cases.py or lessons.py
    given: str = ""  # text of the exercise if the source is not available
    student: str = ""  # student who gets this variant, or ""

    @property
    def reference(self):
        return getattr(import_module(self.module), self.target)

    @property
    def module(self) -> str:
        return ".".join((PACKAGE.name, *self.source.relative_to(PACKAGE).with_suffix("").parts))

    @property
    def is_value(self) -> bool:
        """Return True if there is no backward pass, so that the returned value is graded."""
        return self.name in VALUES

    @property
    def is_varied(self) -> bool:
        return bool(self.student) and not self.given and not self.is_value

    def cases(self) -> list[Case]:
        from minitransformer.cases import FUNCTIONS, MODULES
        from minitransformer.learn.lessons import CASES

        found = [case for case in (*FUNCTIONS, *MODULES, *CASES) if f"{case.name},".startswith(f"{self.prefix},")]
        has_axes = not self.is_value and not isinstance(self.reference, type)
        return [*found, *(with_another_axis(found[0], self.reference) if has_axes else ())]


def with_another_axis(case, reference) -> list[Case]:
    """Return a list with the Case that has another leading axis, or [] if the function refuses its inputs."""

    def draw(rng):
        call = case.draw(rng)
        length = np.shape(call.inputs[0])[:1]

        def widened(value):
            has_axis = isinstance(value, np.ndarray) and value.ndim > 1 and value.shape[:1] == length
            return value[None] if has_axis else value

        return call.on(map(widened, call.inputs), {name: widened(value) for name, value in call.options.items()})

    call = draw(np.random.default_rng(0))
    with suppress(ValueError, IndexError):
        reference(*call.inputs, **call.options)
        return [Case(f"{case.name}, another leading axis", draw)] if np.ndim(call.inputs[0]) > 1 else []
    return []


# name | title | file: target | prefix of the cases
TABLE = """
expression | the chain rule on three numbers | first_steps.py
fork | a number that is read twice | first_steps.py
sum_and_share | a sum that every output reads | first_steps.py
neuron | a weighted sum, and a slope | first_steps.py
shares | a Jacobian written out: softmax of two numbers | first_steps.py
checker | your own gradient checker | first_steps.py: check | check
attend | attention for one query, in loops | first_steps.py
linear | a product with a matrix | layers/linear.py
embedding | looking up the rows of a table | layers/embedding.py
unembedding | the product with the same table | layers/embedding.py
rotary | pairs of channels, rotated by their position | layers/positions.py: turned | turned
layer_norm | layer normalization | layers/layer_norm.py
rms_norm | layer normalization without the mean | layers/rms_norm.py
softmax | weights that sum to one | layers/softmax.py
log_softmax | the logarithm of softmax | layers/softmax.py
attention | scaled dot-product attention | layers/attention.py: scaled_dot_product | scaled_dot_product
heads | causal attention with its four matrices | learn/lessons.py
multi_head_attention | several heads side by side | layers/multi_head_attention.py: MultiHeadAttention
relu | the slope is 1 or 0 | layers/activations.py
silu | a product rule | layers/activations.py
gelu | a chain rule within a product rule | layers/activations.py: gelu_tanh | gelu_tanh
dropout | noise that trains | layers/dropout.py
feed_forward | two maps and an activation | layers/feed_forward.py: FeedForward
swiglu | a gated activation | layers/feed_forward.py
gated_feed_forward | three maps | layers/feed_forward.py: GatedFeedForward
residual | a direct path beside some steps | learn/lessons.py
bare_block | two residual steps | learn/lessons.py
block | two residual steps, with dropout and hooks | layers/block.py: TransformerBlock
cross_entropy | the loss | losses.py
tied | one table at both ends | learn/lessons.py
low_rank | an adapter for fine-tuning (LoRA) | layers/lora.py
adamw | a step of the optimiser | optim.py
clipping | gradients of a limited norm | optim.py: clip_grad_norm | clip_grad_norm
cosine_schedule | a learning rate that rises and falls | optim.py
whole_model | a model of one block, and its loss | learn/lessons.py
one_page | the whole backward pass of a model, on one page | one_page.py: gpt | one_page
training_step | gradients, and a step for every weight | learn/lessons.py
chosen | sampling with temperature and top-p | learn/lessons.py
"""


def read(line: str) -> Exercise:
    name, title, place, *prefix = line.split(" | ")
    file, _, target = place.partition(": ")
    prefix = prefix or [target if target[:1].isupper() else name]
    return Exercise(name, title, PACKAGE / file, target or name, *prefix)


EXERCISES = tuple(map(read, TABLE.strip().split("\n")))
# The exercises without a backward pass
VALUES = ["checker", "adamw", "clipping", "cosine_schedule", "training_step", "chosen"]
SETS = {"all": tuple(exercise.name for exercise in EXERCISES)} | {
    name: tuple(members.split())
    for name, members in {
        "beginning": "expression fork sum_and_share neuron shares checker attend",
        "first": "linear relu softmax layer_norm",
        "attention": "linear softmax attention heads multi_head_attention",
        "norms": "layer_norm rms_norm",
        "activations": "relu silu gelu swiglu",
        "loss": "softmax log_softmax cross_entropy",
        "composition": "residual bare_block heads multi_head_attention feed_forward gated_feed_forward block",
        "capstones": "tied low_rank adamw clipping cosine_schedule chosen whole_model one_page training_step",
    }.items()
}


def named_exercise(name: str) -> Exercise:
    return looked_up(name, {exercise.name: exercise for exercise in EXERCISES}, "exercise")


def names_by_file() -> dict[str, list[str]]:
    found = {}
    for exercise in EXERCISES:
        found.setdefault(exercise.source.relative_to(PACKAGE).as_posix(), []).append(exercise.name)
    return found


def exercise_set(name: str) -> list[Exercise]:
    return [named_exercise(member) for member in looked_up(name, SETS, "set of exercises")]
