"""Emergence and scale: what comes with size, whether it comes suddenly, and what a given computation is best spent on.

In reading order:

    alphabet.py       the one small vocabulary of the family
    capabilities.py   little tasks with exact answers, and questions held out     Capability, CAPABILITIES
    prose.py          the text that is read beside them
    family.py         models alike but for their size
    one_run.py        one model, trained and measured                             Plan, train_one
    workers.py        processes to train in
    sweep.py          many runs, on any executor, kept as they finish             sweep
    bootstrap.py      how much the luck of the seeds decides
    jumps.py          where a score more than doubles, and whose jump it is       find_jumps
    scaling_law.py    loss against parameters and tokens                          fit_scaling_law, ScalingLaw
    forecast.py       a size predicted from smaller ones, and the best size for a budget
    report.py         what was found, in tables                                   EmergenceReport
    analysis.py       all of it                                                   analyze_emergent_capabilities
    drawing.py        and as pictures                                             draw_emergence
"""

from minitransformer.experiments.emergence.analysis import analyze_emergent_capabilities
from minitransformer.experiments.emergence.capabilities import CAPABILITIES, Capability
from minitransformer.experiments.emergence.drawing import draw_emergence
from minitransformer.experiments.emergence.report import EmergenceReport
from minitransformer.experiments.emergence.scaling_law import ScalingLaw, fit_scaling_law

__all__ = [
    "analyze_emergent_capabilities",
    "Capability",
    "CAPABILITIES",
    "EmergenceReport",
    "ScalingLaw",
    "fit_scaling_law",
    "draw_emergence",
]
