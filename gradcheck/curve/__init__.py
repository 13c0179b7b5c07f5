"""The step curve: the error of a numerical derivative as a function of its step (see README.md)."""

from gradcheck.curve.command import LESSON, main, softmax
from gradcheck.curve.drawing import draw, save
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure

__all__ = ["measure", "Curve", "draw", "save", "main", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]
