"""The main program, for `minitransformer COMMAND` and `python -m minitransformer COMMAND`."""

import sys

from minitransformer.system.stopping import leave_when_stopped
from minitransformer.system.tuning import tune_process

PROGRAM = "minitransformer"


def main() -> int:
    """Run the command in sys.argv and return its exit status.

    The signal handlers are installed before the imports, which take a fraction of a second. The process is tuned before
    NumPy is loaded.
    """
    leave_when_stopped(PROGRAM)
    tune_process()
    from minitransformer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
