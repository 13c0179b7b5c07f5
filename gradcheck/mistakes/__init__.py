"""One grammar of mistakes: each is defined once, as an edit of code in both directions and a sentence.

A mistake in a hand-written gradient is a small edit: a dropped factor, a flipped sign, a mean for a sum, a wrong axis,
a forgotten transpose, one name for another. One row of the table is one such edit:

    mistake("factor dropped", "A * B", "A", "{B:factor} is missing[ from {A}]", B="factors")

Left is the right pattern, then the wrong one; capital letters are holes. The audit finds the right code and writes the
wrong one. A repair finds the wrong code and writes the right one, with the holes that only the right side has filled
from the names in scope. The sentence serves two readers. The code in those holes is the answer: a student reads
"a factor" in its place, or a noun phrase of a glossary.
"""

from gradcheck.mistakes.repairing import exchanged
from gradcheck.mistakes.row import Edit, Reader, Row, Student, mistake
from gradcheck.mistakes.table import KINDS, ROWS

__all__ = ["KINDS", "ROWS", "Edit", "Reader", "Row", "Student", "exchanged", "mistake"]
