"""The program: `minitransformer COMMAND`, or `python -m minitransformer COMMAND`."""

import sys

from minitransformer.system.stopping import leave_when_stopped
from minitransformer.system.tuning import tune_process

PROGRAM = "minitransformer"


def main() -> int:
    """Run the command of sys.argv. Return the exit status.

    The imports take a moment, so the signal handlers are installed before them. The process is tuned before NumPy is
    loaded.
    """
    leave_when_stopped(PROGRAM)
    tune_process()
    from minitransformer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
