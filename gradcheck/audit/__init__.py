"""The audit: test the checks by mutation. `python -m gradcheck audit MODULE`

A check that has never failed proves nothing, because it may compare nothing, or use only inputs at which every answer
is right. For example, if dy is all ones, the true gradient of a softmax is zero, and a backward pass that returns zeros
passes. An audit makes one small mistake in one place of the source, which is then called a *mutant*, and runs the
checks (mutation testing: DeMillo, Lipton and Sayward, 1978). If the checks fail, the mutant is *killed*. If they pass,
the mutant *survives*, and shows a mistake that the checks do not detect:

    mine.py:14: layer_norm.<locals>.backward: factor dropped
      - dx_hat = dy * gamma
      + dx_hat = dy
      every check passes, although the gradients differ in layer_norm
"""

from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted

__all__ = ["PlantingError", "live_functions", "mutate", "planted"]
