"""What became of a mutant."""

from dataclasses import dataclass

KILLED, EQUIVALENT, SURVIVING, UNPLANTABLE = "killed", "equivalent", "surviving", "unplantable"
BY_GRADIENT, BY_EXCEPTION, BY_TIME, BY_CRASH, BY_COMMAND = (
    "a wrong gradient",
    "an exception",
    "the time limit",
    "a crash",
    "the command",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: its status; what killed it, with which case and seed; or where its gradients differ.

    `case` is the name of the case, or of the test, that killed it. `only_varied` says that the gradients differ only on
    inputs that no case draws. `seconds` is the CPU time that it took.
    """

    status: str
    by: str = ""
    case: str = ""
    seed: int = 0
    message: str = ""
    differs_in: tuple = ()
    only_varied: bool = False
    seconds: float = 0.0
