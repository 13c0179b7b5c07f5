"""Conversion of results to JSON-serializable values."""

import math
from dataclasses import fields, is_dataclass

import numpy as np


class Data:
    """Base class for dataclasses of results. `derived` lists properties that `to_dict` adds to the fields."""

    derived: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return {name: as_data(getattr(self, name)) for name in (*names, *self.derived)}


def as_data(value):
    """Convert a value to JSON-serializable objects. NaN and infinity become None."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {field.name: as_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
