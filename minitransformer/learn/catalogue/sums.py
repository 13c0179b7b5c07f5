"""What goes wrong in a sum over positions: a mean in its place, an axis or a part of it forgotten."""

import inspect
import math

PARTS = {
    "a mean over all positions stands in place of the sum": lambda s, axes: s.mean(axis=axes),
    "a mean over the batch stands in place of the sum": lambda s, axes: s.mean(axis=axes[0]).sum(axis=axes[:-1]),
    "a mean over each sequence stands in place of the sum": lambda s, axes: s.mean(axis=axes[-1]).sum(axis=axes[:-1]),
    "only the first of the batch is counted": lambda s, axes: s[0].sum(axis=axes[:-1]),
    "only the last of the batch is counted": lambda s, axes: s[-1].sum(axis=axes[:-1]),
    "only the first position of each sequence is counted": lambda s, axes: s.take(0, axes[-1]).sum(axis=axes[:-1]),
    "only the last position of each sequence is counted": lambda s, axes: s.take(-1, axes[-1]).sum(axis=axes[:-1]),
    "it is divided by √N for N positions": lambda s, axes: s.sum(axis=axes) / math.prod(s.shape[: len(axes)]) ** 0.5,
    "it has the wrong sign": lambda s, axes: -s.sum(axis=axes),
}
OF_A_BATCH = ("batch", "each sequence")


def over_positions(summand, features=1):
    """Return {sentence: rule} of what a sum of `summand` over all axes but the last `features` may have become.

    The rules take the arguments of `summand`, a rule itself.
    """
    return {sentence: part_of(summand, sentence, part, features) for sentence, part in PARTS.items()}


def part_of(summand, sentence, part, features):
    """Return the rule of one mistake, with the arguments of `summand`."""

    def rule(*values):
        s = summand(*values)
        axes = tuple(range(s.ndim - features))
        if len(axes) < 2 and any(words in sentence for words in OF_A_BATCH):
            raise ValueError("there is one axis of positions alone")
        return part(s, axes)

    return with_arguments(inspect.signature(summand).parameters, rule)


def with_arguments(names, rule):
    """Return a rule of any arguments as one of these, which are given to it in this order."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    rule.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return rule


def feature_mean(x):
    """Return the mean over the last axis, kept."""
    return x.mean(axis=-1, keepdims=True)
