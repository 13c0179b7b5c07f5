"""A table of mistakes in hand-written gradients.

Each row of the table contains right code, wrong code, and a sentence:

    factor dropped: {B:factor} is missing[ from {A}] | A * B → A; rank=2 B=factors

The audit replaces right code with wrong code, and a repair does the reverse. README.md explains the patterns.
"""

from gradcheck.mistakes.kinds import KINDS, Explanation
from gradcheck.mistakes.planter import with_node
from gradcheck.mistakes.row import Edit, Reader, Row, Student, mistake, rows_of
from gradcheck.mistakes.table import ROWS

__all__ = ["KINDS", "ROWS", "Edit", "Explanation", "Reader", "Row", "Student", "mistake", "rows_of", "with_node"]
