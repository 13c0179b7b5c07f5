"""Errors too small for a forgotten term: a rounded constant, or float32 within."""

from gradcheck.closer.drowned import is_in_steps, moved


def works_in_float32(evidence):
    """Backward does not follow a move of dy, or of what forward saved, in the eleventh digit."""
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
    """What is so small may be a constant, an ε, or float32 somewhere; nothing more is known."""
    if not evidence.small_share:
        return None
    where = "" if evidence.is_complete else " where it was compared"
    return (
        f"{evidence.label} is off by no more than {evidence.small_share:.1g} of its size{where}: perhaps by a rounded "
        "constant, an ε that the forward pass does not have, or float32 somewhere within"
    )
