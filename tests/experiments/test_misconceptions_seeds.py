"""The outcomes of the experiments on misconceptions do not depend on the seeds of the recorded results.

All of them take some 15 minutes on two cores:

    pytest -m slow tests/experiments/test_misconceptions_seeds.py
"""

import pytest

from minitransformer.experiments.misconceptions import NAMES, experiment
from minitransformer.experiments.misconceptions.measuring import measure_all
from minitransformer.experiments.misconceptions.report import recorded

OTHER_SEEDS = range(100, 105)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_with_other_seeds_the_same_comes_out(name, tmp_path):
    one = experiment(name)
    (result,) = (result for result in recorded() if result.experiment.name == name)
    seeds = OTHER_SEEDS[: one.seeds]
    measured = measure_all([one], {name: seeds}, tmp_path)[name]
    assert one.outcome(one.intervals(measured)[one.decides]) == result.outcome
