"""Test the checks by mutation (DeMillo, Lipton and Sayward, 1978).

The command is `python -m gradcheck audit`. README.md describes the method.
"""

from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted

__all__ = ["PlantingError", "live_functions", "mutate", "planted"]
