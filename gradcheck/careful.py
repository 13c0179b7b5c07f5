"""A Call that evaluates its function on copies of all arrays.

It is used for a function that modifies its arguments, so that its gradients can still be compared.
"""

import copy

from gradcheck.call import Call, parameters_of


def careful(call):
    """Return the same Call on the same arrays, protected from changes by the function."""
    other = copy.copy(call)
    other.__class__ = _Careful
    return other


class _Careful(Call):
    is_careful = True

    def evaluate(self):
        """Call the target on copies of the arrays.

        While forward or backward runs, the parameters hold copies too.
        """
        y, backward = _on_copied_parameters(self.target, self.copy()._evaluate)

        def careful_backward(dy):
            return _on_copied_parameters(self.target, lambda: backward(dy))

        return y, careful_backward

    def _evaluate(self):
        return super().evaluate()


def _on_copied_parameters(module, function):
    before = [(parameter, parameter.data) for parameter in parameters_of(module).values()]
    try:
        for parameter, data in before:
            parameter.data = data.copy()
        return function()
    finally:
        for parameter, data in before:
            parameter.data = data
