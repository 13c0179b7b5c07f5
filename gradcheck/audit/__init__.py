"""The audit: test the checks by mutation. `python -m gradcheck audit MODULE`

A check that has never failed proves nothing: it may compare nothing, or use only inputs at which every answer is right.
With dy = ones the true gradient of a softmax is zero, and a backward that returns zeros passes. An audit takes the
source, makes one small mistake in one place, a *mutant*, and runs the checks (mutation testing: DeMillo, Lipton and
Sayward, 1978). If they fail, the mutant is *killed*. If they pass, it *survives*, and shows a mistake that they cannot
detect:

    mine.py:14: layer_norm.<locals>.backward: factor dropped
      - dx_hat = dy * gamma
      + dx_hat = dy
      every check passes, although the gradients differ in layer_norm
"""

from gradcheck.audit.command_line import main
from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted

__all__ = ["PlantingError", "live_functions", "main", "mutate", "planted"]
