"""The main program, for `minitransformer COMMAND` and `python -m minitransformer COMMAND`."""

import sys

from gradcheck.front.signals import leave_when_stopped

PROGRAM = "minitransformer"


def main() -> int:
    """Run the command in sys.argv and return its exit status.

    The signal handlers are installed first, because a signal may arrive during the imports. The process is tuned before
    NumPy is loaded, because OpenBLAS reads its settings when NumPy is imported. A command that has a large model takes
    more threads later.
    """
    leave_when_stopped(PROGRAM)
    from minitransformer.system.tuning import tune_process

    tune_process(threads=1)
    from minitransformer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
