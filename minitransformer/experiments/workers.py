"""Worker processes, each of which runs one task at a time with one thread of the matrix library.

Two tasks with one thread each make better use of two cores than one task with two threads. With one thread, results are
bit-identical for any number of cores (see training/environment.py). A worker exits when its parent process ends.
"""

import warnings

from gradcheck.front.processes import Workers
from minitransformer.module import EditedTextbook
from minitransformer.system.files import naming
from minitransformer.system.tuning import tune_process
from minitransformer.training.environment import forms_in_use


class WorkerProcesses(Workers):
    """An executor with `count` processes, which start on demand and are ended at the end of the `with` block."""

    def __init__(self, count: int):
        forms_in_use()  # warns if functions of the textbook were edited
        with naming("the file that worker processes share"):
            super().__init__(count, begin_quietly)


def begin_quietly() -> None:
    tune_process()
    warnings.simplefilter("ignore", EditedTextbook)
