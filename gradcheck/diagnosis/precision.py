"""Errors that are too small for a forgotten term: a rounded constant, or a computation in float32."""

from gradcheck.refine.drowned import is_in_steps, moved


def works_in_float32(evidence):
    """Detect a backward pass that computes in float32.

    Most entries of its gradient do not change when dy, or the arguments, change in the eleventh digit.
    """
    if not evidence.small_share:
        return None
    dy = evidence.dy.copy()
    arrays = [argument.array for argument in evidence.run.arguments]
    if is_in_steps(moved([dy], lambda: evidence.again(dy))) or is_in_steps(moved(arrays, evidence.again)):
        return (
            f"{evidence.label} is off by {evidence.small_share:.1g} of its size and moves in steps of 6e-8 of it: "
            "backward computes in float32 somewhere"
        )
    return None


def off_by_little(evidence):
    """Detect a small error whose cause is not known.

    It may be a rounded constant, an ε that the forward pass does not have, or a computation in float32.
    """
    if not evidence.small_share:
        return None
    where = "" if evidence.is_complete else " where it was compared"
    return (
        f"{evidence.label} is off by no more than {evidence.small_share:.1g} of its size{where}: perhaps by a rounded "
        "constant, an ε that the forward pass does not have, or float32 somewhere within"
    )
