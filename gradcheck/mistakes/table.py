"""The rows of the table of mistakes: right code, wrong code, and a sentence.

Capital letters are holes (patterns.py). The classes of holes are defined in planting.py and repairing.py. The audit
replaces right code with wrong code, and a repair does the reverse. If two rows produce the same wrong code, the mistake
has the kind of the first row.
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
EXCHANGED = {
    frozenset("+-"): "sum and difference exchanged",
    frozenset("*/"): "product and quotient exchanged",
}
TURN = "swapaxes(-1, -2)"
WAYS = (("forwards", "backwards"), ("backwards", "forwards"))
CALLS = {"F": "called", "G": "called"}
NOT_TURNED, TURNED = "{{{}}} is not transposed", "{{{}}} is transposed and should not be"
MEAN_FOR_SUM, SUM_FOR_MEAN = "a mean stands where a sum belongs", "a sum stands where a mean belongs"
NO_AXIS = "the {{{}}} runs over all axes where it should over {{K:axis}}"
AXIS = "the {{{}}} runs over axis {{L}} where it should over {{K:another}}"
TWICE = "places of {A:the array} that come twice get one of their gradients, not the sum"

FACTOR = "{B:factor} is missing[ from {A}]"
UNMASKED, MASK = "{A} should be 0 where ", {"rank": 2, "B": "masks"}
OTHER_POWER = "the power in {wrong} should be {N:another number}"
OTHER_FUNCTION = "{L} stands where {M:another function} belongs"
BRANCHES = "the values where {C} holds and where not are exchanged"
FORWARDS, BACKWARDS = (f"{{A}} is taken {one} where it should be {other}" for one, other in WAYS)
ORDER, BRACKETS = "{B} and {A} are in the wrong order", "brackets are missing or misplaced in {wrong}"
MINUS_TOTAL, NO_TOTAL = "A - A.{}(axis=K, keepdims=True)", "{}({{A}}) over {{K:axis}} is not subtracted"
MINUS_MULTIPLE = "A - B * A.{}(axis=K, keepdims=True)"
NO_MULTIPLE = "{{B:an array}} * {}({{A}}) over {{K:axis}} is not subtracted"

SUBTRACTED = {"rank": 4, "A": "summable", "B": "arrays", "K": "axes"}
NO_SUM, OVER = "the {} over {{K:axis}} is missing", {"rank": 2, "K": "axes"}
INDEX = {"I": "unplanted"}
NEXT_TO = (("I", "I + 1", "before"), ("I", "I - 1", "after"), ("I + 1", "I", "after"), ("I - 1", "I", "before"))

STATEMENTS = [
    mistake("term dropped", "A += B", "pass", "{B:a term} is not added to {A:the sum}"),
    mistake("term dropped", "A -= B", "pass", "{B:a term} is not subtracted from {A:the sum}"),
    mistake("factor dropped", "A *= B", "pass", "{A:a value} is not multiplied by {B:a factor}"),
    mistake("division dropped", "A /= B", "pass", "{A:a value} is not divided by {B:a factor}"),
    mistake("term added", "pass", "A += B", "the term {B} is too much"),
    mistake("term added", "pass", "A -= B", "{B} is subtracted and should not be"),
    mistake("factor added", "pass", "A *= B", "the factor {B} is too much"),
    mistake("factor added", "pass", "A /= B", "the division by {B} is too much"),
    *(
        mistake("accumulation lost", f"A {op}= B", "A = B", "{A:an array} is overwritten where it should be updated")
        for op in OPERATORS
    ),
    *(
        mistake(
            EXCHANGED.get(frozenset((op, other)), "operator exchanged"),
            *(f"A {op}= B", f"A {other}= B", f"{other}= stands where {op}= belongs, before {{B:a value}}"),
        )
        for op, other in itertools.permutations(OPERATORS, 2)
    ),
    mistake("statement dropped", "A = B", "pass", "an assignment to {A:a name} is missing", A="rebound"),
    mistake("statement dropped", "A", "pass", "a statement is missing", at="statement"),
    mistake("term added", "A = B", "A += B", "{A} is updated where it should be overwritten", A="unplanted"),
    mistake("accumulation lost", "np.add.at(A, I, B)", "A[I] += B", TWICE, I="gathered"),
    mistake("accumulation lost", "np.add.at(A, I, B)", "A[I] = B", TWICE, A="unplanted", I="gathered"),
    mistake("statement dropped", "for A in B: ...", "pass", "a loop is missing"),
    mistake("statement dropped", "while A: ...", "pass", "a loop is missing"),
    mistake("statement dropped", "if A: ...", "pass", "a condition, and what it guards, is missing"),
]

EXPRESSIONS = [
    # Sums
    mistake("term dropped", "A + B", "A", "{B:term} is missing[ beside {A}]", rank=4, B="terms"),
    mistake("term dropped", "A + B", "B", "{A:term} is missing[ beside {B}]"),
    mistake("term dropped", "A - B", "A", "{B:a term} is not subtracted[ from {A}]", rank=4, B="terms"),
    mistake("term dropped", "A - B", "-B", "{A:a term}, from which {B} is subtracted, is missing"),
    *(
        mistake("term dropped", right.format(total), "A", sentence.format(total), **SUBTRACTED)
        for total in ("mean", "sum")
        for right, sentence in ((MINUS_TOTAL, NO_TOTAL), (MINUS_MULTIPLE, NO_MULTIPLE))
    ),
    mistake("term added", "A", "A + B", "the term {B} is too much"),
    mistake("term added", "A", "B + A", "the term {B} is too much"),
    mistake("term added", "A", "A - B", "{B} is subtracted and should not be"),
    mistake("difference reversed", "A - B", "B - A", "{B} and {A} are subtracted in the wrong order"),
    mistake("sum and difference exchanged", "A + B", "A - B", "{B} is subtracted where it should be added"),
    mistake("sum and difference exchanged", "A - B", "A + B", "{B} is added where it should be subtracted"),
    mistake("sign flipped", "-A", "A", "the sign is wrong", at="value", A="expression"),
    mistake("sign flipped", "-A", "A", "the sign of {A} is wrong", A="expression"),
    # Products and quotients
    mistake("power changed", "A ** 2", "A", "{A} is not squared", rank=2, A="operand"),
    mistake("factor dropped", "A * B", "A", FACTOR, rank=2, B="factors"),
    mistake("factor dropped", "A * B", "A", FACTOR, rank=3, B="functions"),
    mistake("factor dropped", "A * B[..., None]", "A", FACTOR, at="value", rank=2, B="arrays"),
    mistake("factor dropped", "A * B", "B", "{A:factor} is missing[ from {B}]"),
    mistake("division dropped", "A / B", "A", "a division[ of {A}] by {B:a factor} is missing", rank=2, B="factors"),
    mistake("division dropped", "A / B", "A", "a division[ of {A}] by {B:a factor} is missing", rank=3, B="totals"),
    mistake("matrix dropped", "A @ B", "A", "the product[ of {A}] with {B:a matrix} is missing"),
    mistake("matrix dropped", "A @ B", "B", "the product[ of {B}] with {A:a matrix} is missing"),
    mistake("factor added", "A", "A * B", "the factor {B} is too much"),
    mistake("factor added", "A", "B * A", "the factor {B} is too much"),
    mistake("factor added", "A", "A / B", "the division by {B} is too much"),
    mistake("quotient inverted", "A / B", "B / A", "{B} is divided by {A} where {A} should be divided by {B}"),
    mistake("product and quotient exchanged", "A * B", "A / B", "{B} divides where it should multiply"),
    mistake("product and quotient exchanged", "A / B", "A * B", "{B} multiplies where it should divide"),
    *(
        mistake("operator exchanged", f"A {op} B", f"A {other} B", f"{other} stands where {op} belongs, before {{B}}")
        for op, other in itertools.permutations(OPERATORS, 2)
        if frozenset((op, other)) not in EXCHANGED
    ),
    mistake("power changed", "A", "A ** M", "{wrong} stands where {A} belongs"),
    mistake("power changed", "A ** N", "A ** M", OTHER_POWER, N="powers"),
    mistake("brackets misplaced", "C - A ** N", "(C - A) ** N", BRACKETS, C="unplanted"),
    *(
        mistake("brackets misplaced", f"A {op} (B {sign} C)", f"A {op} B {sign} C", BRACKETS, C="unplanted")
        for op in "*/"
        for sign in "+-"
    ),
    # Matrix products and transposes
    mistake("transpose lost", "A.T", "A", NOT_TURNED.format("A")),
    mistake("transpose lost", "A.mT", "A", NOT_TURNED.format("A")),
    mistake("transpose lost", "A.M(*R)", "A", NOT_TURNED.format("A"), A="value", M="transpose"),
    mistake("transpose lost", "np.M(A, *R)", "A", NOT_TURNED.format("A"), M="transpose"),
    mistake("transpose lost", f"A.{TURN} @ B", "A @ B", NOT_TURNED.format("A")),
    mistake("transpose lost", f"A @ B.{TURN}", "A @ B", NOT_TURNED.format("B")),
    mistake("transpose lost", f"(A @ B).{TURN}", "A @ B", "the product of {A} and {B} is not transposed"),
    mistake("transpose added", "A @ B", f"A.{TURN} @ B", TURNED.format("A"), A="unturned"),
    mistake("transpose added", "A @ B", f"A @ B.{TURN}", TURNED.format("B"), B="unturned"),
    mistake(
        "transpose added", "A @ B", f"(A @ B).{TURN}", "the product of {A} and {B} is transposed and should not be"
    ),
    mistake("transpose added", "A", "A.T", TURNED.format("A"), A="unplanted"),
    mistake("transpose added", "A", "A.swapaxes(*R)", TURNED.format("A"), A="unplanted"),
    mistake("transpose added", "A", "A.transpose(*R)", TURNED.format("A"), A="unplanted"),
    mistake("operands exchanged", "A @ B", "B @ A", "{B} and {A} are in the wrong order"),
    # Masks, indices, constants
    mistake("mask forgotten", "~A", "A", "{A} stands where ~{A} belongs", A="mask"),
    mistake("mask forgotten", "A", "~A", "{wrong} stands where {A} belongs", A="unplanted"),
    mistake("index dropped", "A[I]", "A", "{A} is taken whole where a part of it belongs", A="entries"),
    *(
        mistake(
            "index shifted",
            f"A[{right}]",
            f"A[{wrong}]",
            f"{{wrong}} stands where the entry {side} it belongs",
            **INDEX,
        )
        for right, wrong, side in NEXT_TO
    ),
    mistake("mask forgotten", "np.where(C, A, B)", "A", "{A} is not limited to {C:a mask}"),
    mistake("mask forgotten", "np.where(C, A, B)", "B", "{B} is not limited to {C:a mask}"),
    mistake("mask forgotten", "np.where(C, A, B)", "np.where(C, B, A)", BRANCHES),
    mistake("mask forgotten", "np.where(B, A, 0.0)", "A", UNMASKED + "{B:a mask} is False", **MASK),
    mistake("mask forgotten", "np.where(B, 0.0, A)", "A", UNMASKED + "{B:a mask} is True", **MASK),
    mistake(
        "mask forgotten", "np.where(B > 0, A, 0.0)", "A", UNMASKED + "{B:an array} is not positive", rank=2, B="arrays"
    ),
    mistake("mask forgotten", "A > 0", "A", "{A} stands where the mask {A} > 0 belongs", A="positive"),
    mistake("mask forgotten", "F(*R, where=K)", "F(*R)", "`where` is missing"),
    mistake("constant changed", "N", "M", "{M} stands where {N:another number} belongs", N="numbers", M="numbers"),
    mistake("constant changed", "A", "N", "{N} stands where {A:a length} belongs", rank=2, A="lengths", N="number"),
    mistake(
        "constant changed", "A", "N", "{N} stands where {A:another value} belongs", rank=2, A="scalars", N="number"
    ),
    mistake("constant changed", "np.zeros_like(A)", "A.copy()", "it starts from {A}, not from zeros", A="unplanted"),
    mistake("constant changed", "True", "False", "False stands where True belongs"),
    mistake("constant changed", "False", "True", "True stands where False belongs"),
    # Conditions
    mistake("condition changed", "not A", "A", "{A} stands where `not {A}` belongs"),
    *(
        mistake("condition changed", f"A {op} B", f"A {other} B", f"{other} stands where {op} belongs, before {{B}}")
        for op, others in COMPARISONS.items()
        for other in others
    ),
    mistake("condition changed", "A and B", "A or B", "`or` stands where `and` belongs"),
    mistake("condition changed", "A or B", "A and B", "`and` stands where `or` belongs"),
    mistake("condition changed", "A if C else B", "A", "{A} is used whether or not {C:a condition} holds"),
    mistake("condition changed", "A if C else B", "B", "{B} is used whether or not {C:a condition} holds"),
    # Sums and means, and their axes
    mistake("sum and mean exchanged", "F.sum(*R)", "F.mean(*R)", MEAN_FOR_SUM),
    mistake("sum and mean exchanged", "F.mean(*R)", "F.sum(*R)", SUM_FOR_MEAN),
    mistake("sum and mean exchanged", "F(A, *R)", "F(A, *R) / len(A)", MEAN_FOR_SUM, F="sum"),
    mistake("sum and mean exchanged", "F(A, *R)", "F(A, *R) * len(A)", SUM_FOR_MEAN, F="mean"),
    mistake("keepdims lost", "F(*R, keepdims=K)", "F(*R)", "the axis that is summed over is not kept"),
    *(
        mistake("axis changed", f"{call}, {axis}=K)", wrong, sentence.format(name), K="axes", **classes)
        for axis in ("axis", "axes", "dim")
        for call, name in (("A.M(*R", "M"), ("F(*R", "F"))
        for wrong, sentence, classes in (
            (f"{call})", NO_AXIS, {name: "reduction", "R": "all_axes"}),
            (f"{call}, {axis}=L)", AXIS, {name: "named", "L": "axes"}),
        )
    ),
    *(
        mistake(
            "axis changed", f"{call}, axis=K, keepdims=True)", f"{call})", NO_AXIS.format(name), K="axes", **classes
        )
        for call, name in (("A.M(*R", "M"), ("F(*R", "F"))
        for classes in ({name: "reduction", "R": "kept_axes"},)
    ),
    mistake("call added", "A", "sum(A for B in C)", "the sum over {C} is too much"),
    mistake("call added", "A", "A.M(*R)", "the {M} is too much", M="reduction"),
    *(
        mistake("sum dropped", f"A.{total}(axis=K{keeps})", "A", NO_SUM.format(total), at="value", **OVER)
        for total in ("sum", "mean")
        for keeps in (", keepdims=True", "")
    ),
    # Calls
    mistake("transpose added", "F(S, *R)", "F(L, *R)", "two letters of {L} are exchanged", F="einsum", L="letters"),
    *(
        row
        for call, turned, other, swapped, classes in (
            ("F(A, B, *R)", f"F(A.{TURN}, B, *R)", f"F(A, B.{TURN}, *R)", "F(B, A, *R)", {"F": "product"}),
            ("A.M(B, *R)", f"A.{TURN}.M(B, *R)", f"A.M(B.{TURN}, *R)", "B.M(A, *R)", {"M": "product"}),
        )
        for row in (
            mistake("operands exchanged", call, swapped, ORDER, A="value", R="keywords", **classes),
            mistake("transpose added", call, turned, TURNED.format("A"), A="unturned", R="keywords", **classes),
            mistake(
                "transpose added", call, other, TURNED.format("B"), A="value", B="unturned", R="keywords", **classes
            ),
        )
    ),
    mistake("operands exchanged", "F(A, B, *R)", "F(B, A, *R)", "{B} and {A} are in the wrong order", A="unplanted"),
    mistake("order reversed", "reversed(A)", "A", FORWARDS),
    *(
        mistake(kind, right, wrong, sentence, at="loop")
        for right, wrong, kind, sentence in (
            ("reversed(A)", "A", "order reversed", FORWARDS),
            ("A[::-1]", "A", "order reversed", FORWARDS),
            ("A", "reversed(A)", "order reversed", BACKWARDS),
            ("A", "A[::-1]", "order reversed", BACKWARDS),
            ("A", "A[N:]", "range changed", "the loop begins too late"),
            ("range(A)", "range(N, A)", "range changed", "the loop begins too late"),
            ("A", "A[:N]", "range changed", "the loop ends too early"),
            ("A[::-1]", "A[:N:-1]", "range changed", "the loop ends too early"),
            ("range(A)", "range(A - N)", "range changed", "the loop ends too early"),
        )
    ),
    mistake("backward call dropped", "F(A, *R)", "A", "{F:a backward pass} is not applied to {A}", F="backward"),
    mistake(
        "backward call dropped", "F(A)", "A", "{F:a backward pass} is not applied to {A}", A="gradient", F="backwards"
    ),
    mistake("call dropped", "F(A, *R)", "A", "{F:a function} is not applied to {A}", F="function"),
    mistake("call dropped", "A.M(*R)", "A", "{M:a method} is not applied to {A}", A="value", M="method"),
    mistake("call dropped", "F(A)", "A", "{F:a function} is not applied to {A}", F="callables"),
    mistake(
        "slope replaced", "1 - np.tanh(A) ** 2", "np.tanh(A)", "tanh stands where its slope belongs", A="unplanted"
    ),
    mistake("order reversed", "F(G(A))", "G(F(A))", "{G} and {F} are applied in the wrong order", **CALLS),
    *(
        mistake(
            "calls added",
            right,
            "F(A) + G(A)",
            "{F} and {G} are added, not applied one after the other",
            **CALLS,
        )
        for right in ("F(G(A))", "G(F(A))")
    ),
    mistake("slope replaced", "B", "A", "{A} stands where {B:a function of it} belongs", rank=2, A="array", B="forms"),
    mistake("call added", "A", "np.M(A)", "{M} is too much", A="unplanted"),
    mistake("call added", "A", "F(A)", "{F} is too much", A="unplanted"),
    mistake("name replaced", "np.M(A)", "np.L(A)", OTHER_FUNCTION, M="elementary", L="elementary"),
    # Names
    mistake("name overwritten", "A", "B", "{B} is overwritten before this line reads it", A="earlier", B="overwritten"),
    mistake("dy ignored", "A", "0 * A + 1", "{A} is taken for ones", A="dy"),
    mistake("gradient replaced", "A", "B", "{B} stands where {A:another name} belongs", A="names", B="gradients"),
    mistake("name replaced", "A", "B", "{B} stands where {A:another name} belongs", A="names", B="names"),
    mistake("name replaced", "A", "B", "{B} stands where {A:an array} belongs", A="arrays", B="computed"),
    mistake("name replaced", "A", "B", "{B} stands where {A:a mask} belongs", A="masks", B="array"),
    mistake(
        "name replaced",
        "F(A)",
        "B",
        "{B} stands where another array belongs",
        rank=3,
        F="callables",
        A="arrays",
        B="array",
    ),
    mistake("names exchanged", "A, B", "B, A", "{A} and {B} are in each other's place", at="names"),
    # Whole values
    mistake("sign flipped", "A", "-A", "the sign is wrong", at="value", A="arithmetic"),
    mistake("gradient replaced by zeros", "A", "0 * A", "it is zero", at="value", A="arithmetic"),
    mistake("gradient replaced by dy", "A", "B", "it is {B} itself", at="gradient", B="dy"),
    mistake("gradients exchanged", "A, B", "B, A", "{B} and {A} are in each other's place", at="pair"),
    mistake("condition changed", "A", "True", "{A:a condition} is taken to hold always", at="test"),
    mistake("condition changed", "A", "False", "{A:a condition} is taken to hold never", at="test"),
]

ROWS = (*STATEMENTS, *EXPRESSIONS)
