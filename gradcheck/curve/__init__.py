"""The step curve: the error of a numerical derivative against its step. The picture that belongs on the board.

    python -m gradcheck curve                          softmax, right and wrong, side by side
    python -m gradcheck curve MODULE:CASE              a case of your own, in the terminal
    python -m gradcheck curve MODULE:CASE --out c.png  and as a picture

Or in a notebook: `curve = measure(Call(function, x))`, then `print(draw(curve))`, or `save([curve], "c.png")`.

A loss is moved along one direction and differentiated by forward differences, by central differences and by the complex
step (gradcheck/curve/measurement.py), with each of many steps h. What the picture shows, from the right (large steps)
to the left, both axes logarithmic:

- **Truncation.** The function is not straight. The error of forward differences falls along with h, slope 1; those of
  central differences and of the complex step with h², slope 2: a step ten times shorter, an error a hundred times
  smaller.
- **Rounding.** L(h) and L(0) are nearly equal numbers, each rounded to 16 digits. Their difference keeps an error of
  ε|L|, ε = 2⁻⁵³ ≈ 1e-16, and division by h blows it up: slope −1, and noisy. Where both lines meet is the best step:
  h ≈ √ε for forward differences, which leaves 8 digits, and h ≈ ∛ε for central ones, which leaves 11.
- **No subtraction, no rounding.** In the complex step the derivative is the imaginary part by itself. Nothing cancels,
  so h may be 1e-16 or 1e-200, and the error stays at the last digit. It asks for a forward pass that computes with
  complex numbers as analysis does: no abs, no comparison of the imaginary part, no conjugate. Where it does not, the
  curve says so.
- **A wrong gradient is a flat line.** No step brings the error below a certain height, for any of the three: they
  agree with each other, and disagree with the backward pass. The height is the size of the mistake. At a kink,
  where the slope jumps, forward and central differences have flat lines of different heights; the caption says so.

A tolerance is a horizontal line in this picture. It must pass above the bottom of the valley and below the flat line:
at 1e-6 or so there is a wide gap for it, in float64. A step is a vertical line, and 1e-5 a good place for central
differences.
"""

from gradcheck.curve.command_line import LESSON, main, softmax
from gradcheck.curve.drawing import draw
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure
from gradcheck.curve.picture import save

__all__ = ["measure", "Curve", "draw", "save", "main", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]
