"""One session of pytest for all mutants: whatever the tests import and collect is in memory once a mutant is planted.

To start Python, to import the project and to collect its tests takes a second or so, and for each mutant anew, most of
the time. So pytest runs here as far as its loop over the tests, and then, for every mutant, a copy of the process
plants it in the functions in memory and runs the tests on it until the first that fails. That is the quicker the
sooner it comes:

1. the tests that have failed for other mutants of the same function, the latest first;
2. the others that enter the mutated function at all, the quickest first.

Which those are is found by running all tests once without a mutant, as the first copy does. They must pass there, one
after the other in the process that collected them, or nothing is tried here. A test that does not enter the function
cannot tell the difference, unless it reads the source; a mutant that passes is given to the command itself.

This file is run as a script, by pytest_command.py. It imports nothing of this package before pytest is there, since
pytest warns of plugins that were imported earlier, and this package has one.
"""

import os
import pickle
import signal
import sys
import time
from multiprocessing.connection import Connection

import pytest

LEAST = 5.0  # seconds of CPU that a test is always allowed
PATIENCE = 10  # and how many times what it takes without a mutant; to say what is wrong takes longer than to pass


class Server:
    """A plugin that takes the place of pytest's own loop over the tests.

    It sends (index of the mutant, Outcome) for each as they end, and None after the last; or a text that says why it
    cannot.
    """

    def __init__(self, plan, connection):
        self.plan = plan
        self.connection = connection
        self.failed = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        """Try every mutant, in the place of running every test."""
        self.connection.send(self._obstacle(session) or self._serve(session))
        return True

    def _obstacle(self, session):
        if session.config.pluginmanager.hasplugin("dsession"):
            return "pytest-xdist runs the tests in processes of its own"
        if session.testsfailed:
            return "not every test could be collected"
        return None if session.items else "there is no test"

    def _serve(self, session):
        """Send the Outcome of each mutant. Returns why that is not possible, or None."""
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
        killers = {}  # {function: tests that have failed for a mutant of it, the latest last}
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

    # What runs in a copy of this process

    def measure(self, connection, items, files):
        """Answer with [(seconds, codes of `files` that it enters)] of each test; or with the name of one that fails."""
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
        """Answer with the Outcome of one mutant: killed by the first of `items` that fails, if any does."""
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
        """Note a test that fails, in its setup or teardown too."""
        if report.failed:
            self.failed.append(report.nodeid)


def _order(profile, mutant, killers):
    """Return the positions of the tests to run, in order. `killers` has those that killed a mutant of its function."""
    entering = [i for i, (_, entered) in enumerate(profile) if (str(mutant.path), *mutant.codes[-1]) in entered]
    latest = [i for i in reversed(killers) if i in entering]
    return latest + sorted((i for i in entering if i not in killers), key=lambda i: profile[i][0])


def _key(mutant):
    return mutant.path, mutant.codes


def _noting(entered, files):
    """Return a function for sys.setprofile that collects (file, first line, name) of the code that is entered."""
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
    """Run pytest with these arguments. The file `plan` has the pickled (mutants, how many to try at a time)."""
    with Connection(int(descriptor), readable=False) as connection:
        return pytest.main(arguments, plugins=[Server(plan, connection)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
