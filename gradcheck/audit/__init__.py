"""The audit: testing the checks. `python -m gradcheck audit MODULE`

A check that has never failed is no evidence. It may compare nothing, or only where every answer is right: with
dy = ones a softmax's true gradient is zero, and a backward that returns zeros passes; with γ = 1 a layer norm that
forgets γ is right; without dropout, so is an attention that forgets dropout. Such a check is green over a wrong
gradient, and nothing in its output says so.

The way to find out is to make mistakes on purpose. **Mutation testing** (DeMillo, Lipton and Sayward, 1978) takes the
source, makes one small mistake in one place, a *mutant*, and runs the checks. If they fail, the mutant is *killed*. If
they pass, it *survives*, and shows what they cannot see:

    $ python -m gradcheck audit mine
    file     mutants  killed  equivalent  surviving    score
    mine.py       38      33           1          4   89.1 %

    mine.py:14: layer_norm.<locals>.backward: factor dropped
      - dx_hat = dy * gamma
      + dx_hat = dy
      every check passes, although the gradients differ in layer_norm

Here the mistakes are those that hand-derived gradients suffer from (the table in gradcheck/mistakes/table.py), made in
every function named `backward`, and the checks are the module's own cases. `--command "pytest -x -q tests"` scores a
test command instead, whatever it checks with. The project's own files are never touched: the command runs in copies.

**How to read the score.** It is killed / (killed + surviving). The number of mutants means little; each survivor means
something, and is worth reading:

- The mistake is real, and the check too weak: a case is missing, its inputs are special, a tolerance is too wide.
- Or the mistake is none, because the code says something twice: then it can be simplified.

100 % does not mean that the gradients are right, but that the checks would notice if they were wrong in one of these
ways. "Killed by a wrong gradient" is the strongest kind; a mutant that raises an exception would have been noticed by
anyone who runs the code.

**Equivalent mutants** compute the same as the original: x * 1 for x, or `x >= 0` for `x > 0` where no input is 0. No
check can kill them. None is excused by hand: a mutant counts as equivalent when, in every case that runs it and for
several random draws of each, two calls of backward give the same gradients (to 1e-12 of the largest entry) and leave
the same behind in dy, the arguments and the parameters. That is evidence, not proof, and it is relative to the cases:
where no case has a mask that broadcasts, a mutant that breaks broadcasting is "equivalent". A statement that no case
runs is no such excuse: its mutants survive. `--equivalent` lists them all; reading that list once is worth the while.

**How it runs.** Every mutant has a process of its own, in which the code of the mutated function is exchanged, so that
it can spoil, crash or hang nothing else. It is tried on the cases that run the mutated statement, the quickest first,
until the first check that fails. A survivor is confirmed in a new Python that imports the mutant as if it were the
source. A mutant that runs for 20 times as long as the original, and five seconds more, is killed by the time limit,
counted in CPU time where the system can, since the machine may be busy.

The command of `--command` is first run twice, without a mutant and with the files broken. Then the mutants are compared
with the original first, in the module's cases if it has any, and what is equivalent is left out. If the command is
pytest, it is started once more, up to its first test, and every mutant has a copy of that process, in which the tests
that enter its function are run until one fails: a fraction of a second, where the command takes many
(gradcheck/audit/pytest_server.py). What survives there, and every mutant if the command is another, is given to the
command itself, in a copy of the project with the mutant written into it.
"""

from gradcheck.audit.command_line import main
from gradcheck.audit.mutations import mutate

__all__ = ["main", "mutate"]
