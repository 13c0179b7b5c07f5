"""A table of mistakes in hand-written gradients. Each row contains right code, wrong code, and a sentence.

Most mistakes are small edits: a dropped factor, a flipped sign, a mean for a sum, a wrong axis, a forgotten transpose,
one name for another. Each row of the table defines one such edit:

    mistake("factor dropped", "A * B", "A", "{B:factor} is missing[ from {A}]", B="factors")

The first pattern is the right code, and the second is the wrong code. Capital letters are holes, which match any code.
The audit replaces right code with wrong code. A repair replaces wrong code with right code. If a hole occurs only in
the right pattern, as B does here, the repair fills it with names in scope. The code in such a hole is called the
answer. The author of the code reads the answer in the sentence. A student reads "a factor" instead, or a noun phrase
from a glossary.
"""

from gradcheck.mistakes.repairing import exchanged
from gradcheck.mistakes.row import Edit, Reader, Row, Student, mistake
from gradcheck.mistakes.table import KINDS, ROWS

__all__ = ["KINDS", "ROWS", "Edit", "Reader", "Row", "Student", "exchanged", "mistake"]
