"""Test the checks by mutation (DeMillo, Lipton and Sayward, 1978). See README.md."""

from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted

__all__ = ["PlantingError", "live_functions", "mutate", "planted"]
