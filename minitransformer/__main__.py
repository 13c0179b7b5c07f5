"""The main program, for `minitransformer COMMAND` and `python -m minitransformer COMMAND`."""

import sys

from gradcheck.front.signals import leave_when_stopped
from minitransformer.system.tuning import tune_process

PROGRAM = "minitransformer"


def main() -> int:
    """Run the command in sys.argv and return its exit status.

    The signal handlers are installed first, because a signal may arrive during the imports. The process is tuned before
    NumPy is loaded, because OpenBLAS reads a setting when NumPy is imported.
    """
    leave_when_stopped(PROGRAM)
    tune_process()
    from minitransformer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
