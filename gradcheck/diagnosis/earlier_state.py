"""State that an earlier forward pass left and that backward reads by mistake."""

from gradcheck.leftovers import containers


def right_once_emptied(evidence):
    """Detect that backward reads entries that an earlier forward pass left in a container.

    Forward adds entries to a list, dictionary, set or deque, and the gradient is right if the container is empty before
    the forward pass.
    """
    reached = containers(evidence.run.call.target)
    lengths = {name: len(container) for name, container in reached.items()}
    if not lengths or evidence.again() is None:
        return None
    for name, container in reached.items():
        if len(container) <= lengths[name]:
            continue
        held = container.copy()
        try:
            container.clear()
            again = evidence.again()
        finally:
            container.clear()
            (container.update if hasattr(container, "update") else container.extend)(held)
        if again is not None and evidence.same(again, evidence.truth):
            return (
                f"{evidence.label} is right once {name} is empty before forward: "
                "backward reads what an earlier forward pass left there"
            )
    return None
