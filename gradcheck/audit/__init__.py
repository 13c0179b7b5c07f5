"""The audit: test the checks by mutation. `python -m gradcheck audit MODULE`

A check that has never failed proves nothing. It may compare nothing, or use only inputs at which every answer is right.
With dy = ones the true gradient of a softmax is zero, and a backward that returns zeros passes. With γ = 1, a backward
pass of a layer norm that omits γ is right. Such a check passes for a wrong gradient, and its output does not reveal
that.

An audit makes mistakes on purpose. **Mutation testing** (DeMillo, Lipton and Sayward, 1978) takes the source, makes one
small mistake in one place, a *mutant*, and runs the checks. If they fail, the mutant is *killed*. If they pass, it
*survives*, and shows a mistake that they cannot detect:

    $ python -m gradcheck audit mine
    file     mutants  killed  equivalent  surviving    score
    mine.py       38      33           1          4   89.1 %

    mine.py:14: layer_norm.<locals>.backward: factor dropped
      - dx_hat = dy * gamma
      + dx_hat = dy
      every check passes, although the gradients differ in layer_norm

The mistakes are those of gradcheck/mistakes/table.py, made in every function named `backward`. The checks are the
module's cases. `--command "pytest -x -q tests"` evaluates a test command instead, whichever checker it uses. The
project's files are never changed. README.md explains how to read the score.
"""

from gradcheck.audit.command_line import main
from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted

__all__ = ["PlantingError", "live_functions", "main", "mutate", "planted"]
