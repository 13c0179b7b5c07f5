"""Plot the error of a numerical derivative against the step size (see README.md)."""

from gradcheck.curve.command import LESSON, main, softmax
from gradcheck.curve.drawing import draw, save
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure

__all__ = ["measure", "Curve", "draw", "save", "main", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]
