"""What was found as data: dictionaries, lists, text and numbers, as JSON can hold them."""

import math
from dataclasses import fields, is_dataclass

import numpy as np


def fields_as_data(instance) -> dict:
    """Return the fields of a dataclass by name, as JSON can hold them."""
    return {field.name: as_data(getattr(instance, field.name)) for field in fields(instance)}


def as_data(value):
    """Return a value as JSON can hold it, and what it is made of likewise; a number that does not exist is None.

    Of what has a to_dict, it is that; of another dataclass, its fields.
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return fields_as_data(value)
    if isinstance(value, dict):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return None if isinstance(value, float) and math.isnan(value) else value
