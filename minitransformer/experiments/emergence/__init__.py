"""Emergence and scale: abilities that appear as models grow, and the compute-optimal model for a budget."""

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
