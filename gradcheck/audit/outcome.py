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

    A killed mutant has the cause `by`, and the `case` (the name of the case or test) and `seed` that killed it. An
    equivalent one may be so `by` a certificate. For a survivor, `differs_in` names the cases in which its gradients
    differ, and `only_varied` is True if they differ only for inputs that no case draws. `seconds` is the CPU time that
    it took.
    """

    status: str
    by: str = ""
    case: str = ""
    seed: int = 0
    message: str = ""
    differs_in: tuple = ()
    only_varied: bool = False
    seconds: float = 0.0
