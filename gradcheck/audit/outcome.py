"""The outcome of trying a mutant."""

from dataclasses import dataclass

KILLED, EQUIVALENT, SURVIVING, UNPLANTABLE = "killed", "equivalent", "surviving", "unplantable"
BY_CERTIFICATE = "a certificate"
BY_GRADIENT, BY_EXCEPTION, BY_TIME, BY_CRASH, BY_COMMAND = (
    "a wrong gradient",
    "an exception",
    "the time limit",
    "a crash",
    "the command",
)


@dataclass(frozen=True)
class Outcome:
    """The status of a mutant, with the reason.

    For a killed mutant, `by` is the cause, one of the BY_ constants, and `case` and `seed` are the name of the case and
    the seed of the draw that killed it. For an equivalent mutant, `by` is BY_CERTIFICATE if all certificates succeeded.
    For a surviving mutant, `differs_in` lists the names of the cases in which the gradients differ from the original,
    and `only_varied` is True if they differ only for inputs that no case draws. `seconds` is the CPU time of the trial.
    """

    status: str
    by: str = ""
    case: str = ""
    seed: int = 0
    message: str = ""
    differs_in: tuple = ()
    only_varied: bool = False
    seconds: float = 0.0
