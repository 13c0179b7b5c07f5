"""Results as data that JSON can represent."""

import json
from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import Data, as_data


@dataclass
class Inner:
    values: np.ndarray
    missing: float = float("nan")


@dataclass
class Outer(Data):
    inner: tuple
    by_name: dict
    whole: np.int64
    absent: None = None

    derived = ("twice",)

    @property
    def twice(self):
        return 2 * self.whole


def test_fields_arrays_and_their_containers_become_data_and_nan_becomes_none():
    found = Outer((Inner(np.array([[1.5, 2.0]])),), {"x": np.float32("nan"), "y": (True, "text")}, np.int64(3))
    inner, by_name = {"values": [[1.5, 2.0]], "missing": None}, {"x": None, "y": [True, "text"]}
    expected = {"inner": [inner], "by_name": by_name, "whole": 3, "absent": None, "twice": 6}
    assert found.to_dict() == as_data(found) == expected
    assert json.loads(json.dumps(as_data([found]), allow_nan=False)) == [expected]
