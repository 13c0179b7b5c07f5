"""The step curve: the error of a numerical derivative as a function of its step.

    python -m gradcheck curve                          softmax, right and wrong, side by side
    python -m gradcheck curve MODULE:CASE              one of your cases, in the terminal
    python -m gradcheck curve MODULE:CASE --out c.png  also as a picture

In a notebook: `curve = measure(Call(function, x))`, then `print(draw(curve))`, or `save([curve], "c.png")`.

The derivative of a loss along one direction is computed by forward differences, by central differences and by the
complex step (gradcheck/curve/measurement.py), with many steps h. Both axes are logarithmic. The picture shows, from
right (large steps) to left:

- **Truncation.** The function is not linear. The error of forward differences is proportional to h (slope 1), that of
  central differences and of the complex step to h² (slope 2): with a step ten times shorter, the error is a hundred
  times smaller.
- **Rounding.** L(h) and L(0) are nearly equal numbers, each rounded to 16 digits. Their difference has an error of
  about ε|L|, ε = 2⁻⁵³ ≈ 1e-16, and division by h amplifies it (slope −1, with noise). The best step is where both lines
  meet: h ≈ √ε for forward differences, which leaves 8 digits, and h ≈ ∛ε for central ones, which leaves 11.
- **No subtraction, no rounding.** In the complex step the derivative is the imaginary part of the result. Nothing
  cancels, so h may be 1e-16 or 1e-200, and the error stays in the last digit. The forward pass must be analytic in
  complex numbers: no abs, no comparison of imaginary parts, no conjugate. If it is not, the curve says so.
- **A wrong gradient is a flat line.** No step reduces the error below a certain height for any of the three methods:
  they agree with each other, but not with the backward pass. The height is the size of the mistake. At a kink, where
  the slope jumps, forward and central differences have flat lines of different heights, and the caption names the kink.

A tolerance is a horizontal line in this picture. It must lie above the bottom of the valley and below the flat line; in
float64, about 1e-6 leaves a wide margin on both sides. A step is a vertical line, and 1e-5 is a good one for central
differences.
"""

from gradcheck.curve.command_line import LESSON, main, softmax
from gradcheck.curve.drawing import draw
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure
from gradcheck.curve.picture import save

__all__ = ["measure", "Curve", "draw", "save", "main", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]
