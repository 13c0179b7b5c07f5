"""The table of mistakes: the right code, the wrong code, and the sentence. Capital letters are holes (patterns.py).

The audit makes a mistake by finding the right code and writing the wrong one; a repair is tried by finding the wrong
code and writing the right one. The classes of holes are those of the scope that fills them: planting.py for the audit,
repairing.py for a wrong line. A hole without a class, or with one that the scope does not list, is not filled, and the
row is then used in the other direction alone. Code that two rows make is of the first row's kind.

| kind | the right code → the wrong code |
|---|---|
| term dropped | `a + b` → `a`, `b`; `a - b` → `a`, `-b`; `a += b` → nothing |
| factor dropped | `a * b` → `a`, `b`; `a / b` → `a`; `a @ b` → `a`, `b`; `a *= b` → nothing |
| sign flipped | `-a` → `a`; `x = e` → `x = -e`; `return e` → `return -e`; `x += e` → `x -= e` |
| operator exchanged | each of `+ - * /` for each other one, also in `x += e` |
| operands exchanged | `a @ b` → `b @ a`; `a / b` → `b / a`; `np.dot(a, b)` → `np.dot(b, a)` |
| sum and mean exchanged | `.sum()` ↔ `.mean()`, `feature_mean` ↔ `feature_sum`; divided or multiplied by a length |
| axis changed | `axis=-1` → another, or none |
| keepdims lost | `keepdims=True` removed |
| transpose lost | `x.T`, `x.swapaxes(…)`, `np.transpose(x)` → `x` |
| transpose added | on each factor of a product, and on the product; in einsum, two letters exchanged |
| name replaced | a captured name by another of the scope that binds it, a local one by another local one |
| constant changed | 2 → 3, 1; 0.5 → 1.0, 0.0; True → False |
| gradient replaced by zeros | `return e` → `return 0 * e`; `x = e` → `x = 0 * e` |
| gradient replaced by dy | `return e` → `return dy` |
| dy ignored | `dy` → `0 * dy + 1` |
| gradients exchanged | `return a, b` → `return b, a`; `a, b = e` → `b, a = e` |
| mask forgotten | `np.where(c, a, b)` → `a`, `b`; `where=…` removed; `~m` → `m`; `a[i]` → `a` |
| condition changed | `if c` → `if True`, `if False`; `a if c else b` → `a`, `b`; `<` → `<=`, `>` |
| accumulation lost | `x += e` → `x = e`; `np.add.at(x, i, e)` → `x[i] += e` |
| statement dropped | → `pass` |
| backward call dropped | `norm_backward(dy)` → `dy` |
| call dropped | `np.exp(x)` → `x`; `x.reshape(n)` → `x` |
| order reversed | `reversed(x)` → `x` |
"""

import itertools

from gradcheck.mistakes.row import mistake

