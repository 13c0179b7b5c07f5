"""Compute a derivative along a line by the complex step (Squire and Trapp, 1998).

Let y(z) be analytic, and perturb its arguments by ihv, with i² = −1. Taylor's series gives

    y(x + ihv) = y(x) + ih · J v − h²/2 · vᵀ H v − …                (1)

Since y and its derivatives are real on the real line, the imaginary part is h · J v up to O(h³):

    J v = Im y(x + ihv) / h + O(h²)                                 (2)

There is no subtraction and hence no cancellation, so h may be arbitrarily small. With

    h = 1e-30                                                       (3)

the term in h² is below rounding, and the only error of (2) is the rounding of the evaluation, so the derivative is
exact to machine precision. A finite difference, in contrast, loses a fifth to a half of the digits even with the best
step.

The method requires a complex-safe forward pass, that is, one that extends analytically to complex numbers. `abs`,
`conj` and `linalg.norm` are not analytic, a cast to float drops the imaginary part, and some functions have no complex
version. Comparisons should use the real part, as in `where(x.real > 0, x, 0)` for ReLU. NumPy's comparisons of complex
numbers use the real parts too, and the imaginary parts only if the real parts are equal. A forward pass that is not
complex-safe is not wrong: NotComplexSafe gives the reason, and another oracle checks the gradients.
"""

import warnings

import numpy as np

from gradcheck.call import state_kept

__all__ = ["derivatives", "perturbed", "slope"]

STEP = 1e-30  # (3)


def perturbed(x, v=1.0):
    return x + 1j * STEP * v  # (1)


def slope(y):
    return np.imag(y) / STEP  # (2)


def derivatives(function, x):
    """Return the derivative of an analytic function, of shape y.shape + x.shape."""
    columns = [slope(function(perturbed(x, v))) for v in np.eye(np.size(x)).reshape(-1, *np.shape(x))]
    return np.stack(columns, axis=-1).reshape(np.shape(columns[0]) + np.shape(x))


class NotComplexSafe(Exception):  # noqa: N818 (it reports a property of the forward pass, not an error)
    """The complex step does not apply to a forward pass. The message gives the reason."""


class ComplexStep:
    """The derivatives of a Call, computed by the complex step.

    `arguments` lists the contract.Arguments, and `y` is the output for real arguments. All arguments become complex
    together, because an operation such as `y += bias` fails if only `bias` is complex.
    """

    def __init__(self, call, arguments, y):
        self.call = call
        self.arguments = arguments
        self.y = y
        self.moved = [argument.array.astype(np.complex128) for argument in arguments]

    def along(self, directions):
        """Return J v, where `directions` maps the position of an argument to its part of v."""
        return slope(self._validated(self._output(directions)))

    def _output(self, directions):
        """Compute y(x + ihv)."""
        for i, v in directions.items():
            self.moved[i].imag = STEP * v  # (1)
        by_identity = {id(argument.array): z for argument, z in zip(self.arguments, self.moved, strict=True)}
        inputs = [by_identity.get(id(value), value) for value in self.call.inputs]
        for argument, z in zip(self.arguments, self.moved, strict=True):
            if argument.parameter is not None:
                argument.parameter.data = z
        try:
            with state_kept(self.call.target), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                return np.array(self.call.on(inputs).evaluate()[0])
        except np.exceptions.ComplexWarning:
            raise NotComplexSafe("it casts to real numbers, which discards the imaginary part") from None
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise NotComplexSafe(f"on complex arguments it raises {type(error).__name__}: {reason}") from error
        finally:
            for i in directions:
                self.moved[i].imag = 0.0
            for argument in self.arguments:
                if argument.parameter is not None:
                    argument.parameter.data = argument.array

    def along_entry(self, i, index, scale):
        """Return the derivative of y with respect to one entry of the i-th argument."""
        v = np.zeros(self.moved[i].shape)
        v[index] = scale
        return self.along({i: v}) / scale

    def _validated(self, y):
        if y.dtype.kind != "c":
            raise NotComplexSafe(f"for complex arguments y is {y.dtype}: the imaginary part is lost")
        if y.shape != self.y.shape:
            raise NotComplexSafe(f"for complex arguments the shape of y is {y.shape}, not {self.y.shape}")
        if not np.all(np.isfinite(y)):
            raise NotComplexSafe("for complex arguments y is not finite")
        if not np.allclose(y.real, self.y, rtol=1e-9, atol=1e-9 * np.max(np.abs(self.y), initial=0.0)):
            difference = np.max(np.abs(y.real - self.y))
            raise NotComplexSafe(f"for complex arguments the real part of y changes by up to {difference:.1e}")
        return y
