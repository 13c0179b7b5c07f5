"""The steps of an audit: try mutants on the cases or on a test command, and examine the survivors."""

from dataclasses import replace

from gradcheck.audit.outcome import EQUIVALENT, KILLED, SURVIVING, UNPLANTABLE
from gradcheck.audit.planting import live_functions
from gradcheck.audit.pool import FORKS, Pool
from gradcheck.audit.trials import Trial, originals, run_afresh, run_here

LEAST = 5.0  # seconds of CPU that a mutant is always allowed, before the time limit kills it
PATIENCE = 20  # the limit also allows this many times the CPU time of the original


class AuditError(Exception):
    """The target cannot be audited; the message gives the reason."""


class Original:
    """The results of the module without a mutant.

    `observed` maps (case name, seed, variation) to the observed gradients and arrays. `lines` maps the name of a case
    to the lines of `files` that it runs. `seconds` maps it to the CPU time of three observations with one seed: the
    inputs as drawn, scaled and shifted, each with one forward and two backward passes. The first one is traced.
    """

    def __init__(self, target, cases, seeds, files, say):
        self.target = target
        self.cases = cases
        self.seeds = seeds
        self.observed, self.lines, self.seconds = originals(cases, seeds, files, say)

    def files_run(self):
        return {path for lines in self.lines.values() for path, _ in lines}

    def cases_that_run(self, mutant):
        first, last = mutant.lines
        wanted = {(str(mutant.path), line) for line in range(first, last + 1)}
        return [case.name for case in self.cases if wanted & self.lines[case.name]]


class Audit:
    """Tries mutants of an Original, `jobs` at a time."""

    def __init__(self, original, mutants, jobs, progress):
        self.original = original
        self.mutants = mutants
        self.pool = Pool(jobs)
        self.jobs = jobs
        self.progress = progress
        self.runs_in = [original.cases_that_run(mutant) for mutant in mutants]
        self.functions = live_functions(mutants) if original.cases else {}
        self.to_look = {name: LEAST + PATIENCE * spent for name, spent in original.seconds.items()}
        self.to_check = {}

    def by_checks(self):
        """Return the Outcome of every mutant, tried on the module's cases."""
        first = self.original.seeds[0]
        self._verify({(name, first) for names in self.runs_in for name in names})
        outcomes = self._try("trying mutants", range(len(self.mutants)), ask=True)
        credited = {(outcome.case, outcome.seed) for outcome in outcomes.values() if outcome.case}
        self._verify({(name, seed) for name, seed in credited if seed != first})
        self._confirm(outcomes)
        return [self._explained(outcomes[i], i, "every check passes") for i in range(len(self.mutants))]

    def _confirm(self, outcomes):
        """Try survivors again in a new Python process that imports the mutant, and count those that fail as killed."""
        suspects = [i for i, outcome in outcomes.items() if outcome.status == SURVIVING and self.runs_in[i]]
        for i, confirmed in self._try("confirming survivors", suspects, ask=True, afresh=True).items():
            if confirmed.status == KILLED:
                outcomes[i] = confirmed

    def by_command(self, command):
        """Return the Outcome of every mutant, tried on a TestCommand.

        Mutants that are equivalent in the cases are excluded, since no test can distinguish them from the original.
        """
        self.progress.say("running the command without a mutant")
        command.verify()
        self.to_check = self.to_look  # no check is run
        everything = range(len(self.mutants))
        outcomes = self._try("comparing with the original", [i for i in everything if self.runs_in[i]], ask=False)
        left = [i for i in everything if i not in outcomes or outcomes[i].status != EQUIVALENT]
        results = command.run([self.mutants[i] for i in left])
        for j, outcome in self.progress.follow("running the command", results, len(left)):
            seen = replace(outcomes.get(left[j], outcome), status=SURVIVING)
            outcomes[left[j]] = outcome if outcome.status == KILLED else seen
        return [self._explained(outcomes[i], i, "the command passes") for i in everything]

    def _verify(self, draws):
        """Run checks without a mutant. Raises AuditError if one of them fails."""
        draws = sorted(draws)
        trials = [Trial(None, ((name, seed, 0.0, 3600.0),)) for name, seed in draws]
        for i, outcome in self.progress.follow("checking without a mutant", self._run(trials), len(trials), False):
            name, seed = draws[i]
            self.to_check[name] = max(self.to_check.get(name, 0.0), LEAST + PATIENCE * outcome.seconds)
            if outcome.status == KILLED:
                raise AuditError(
                    f"the check of {name!r} fails without any mutant (seed {seed}), so its failures prove nothing: "
                    f"{outcome.message or outcome.by}"
                )

    def _run(self, trials, afresh=False):
        """Yield (index of the Trial, Outcome) in the order in which the trials end."""
        if afresh or not FORKS:
            return self.pool.run([(run_afresh, (trial, self.original.target)) for trial in trials], afresh=True)
        return self.pool.run([(run_here, (trial, self.original.cases, self.functions)) for trial in trials])

    def _try(self, what, indices, ask, afresh=False):
        indices = list(indices)
        trials = [self._trial(i, ask, compare=not afresh) for i in indices]
        outcomes = {}
        for j, outcome in self.progress.follow(what, self._run(trials, afresh), len(trials)):
            outcomes[indices[j]] = outcome
        stubborn = [i for i, outcome in outcomes.items() if outcome.status == UNPLANTABLE]
        if stubborn:
            trials = [self._trial(i, ask, compare=True) for i in stubborn]
            for j, outcome in self.progress.follow(what, self._run(trials, afresh=True), len(trials)):
                outcomes[stubborn[j]] = outcome
        return outcomes

    def _trial(self, i, ask, compare):
        names = sorted(self.runs_in[i], key=lambda name: self.to_check[name])
        seeds, observed = self.original.seeds, self.original.observed
        draws = tuple((name, seed, self.to_look[name], self.to_check[name]) for seed in seeds for name in names)
        expected = {key: seen for key, seen in observed.items() if key[0] in names} if compare else None
        return Trial(self.mutants[i], draws, ask, expected)

    def _explained(self, outcome, i, what):
        """Return the final Outcome of mutant i. A survivor gets a message that begins with `what`.

        A mutant that no case runs counts as surviving, never as equivalent.
        """
        if not self.runs_in[i] and outcome.status in (EQUIVALENT, SURVIVING):
            without = f"{what}; equivalent mutants are not recognized, because the module has no cases"
            reason = "no case runs this statement" if self.original.cases else without
            return replace(outcome, status=SURVIVING, message=reason)
        if outcome.status != SURVIVING:
            return outcome
        if not outcome.differs_in:
            return replace(outcome, message=f"{what}, although {outcome.by} ends the cases")
        where = _listed(outcome.differs_in)
        if outcome.only_varied:
            where = f"{where} for inputs other than those that the case draws"
        return replace(outcome, message=f"{what}, although the gradients differ in {where}")


def _listed(names, most=3):
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