OPERATORS = ("+", "-", "*", "/")
COMPARISONS = {
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
    "==": ("!=",),
    "!=": ("==",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
}
TURN = "swapaxes(-1, -2)"
TURNED = "{{{}}} is transposed and should not be"
MEAN_FOR_SUM, SUM_FOR_MEAN = "a mean stands where a sum belongs", "a sum stands where a mean belongs"
NO_AXIS = "{F} runs over all axes where it should run over {K:one axis}"
AXIS = "{F} runs over axis {L} where it should run over {K:another axis}"
TWICE = "places of {A:the array} that come twice get one of their gradients, not the sum"

STATEMENTS = [
    mistake("term dropped", "A += B", "pass", "{B:a term} is not added to {A:the sum}"),
    mistake("term dropped", "A -= B", "pass", "{B:a term} is not subtracted from {A:the sum}"),
    mistake("factor dropped", "A *= B", "pass", "{A:a value} is not multiplied by {B:a factor}"),
    mistake("factor dropped", "A /= B", "pass", "{A:a value} is not divided by {B:a factor}"),
    *(
        mistake("accumulation lost", f"A {op}= B", "A = B", "{A:an array} is overwritten where it should be updated")
        for op in OPERATORS
    ),
    *(
        mistake(
            "sign flipped" if {op, other} == {"+", "-"} else "operator exchanged",
            *(f"A {op}= B", f"A {other}= B", f"{other}= stands where {op}= belongs, before {{B:a value}}"),
        )
        for op, other in itertools.permutations(OPERATORS, 2)
    ),
    mistake("statement dropped", "A = B", "pass", "an assignment to {A:a name} is missing", A="rebound"),
    mistake("statement dropped", "A", "pass", "a statement is missing", at="statement"),
    mistake("accumulation lost", "np.add.at(A, I, B)", "A[I] += B", TWICE),
    mistake("statement dropped", "for A in B: ...", "pass", "a loop is missing"),
    mistake("statement dropped", "while A: ...", "pass", "a loop is missing"),
    mistake("statement dropped", "if A: ...", "pass", "a condition, and what it guards, is missing"),
]

EXPRESSIONS = [
    # Sums, products, quotients
    mistake("term dropped", "A + B", "A", "{B:a term} is missing[ beside {A}]", rank=4, B="terms"),
    mistake("term dropped", "A + B", "B", "{A:a term} is missing[ beside {B}]"),
    mistake("term dropped", "A - B", "A", "{B:a term} is not subtracted[ from {A}]", rank=4, B="terms"),
    mistake("term dropped", "A - B", "-B", "{A:a term}, from which {B} is subtracted, is missing"),
    mistake("factor dropped", "A * B", "A", "{B:factor}[ of {A}] is missing", rank=2, B="factors"),
    mistake("factor dropped", "A * B", "B", "{A:factor}[ of {B}] is missing"),
    mistake("factor dropped", "A / B", "A", "a division[ of {A}] by {B:a factor} is missing", rank=2, B="factors"),
    mistake("factor dropped", "A @ B", "A", "the product[ of {A}] with {B:a matrix} is missing"),
    mistake("factor dropped", "A @ B", "B", "the product[ of {B}] with {A:a matrix} is missing"),
    mistake("operands exchanged", "A - B", "B - A", "{B} and {A} are subtracted in the wrong order"),
    mistake("operands exchanged", "A / B", "B / A", "{B} is divided by {A} where {A} should be divided by {B}"),
    mistake("operands exchanged", "A @ B", "B @ A", "{B} and {A} are in the wrong order"),
    mistake("transpose added", "A @ B", f"A.{TURN} @ B", TURNED.format("A"), A="unturned"),
    mistake("transpose added", "A @ B", f"A @ B.{TURN}", TURNED.format("B"), B="unturned"),
    mistake("transpose added", "A @ B", f"(A @ B).{TURN}", "{A} @ {B} is transposed and should not be"),
    mistake("operator exchanged", "A + B", "A - B", "{B} is subtracted where it should be added"),
    mistake("operator exchanged", "A - B", "A + B", "{B} is added where it should be subtracted"),
    mistake("operator exchanged", "A * B", "A / B", "{B} divides where it should multiply"),
    mistake("operator exchanged", "A / B", "A * B", "{B} multiplies where it should divide"),
    *(
        mistake("operator exchanged", f"A {op} B", f"A {other} B", f"{other} stands where {op} belongs, before {{B}}")
        for op, other in itertools.permutations(OPERATORS, 2)
        if {op, other} not in ({"+", "-"}, {"*", "/"})
    ),
    # Signs, masks, constants
    mistake("sign flipped", "-A", "A", "the sign of {A} is wrong", A="expression"),
    mistake("mask forgotten", "~A", "A", "{A} stands where its complement belongs", A="mask"),
    mistake("condition changed", "not A", "A", "{A} stands where its negation belongs"),
    mistake("constant changed", "N", "M", "{M} stands where {N:another number} belongs", N="numbers", M="numbers"),
    mistake("constant changed", "True", "False", "False stands where True belongs"),
    mistake("constant changed", "False", "True", "True stands where False belongs"),
    # Conditions
    *(
        mistake(
            "condition changed",
            f"A {op} B",
            f"A {other} B",
            f"{other} stands where {op} belongs, before {{B}}",
        )
        for op, others in COMPARISONS.items()
        for other in others
    ),
    mistake("condition changed", "A and B", "A or B", "`or` stands where `and` belongs"),
    mistake("condition changed", "A or B", "A and B", "`and` stands where `or` belongs"),
    mistake("condition changed", "A if C else B", "A", "{A} is used whether or not {C:a condition} holds"),
    mistake("condition changed", "A if C else B", "B", "{B} is used whether or not {C:a condition} holds"),
    # Transposes, indices
    mistake("transpose lost", "A.T", "A", "{A} is not transposed"),
    mistake("transpose lost", "A.mT", "A", "{A} is not transposed"),
    mistake("mask forgotten", "A[I]", "A", "{A} is taken whole where a part of it belongs", A="entries"),
    # Calls
    mistake("mask forgotten", "np.where(C, A, B)", "A", "{A} is not limited to {C:a mask}"),
    mistake("mask forgotten", "np.where(C, A, B)", "B", "{B} is not limited to {C:a mask}"),
    mistake("mask forgotten", "np.where(C, A, B)", "np.where(C, B, A)", "the values for True and False are exchanged"),
    *(
        mistake("sum and mean exchanged", f"F.{right}(*R)", f"F.{wrong}(*R)", sentence)
        for sum_, mean in (("sum", "mean"), ("nansum", "nanmean"))
        for right, wrong, sentence in ((sum_, mean, MEAN_FOR_SUM), (mean, sum_, SUM_FOR_MEAN))
    ),
    mistake("sum and mean exchanged", "F(*R)", "G(*R)", "{G} stands where its twin belongs", F="sum_or_mean", G="twin"),
    mistake("sum and mean exchanged", "F(A, *R)", "F(A, *R) / len(A)", MEAN_FOR_SUM, F="lone_sum"),
    mistake("sum and mean exchanged", "F(A, *R)", "F(A, *R) * len(A)", SUM_FOR_MEAN, F="lone_mean"),
    mistake("keepdims lost", "F(*R, keepdims=K)", "F(*R)", "the axis that is summed over is not kept"),
    mistake("mask forgotten", "F(*R, where=K)", "F(*R)", "`where` is missing"),
    *(mistake("axis changed", f"F(*R, {axis}=K)", "F(*R)", NO_AXIS, K="axes") for axis in ("axis", "axes")),
    *(
        mistake("axis changed", f"F(*R, {axis}=K)", f"F(*R, {axis}=L)", AXIS, K="axes", L="axes")
        for axis in ("axis", "axes")
    ),
    mistake("transpose added", "F(S, *R)", "F(L, *R)", "two letters of {L} are exchanged", F="einsum", L="letters"),
    *(
        row
        for call, turned, other, exchanged, classes in (
            ("F(A, B, *R)", f"F(A.{TURN}, B, *R)", f"F(A, B.{TURN}, *R)", "F(B, A, *R)", {"F": "product"}),
            ("A.M(B, *R)", f"A.{TURN}.M(B, *R)", f"A.M(B.{TURN}, *R)", "B.M(A, *R)", {"M": "product"}),
        )
        for row in (
            mistake(
                "operands exchanged",
                call,
                exchanged,
                "{B} and {A} are in the wrong order",
                A="value",
                R="keywords",
                **classes,
            ),
            mistake("transpose added", call, turned, TURNED.format("A"), A="unturned", R="keywords", **classes),
            mistake(
                "transpose added", call, other, TURNED.format("B"), A="value", B="unturned", R="keywords", **classes
            ),
        )
    ),
    mistake("order reversed", "reversed(A)", "A", "{A} is taken forwards where it should be backwards"),
    mistake("transpose lost", "A.M(*R)", "A", "{A} is not transposed", A="value", M="transpose"),
    mistake("transpose lost", "np.M(A, *R)", "A", "{A} is not transposed", M="transpose"),
    mistake("backward call dropped", "F(A, *R)", "A", "{F:a backward pass} is not applied to {A}", F="backward"),
    mistake("call dropped", "F(A, *R)", "A", "{F:a function} is not applied to {A}", F="function"),
    mistake("call dropped", "A.M(*R)", "A", "{M:a method} is not applied to {A}", A="value", M="method"),
    # Names
    mistake("dy ignored", "A", "0 * A + 1", "{A} is taken for ones", A="dy"),
    mistake("name replaced", "A", "B", "{B} stands where {A:another name} belongs", A="names", B="names"),
    # Whole values
    mistake("sign flipped", "A", "-A", "the sign is wrong", at="value", A="arithmetic"),
    mistake("gradient replaced by zeros", "A", "0 * A", "it is zero", at="value", A="arithmetic"),
    mistake("gradient replaced by dy", "A", "B", "it is {B} itself", at="gradient", B="dy"),
    mistake("gradients exchanged", "A, B", "B, A", "{B} and {A} are in each other's place", at="pair"),
    mistake("condition changed", "A", "True", "{A:a condition} is taken to hold always", at="test"),
    mistake("condition changed", "A", "False", "{A:a condition} is taken to hold never", at="test"),
]

ROWS = (*STATEMENTS, *EXPRESSIONS)
