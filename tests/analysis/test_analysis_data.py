"""Findings as data: whatever they are made of, JSON holds it."""

import json
from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import as_data, fields_as_data


@dataclass
class Inner:
    values: np.ndarray
    missing: float = float("nan")


class Own:
    def to_dict(self):
        return {"its": "own"}


@dataclass
class Outer:
    inner: tuple
    by_name: dict
    whole: np.int64
    absent: None = None

    def to_dict(self):
        return fields_as_data(self) | {"and": "more"}


def test_fields_arrays_and_what_they_are_in_become_what_json_holds_and_nan_becomes_none():
    found = Outer(
        (Inner(np.array([[1.5, 2.0]], np.float32)), Own()), {"x": np.float32("nan"), "y": (True, "text")}, np.int64(3)
    )
    expected = {
        "inner": [{"values": [[1.5, 2.0]], "missing": None}, {"its": "own"}],
        "by_name": {"x": None, "y": [True, "text"]},
        "whole": 3,
        "absent": None,
        "and": "more",
    }
    assert as_data(found) == expected
    assert json.loads(json.dumps(as_data([found]), allow_nan=False)) == [expected]
