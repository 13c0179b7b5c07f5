"""One pytest session for all mutants, in which each mutant is planted after the tests have been imported and collected.

Starting Python, importing the project and collecting its tests takes about a second, most of the time for each mutant.
Therefore pytest runs here up to its loop over the tests. Then, for every mutant, a copy of the process plants it in the
functions in memory and runs the tests until one fails. To find a failing test early, it first runs

1. the tests that have failed for other mutants of the same function, the most recent first;
2. the other tests that call the mutated function, the fastest first.

The first copy finds these tests by running all tests once without a mutant. All tests must pass there, one after the
other in the process that collected them; otherwise no mutant is tried here. A test that does not call the function
cannot detect the mutant, unless it reads the source. A mutant that passes is tried with the command itself.

This file is run as a script by pytest_command.py. It imports nothing from this package before pytest is loaded, since
pytest warns about plugins that were imported earlier, and this package has one.
"""

import os
import pickle
import signal
import sys
import time
from multiprocessing.connection import Connection

import pytest

LEAST = 5.0  # seconds of CPU that a test is always allowed
PATIENCE = 10  # the limit also allows this many times its CPU time without a mutant, since a failure takes longer


class Server:
    """A plugin that replaces pytest's loop over the tests.

    It sends (index, Outcome) for each mutant, in the order in which they end, and then None. If the mutants cannot be
    tried, it sends a text with the reason.
    """

    def __init__(self, plan, connection):
        self.plan = plan
        self.connection = connection
        self.failed = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        """Try every mutant instead of running every test."""
        self.connection.send(self._obstacle(session) or self._serve(session))
        return True

    def _obstacle(self, session):
        if session.config.pluginmanager.hasplugin("dsession"):
            return "pytest-xdist runs the tests in other processes"
        if session.testsfailed:
            return "not every test could be collected"
        return None if session.items else "there is no test"

    def _serve(self, session):
        """Send the Outcome of each mutant. Return a reason if that is impossible, or None."""
        from gradcheck.audit.outcome import Outcome
        from gradcheck.audit.planting import live_functions
        from gradcheck.audit.pool import Pool

        with open(self.plan, "rb") as file:
            mutants, jobs = pickle.load(file)
        try:
            functions = live_functions(mutants)
        except ValueError as error:
            return str(error)
        pool = Pool(jobs)
        files = {str(mutant.path) for mutant in mutants}
        ((_, profile),) = pool.run([(self.measure, (session.items, files))])
        if isinstance(profile, Outcome):
            return f"without a mutant, its tests end by {profile.by}: {profile.message}"
        if isinstance(profile, str):
            return profile
        killers = {}  # {function: tests that have failed for one of its mutants, the most recent last}
        positions = {item.nodeid: i for i, item in enumerate(session.items)}

        def tasks():
            for mutant in mutants:
                order = _order(profile, mutant, killers.get(_key(mutant), ()))
                limits = [LEAST + PATIENCE * profile[i][0] for i in order]
                yield self.try_mutant, (mutant, functions, [session.items[i] for i in order], limits)

        for index, outcome in pool.run(tasks()):
            if outcome.case in positions:
                known = killers.setdefault(_key(mutants[index]), {})
                known.pop(positions[outcome.case], None)
                known[positions[outcome.case]] = None
            self.connection.send((index, outcome))
        return None

    # These methods run in a copy of this process.

    def measure(self, connection, items, files):
        """Answer with [(seconds, called code objects of `files`)] for each test.

        If a test fails, answer with a text that names it.
        """
        from gradcheck.audit.pool import answer
        from gradcheck.stopping import hear

        def attempt(alive):
            hear(signal.default_int_handler)
            alive(3600.0)
            entries = []
            for item, following in zip(items, [*items[1:], None], strict=True):
                start = time.process_time()
                entered = set()
                sys.setprofile(_noting(entered, files))
                self._run(item, following)
                sys.setprofile(None)
                if self.failed:
                    return f"without a mutant, {self.failed[0]} fails in the process that collected it"
                entries.append((time.process_time() - start, entered))
            return entries

        answer(connection, attempt)

    def try_mutant(self, connection, mutant, functions, items, limits):
        """Answer with the Outcome of one mutant, which the first failing test kills."""
        from gradcheck.audit.outcome import BY_COMMAND, KILLED, SURVIVING, UNPLANTABLE, Outcome
        from gradcheck.audit.planting import PlantingError, planted
        from gradcheck.audit.pool import answer
        from gradcheck.stopping import hear

        def attempt(alive):
            hear(signal.default_int_handler)
            try:
                with planted(mutant, functions):
                    for item, following, limit in zip(items, [*items[1:], None], limits, strict=True):
                        alive(limit)
                        self._run(item, following)
                        if self.failed:
                            return Outcome(KILLED, BY_COMMAND, self.failed[0], message=f"{self.failed[0]} fails")
            except PlantingError as error:
                return Outcome(UNPLANTABLE, message=str(error))
            return Outcome(SURVIVING)

        answer(connection, attempt)

    def _run(self, item, following):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def pytest_runtest_logreport(self, report):
        """Record a test that fails, also in its setup or teardown."""
        if report.failed:
            self.failed.append(report.nodeid)


def _order(profile, mutant, killers):
    """Return the positions of the tests to run, in order.

    `killers` are the tests that have killed other mutants of the function.
    """
    entering = [i for i, (_, entered) in enumerate(profile) if (str(mutant.path), *mutant.codes[-1]) in entered]
    latest = [i for i in reversed(killers) if i in entering]
    return latest + sorted((i for i in entering if i not in killers), key=lambda i: profile[i][0])


def _key(mutant):
    return mutant.path, mutant.codes


def _noting(entered, files):
    """Return a function for sys.setprofile that records code objects that are called.

    Each is added to `entered` as (file, first line, name).
    """
    real = {}

    def note(frame, event, _):
        if event == "call":
            code = frame.f_code
            path = real.get(code.co_filename)
            if path is None:
                path = real[code.co_filename] = os.path.realpath(code.co_filename)
            if path in files:
                entered.add((path, code.co_firstlineno, code.co_name))

    return note


def main(plan, descriptor, arguments):
    """Run pytest with these arguments.

    The file `plan` has the pickled (mutants, number to try at a time).
    """
    with Connection(int(descriptor), readable=False) as connection:
        return pytest.main(arguments, plugins=[Server(plan, connection)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
