"""Arrays whose axes have labels, by which sums, products and comparisons align them.

A label is an Axis, as in `y · dy`, or the letter of an index, as in `y_i (δ_ij − y_j)`. An Axis is named by the letter
with which an input was declared, by its length, or by its position from the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

LARGEST = 5_000_000  # largest number of entries of an array


class NoValue(Exception):  # noqa: N818
    """Raised if an expression cannot be evaluated. The message gives the reason."""


class Unequal(ValueError):  # noqa: N818
    """Raised if two expressions cannot be equal because their axes differ. The message gives the reason."""


@dataclass(frozen=True)
class Axis:
    """An axis. Axes with equal names are numbered, such as i and i′ of the Jacobian of a function of x_i."""

    name: Any  # a letter, a word, a length, or a negative position
    copy: int = 0

    def __str__(self):
        return f"{self.name}{'′' * self.copy}"

    @property
    def is_position(self):
        return isinstance(self.name, int) and self.name < 0

    def fits(self, other):
        return self.is_position or other.is_position or self.name == other.name


@dataclass(frozen=True)
class Array:
    """An array with a label for each axis."""

    values: np.ndarray
    labels: tuple = ()
    is_row: bool = False  # True for a transposed vector
    is_ordered: bool = True  # False for an elementwise product of vectors along different axes

    def __post_init__(self):
        object.__setattr__(self, "values", np.asarray(self.values))  # a sum of decimals is no array

    @property
    def axes(self):
        return tuple(label for label in self.labels if isinstance(label, Axis))

    def along(self, labels) -> np.ndarray:
        """Return the values with the axes in the order of `labels`. A missing axis has length 1."""
        values = np.transpose(self.values, [self.labels.index(label) for label in labels if label in self.labels])
        return np.expand_dims(values, tuple(at for at, label in enumerate(labels) if label not in self.labels))

    def renamed(self, names):
        return replace(self, labels=tuple(names.get(label, label) for label in self.labels))

    def unlabelled(self) -> np.ndarray:
        """Return the values with the axes in the order that code expects. An axis that was summed over has length 1."""
        if not (self.axes and self.axes[0].is_position):
            return self.values
        return self.along([*(set(self.labels) - set(self.axes)), *positions(-self.axes[0].name)])


def positions(count):
    return [Axis(at - count) for at in range(count)]


def copies_numbered(labels):
    """Number axes with equal names. Axes that are named by their positions remain unchanged."""
    found: list = []
    for label in labels:
        if isinstance(label, Axis) and not label.is_position:
            label = Axis(label.name, sum(isinstance(other, Axis) and other.name == label.name for other in found))
        found.append(label)
    return tuple(found)


def placed(labels):
    """Renumber axes: those named by positions consecutively, and those with equal names as copies."""
    at = [label for label in labels if isinstance(label, Axis) and label.is_position]
    new = iter(positions(len(at)))
    return copies_numbered(next(new) if label in at else label for label in labels)


def union(arrays):
    """Return the labels of all arrays, each once. Axes that are named by their positions are sorted."""
    labels = list(
        dict.fromkeys(
            label
            for array in sorted(arrays, key=lambda a: (-len(a.labels), not a.is_ordered))
            for label in array.labels
        )
    )
    at = iter(
        sorted((label for label in labels if isinstance(label, Axis) and label.is_position), key=lambda a: a.name)
    )
    return tuple(next(at) if isinstance(label, Axis) and label.is_position else label for label in labels)


def operands(arrays, labels):
    """Align the values of arrays along common labels. Raises Unequal if the lengths of an axis differ."""
    found, size = [array.along(labels) for array in arrays], 1
    for label, *lengths in zip(labels, *(values.shape for values in found), strict=True):
        most = max(lengths)
        if {*lengths} - {1, most}:
            raise Unequal(f"the axis {label} has the lengths {' and '.join(map(str, sorted({*lengths})))}")
        size *= most
    if size > LARGEST:
        raise NoValue(f"an array would have more than {LARGEST:,} entries")
    return found


def diagonals(a):
    """Replace axes with equal labels by their diagonal."""
    values, labels = a.values, list(a.labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first, second = [at for at, other in enumerate(labels) if other == label][:2]
            values = np.moveaxis(np.diagonal(values, axis1=first, axis2=second), -1, first)
            del labels[second]
    return Array(values, copies_numbered(labels))


def labelling(arrays, names) -> Callable:
    """Return a function that labels the axes of an array by their lengths, or by names that `names` gives to lengths.

    A last axis of length 1 is dropped. If one of `arrays` has two axes of the same length, or another axis of length 1,
    axes are labelled by their positions, so that arrays are aligned as by NumPy.
    """
    shapes = [array.shape for array in arrays if isinstance(array, np.ndarray)]
    by_position = any(1 in shape[:-1] or len({*shape}) < len(shape) for shape in shapes)

    def labelled(value):
        value = np.asarray(value)
        if by_position and value.size > 1:
            return Array(value, tuple(positions(value.ndim)))
        value = np.squeeze(value)
        return Array(value, copies_numbered(Axis(names.get(length, length)) for length in value.shape))

    return labelled
