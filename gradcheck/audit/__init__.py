"""The audit: test the checks by mutation. `python -m gradcheck audit MODULE`

A check that has never failed proves nothing. It may compare nothing, or use only inputs at which every answer is right.
With dy = ones the true gradient of a softmax is zero, and a backward that returns zeros passes. With γ = 1 a layer norm
that forgets γ is right. Without dropout, so is an attention that forgets dropout. Such a check passes for a wrong
gradient, and its output does not reveal that.

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

The mistakes are those typical of gradients derived by hand (gradcheck/mistakes/table.py). They are made in every
function named `backward`. The checks are the module's cases. `--command "pytest -x -q tests"` evaluates a test command
instead, whichever checker it uses. The project's files are never changed: the command runs in copies.

**How to read the score.** It is killed / (killed + surviving). The number of mutants means little, but each survivor
deserves attention:

- The mistake is real, and the check is too weak: a case is missing, its inputs are special, or a tolerance is too wide.
- Or the change is harmless, because the code is redundant: then it can be simplified.

A score of 100 % does not mean that the gradients are right, but that the checks would detect any of these mistakes.
"Killed by a wrong gradient" is the strongest evidence; a mutant that raises an exception would be noticed by anyone who
runs the code.

**Equivalent mutants** compute the same as the original: x * 1 for x, or `x >= 0` for `x > 0` if no input is 0. No check
can kill them. None is excused by hand: a mutant counts as equivalent if, in every case that runs it and for several
random draws of each, two calls of backward return the same gradients (to 1e-12 of the largest entry) and have the same
effect on dy, the arguments and the parameters. A certificate (gradcheck/certify) is then attempted: it may show that
the mutant is right for all inputs of the same shapes and decisions, or refuse it. This still depends on the cases: if
no case has a mask that broadcasts, a mutant that breaks broadcasting is "equivalent". The mutants of a statement that
no case runs count as surviving. `--equivalent` lists the equivalent mutants; read the list once.

**How it runs.** Every mutant runs in a separate process, in which the code of the mutated function is replaced, so that
it cannot affect anything else if it crashes or hangs. It is tried on the cases that run the mutated statement, the
fastest first, until a check fails. A survivor is confirmed in a new Python process that imports the mutant as source.
The time limit for a mutant is 20 times the duration of the original plus five seconds; a mutant that exceeds it is
killed. The limit is CPU time if the system can measure it, since the machine may be busy.

The command of `--command` first runs twice, once without a mutant and once with the files broken. The mutants are then
compared with the original in the module's cases, if it has any, and equivalent ones are excluded. All others are
written into a copy of the project, one at a time, in which the command runs.
"""

from gradcheck.audit.command_line import main
from gradcheck.audit.mutations import mutate

__all__ = ["main", "mutate"]
