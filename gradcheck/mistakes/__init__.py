"""A table of mistakes in hand-written gradients. Each row contains right code, wrong code, and a sentence:

    mistake("factor dropped", "A * B", "A", "{B:factor} is missing[ from {A}]", B="factors")

The audit replaces right code with wrong code, and a repair does the reverse. README.md explains the patterns.
"""

from gradcheck.mistakes.repairing import exchanged
from gradcheck.mistakes.row import Edit, Reader, Row, Student, mistake
from gradcheck.mistakes.table import KINDS, ROWS

__all__ = ["KINDS", "ROWS", "Edit", "Reader", "Row", "Student", "exchanged", "mistake"]
