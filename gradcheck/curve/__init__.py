"""The step curve: the error of a numerical derivative as a function of its step.

In a notebook: `curve = measure(Call(function, x))`, then `print(draw(curve))`, or `save([curve], "c.png")`. README.md
explains the picture.
"""

from gradcheck.curve.command import LESSON, main, softmax
from gradcheck.curve.drawing import draw
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure
from gradcheck.curve.picture import save

__all__ = ["measure", "Curve", "draw", "save", "main", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]
