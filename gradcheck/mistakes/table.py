"""The rows of the table of mistakes.

Each line has the form `kind: sentence | right code → wrong code`. Further pairs of right and wrong code with the same
sentence may follow. A pair may end with options, such as `; at=value rank=2 B=factors` (see row.py). Capital letters
are holes (patterns.py). The classes of holes are defined in planting.py and repairing.py. The audit replaces right code
with wrong code, and a repair does the reverse. If two pairs give the same wrong code, the mistake has the kind of the
first one. A line that begins with
`for` stands for several, with each pair `a → b` of its list in place of $1 and $2.
"""

from gradcheck.mistakes.row import rows_of

TABLE = """
# Statements
term dropped: {B:a term} is not added to {A:the sum} | A += B → pass
term dropped: {B:a term} is not subtracted from {A:the sum} | A -= B → pass
factor dropped: {A:a value} is not multiplied by {B:a factor} | A *= B → pass
division dropped: {A:a value} is not divided by {B:a factor} | A /= B → pass
term added: the term {B} is too much | pass → A += B
term added: {B} is subtracted and should not be | pass → A -= B
factor added: the factor {B} is too much | pass → A *= B
factor added: the division by {B} is too much | pass → A /= B
accumulation lost: {A:an array} is overwritten where it should be updated | A += B → A = B | A -= B → A = B |
    A *= B → A = B | A /= B → A = B
for + → -, - → +:
    sum and difference exchanged: $2= stands where $1= belongs, before {B:a value} | A $1= B → A $2= B
for + → *, + → /, - → *, - → /, * → +, * → -, / → +, / → -:
    operator exchanged: $2= stands where $1= belongs, before {B:a value} | A $1= B → A $2= B
for * → /, / → *:
    product and quotient exchanged: $2= stands where $1= belongs, before {B:a value} | A $1= B → A $2= B
statement dropped: an assignment to {A:a name} is missing | A = B → pass; A=rebound
statement dropped: a statement is missing | A → pass
term added: {A} is updated where it should be overwritten | A = B → A += B; A=unplanted
accumulation lost: places of {A:the array} that come twice get one of their gradients, not the sum |
    np.add.at(A, I, B) → A[I] += B; I=gathered | np.add.at(A, I, B) → A[I] = B; A=unplanted I=gathered
statement dropped: a loop is missing | for A in B: ... → pass | while A: ... → pass
statement dropped: a condition, and what it guards, is missing | if A: ... → pass
# Sums
term dropped: {B:term} is missing[ beside {A}] | A + B → A; rank=4 B=terms
term dropped: {A:term} is missing[ beside {B}] | A + B → B
term dropped: {B:a term} is not subtracted[ from {A}] | A - B → A; rank=4 B=terms
term dropped: {A:a term}, from which {B} is subtracted, is missing | A - B → -B
term dropped: mean({A}) over {K:axis} is not subtracted |
    A - A.mean(axis=K, keepdims=True) → A; rank=4 A=summable B=arrays K=axes
term dropped: {B:an array} * mean({A}) over {K:axis} is not subtracted |
    A - B * A.mean(axis=K, keepdims=True) → A; rank=4 A=summable B=arrays K=axes
term dropped: sum({A}) over {K:axis} is not subtracted |
    A - A.sum(axis=K, keepdims=True) → A; rank=4 A=summable B=arrays K=axes
term dropped: {B:an array} * sum({A}) over {K:axis} is not subtracted |
    A - B * A.sum(axis=K, keepdims=True) → A; rank=4 A=summable B=arrays K=axes
term added: the term {B} is too much | A → A + B | A → B + A
term added: {B} is subtracted and should not be | A → A - B
difference reversed: {B} and {A} are subtracted in the wrong order | A - B → B - A
sum and difference exchanged: {B} is subtracted where it should be added | A + B → A - B
sum and difference exchanged: {B} is added where it should be subtracted | A - B → A + B
sign flipped: the sign is wrong | -A → A; at=value A=expression
sign flipped: the sign of {A} is wrong | -A → A; A=expression
# Products and quotients
power changed: {A} is not squared | A ** 2 → A; rank=2 A=operand
factor dropped: {B:factor} is missing[ from {A}] | A * B → A; rank=2 B=factors | A * B → A; rank=3 B=functions |
    A * B[..., None] → A; at=value rank=2 B=arrays
factor dropped: {A:factor} is missing[ from {B}] | A * B → B
division dropped: a division[ of {A}] by {B:a factor} is missing | A / B → A; rank=2 B=factors |
    A / B → A; rank=3 B=totals
matrix dropped: the product[ of {A}] with {B:a matrix} is missing | A @ B → A
matrix dropped: the product[ of {B}] with {A:a matrix} is missing | A @ B → B
factor added: the factor {B} is too much | A → A * B | A → B * A
factor added: the division by {B} is too much | A → A / B
quotient inverted: {B} is divided by {A} where {A} should be divided by {B} | A / B → B / A
product and quotient exchanged: {B} divides where it should multiply | A * B → A / B
product and quotient exchanged: {B} multiplies where it should divide | A / B → A * B
for + → *, + → /, - → *, - → /, * → +, * → -, / → +, / → -:
    operator exchanged: $2 stands where $1 belongs, before {B} | A $1 B → A $2 B
power changed: {wrong} stands where {A} belongs | A → A ** M
power changed: the power in {wrong} should be {N:another number} | A ** N → A ** M; N=powers
brackets misplaced: brackets are missing or misplaced in {wrong} | C - A ** N → (C - A) ** N; C=unplanted |
    A * (B + C) → A * B + C; C=unplanted | A * (B - C) → A * B - C; C=unplanted | A / (B + C) → A / B + C; C=unplanted |
    A / (B - C) → A / B - C; C=unplanted
# Matrix products and transposes
transpose lost: {A} is not transposed | A.T → A | A.mT → A | A.M(*R) → A; A=value M=transpose |
    np.M(A, *R) → A; M=transpose | A.swapaxes(-1, -2) @ B → A @ B
transpose lost: {B} is not transposed | A @ B.swapaxes(-1, -2) → A @ B
transpose lost: the product of {A} and {B} is not transposed | (A @ B).swapaxes(-1, -2) → A @ B
transpose added: {A} is transposed and should not be | A @ B → A.swapaxes(-1, -2) @ B; A=unturned
transpose added: {B} is transposed and should not be | A @ B → A @ B.swapaxes(-1, -2); B=unturned
transpose added: the product of {A} and {B} is transposed and should not be | A @ B → (A @ B).swapaxes(-1, -2)
transpose added: {A} is transposed and should not be | A → A.T; A=unplanted | A → A.swapaxes(*R); A=unplanted |
    A → A.transpose(*R); A=unplanted
operands exchanged: {B} and {A} are in the wrong order | A @ B → B @ A
# Masks, indices, constants
mask forgotten: {A} stands where ~{A} belongs | ~A → A; A=mask
mask forgotten: {wrong} stands where {A} belongs | A → ~A; A=unplanted
index dropped: {A} is taken whole where a part of it belongs | A[I] → A; A=entries
index shifted: {wrong} stands where the entry before it belongs | A[I] → A[I + 1]; I=unplanted
index shifted: {wrong} stands where the entry after it belongs | A[I] → A[I - 1]; I=unplanted |
    A[I + 1] → A[I]; I=unplanted
index shifted: {wrong} stands where the entry before it belongs | A[I - 1] → A[I]; I=unplanted
mask forgotten: {A} is not limited to {C:a mask} | np.where(C, A, B) → A
mask forgotten: {B} is not limited to {C:a mask} | np.where(C, A, B) → B
mask forgotten: the values where {C} holds and where not are exchanged | np.where(C, A, B) → np.where(C, B, A)
mask forgotten: {A} should be 0 where {B:a mask} is False | np.where(B, A, 0.0) → A; rank=2 B=masks
mask forgotten: {A} should be 0 where {B:a mask} is True | np.where(B, 0.0, A) → A; rank=2 B=masks
mask forgotten: {A} should be 0 where {B:an array} is not positive | np.where(B > 0, A, 0.0) → A; rank=2 B=arrays
mask forgotten: {A} stands where the mask {A} > 0 belongs | A > 0 → A; A=positive
mask forgotten: `where` is missing | F(*R, where=K) → F(*R)
constant changed: {M} stands where {N:another number} belongs | N → M; N=numbers M=numbers
constant changed: {N} stands where {A:a length} belongs | A → N; rank=2 A=lengths N=number
constant changed: {N} stands where {A:another value} belongs | A → N; rank=2 A=scalars N=number
constant changed: it starts from {A}, not from zeros | np.zeros_like(A) → A.copy(); A=unplanted
constant changed: False stands where True belongs | True → False
constant changed: True stands where False belongs | False → True
# Conditions
condition changed: {A} stands where `not {A}` belongs | not A → A
for < → <=, < → >, <= → <, <= → >=, > → >=, > → <, >= → >, >= → <=, == → !=, != → ==, is → is not, is not → is:
    condition changed: $2 stands where $1 belongs, before {B} | A $1 B → A $2 B
for in → not in, not in → in:
    condition changed: $2 stands where $1 belongs, before {B} | A $1 B → A $2 B
condition changed: `or` stands where `and` belongs | A and B → A or B
condition changed: `and` stands where `or` belongs | A or B → A and B
condition changed: {A} is used whether or not {C:a condition} holds | A if C else B → A
condition changed: {B} is used whether or not {C:a condition} holds | A if C else B → B
# Sums and means, and their axes
sum and mean exchanged: a mean stands where a sum belongs | F.sum(*R) → F.mean(*R)
sum and mean exchanged: a sum stands where a mean belongs | F.mean(*R) → F.sum(*R)
sum and mean exchanged: a mean stands where a sum belongs | F(A, *R) → F(A, *R) / len(A); F=sum
sum and mean exchanged: a sum stands where a mean belongs | F(A, *R) → F(A, *R) * len(A); F=mean
keepdims lost: the axis that is summed over is not kept | F(*R, keepdims=K) → F(*R)
for axis, axes, dim:
    axis changed: the {M} runs over all axes where it should run over {K:axis} |
    A.M(*R, $1=K) → A.M(*R); K=axes M=reduction R=all_axes
for axis, axes, dim:
    axis changed: the {M} runs over axis {L} where it should run over {K:another} |
    A.M(*R, $1=K) → A.M(*R, $1=L); K=axes M=named L=axes
for axis, axes, dim:
    axis changed: the {F} runs over all axes where it should run over {K:axis} |
    F(*R, $1=K) → F(*R); K=axes F=reduction R=all_axes
for axis, axes, dim:
    axis changed: the {F} runs over axis {L} where it should run over {K:another} |
    F(*R, $1=K) → F(*R, $1=L); K=axes F=named L=axes
axis changed: the {M} runs over all axes where it should run over {K:axis} |
    A.M(*R, axis=K, keepdims=True) → A.M(*R); K=axes M=reduction R=kept_axes
axis changed: the {F} runs over all axes where it should run over {K:axis} |
    F(*R, axis=K, keepdims=True) → F(*R); K=axes F=reduction R=kept_axes
call added: the sum over {C} is too much | A → sum((A for B in C))
call added: the {M} is too much | A → A.M(*R); M=reduction
sum dropped: the sum over {K:axis} is missing | A.sum(axis=K, keepdims=True) → A; at=value rank=2 K=axes |
    A.sum(axis=K) → A; at=value rank=2 K=axes
sum dropped: the mean over {K:axis} is missing | A.mean(axis=K, keepdims=True) → A; at=value rank=2 K=axes |
    A.mean(axis=K) → A; at=value rank=2 K=axes
# Calls
transpose added: two letters of {L} are exchanged | F(S, *R) → F(L, *R); F=einsum L=letters
operands exchanged: {B} and {A} are in the wrong order | F(A, B, *R) → F(B, A, *R); A=value R=keywords F=product
transpose added: {A} is transposed and should not be |
    F(A, B, *R) → F(A.swapaxes(-1, -2), B, *R); A=unturned R=keywords F=product
transpose added: {B} is transposed and should not be |
    F(A, B, *R) → F(A, B.swapaxes(-1, -2), *R); A=value B=unturned R=keywords F=product
operands exchanged: {B} and {A} are in the wrong order | A.M(B, *R) → B.M(A, *R); A=value R=keywords M=product
transpose added: {A} is transposed and should not be |
    A.M(B, *R) → A.swapaxes(-1, -2).M(B, *R); A=unturned R=keywords M=product
transpose added: {B} is transposed and should not be |
    A.M(B, *R) → A.M(B.swapaxes(-1, -2), *R); A=value B=unturned R=keywords M=product
operands exchanged: {B} and {A} are in the wrong order | F(A, B, *R) → F(B, A, *R); A=expression B=unplanted
order reversed: {A} is taken forwards where it should be backwards | reversed(A) → A | reversed(A) → A; at=loop |
    A[::-1] → A; at=loop
order reversed: {A} is taken backwards where it should be forwards | A → reversed(A); at=loop | A → A[::-1]; at=loop
range changed: the loop begins too late | A → A[N:]; at=loop | range(A) → range(N, A); at=loop
range changed: the loop ends too early | A → A[:N]; at=loop | A[::-1] → A[:N:-1]; at=loop |
    range(A) → range(A - N); at=loop
backward call dropped: {F:a backward pass} is not applied to {A} | F(A, *R) → A; F=backward |
    F(A) → A; A=gradient F=backwards
call dropped: {F:a function} is not applied to {A} | F(A, *R) → A; F=function
call dropped: {M:a method} is not applied to {A} | A.M(*R) → A; A=value M=method
call dropped: {F:a function} is not applied to {A} | F(A) → A; F=callables
slope replaced: tanh stands where its slope belongs | 1 - np.tanh(A) ** 2 → np.tanh(A); A=unplanted
order reversed: {G} and {F} are applied in the wrong order | F(G(A)) → G(F(A)); F=called G=called
calls added: {F} and {G} are added, not applied one after the other | F(G(A)) → F(A) + G(A); F=called G=called |
    G(F(A)) → F(A) + G(A); F=called G=called
slope replaced: {A} stands where {B:a function of it} belongs | B → A; rank=2 A=array B=forms
sum dropped: {A} is not summed over one of its axes | B → A; rank=2 A=array B=sums
call added: {M} is too much | A → np.M(A); A=unplanted
call added: {F} is too much | A → F(A); A=unplanted
name replaced: {L} stands where {M:another function} belongs | np.M(A) → np.L(A); M=elementary L=elementary
# Names
name overwritten: {B} is overwritten before this line reads it | A → B; A=earlier B=overwritten
dy ignored: {A} is taken for ones | A → 0 * A + 1; A=dy
gradient replaced: {B} stands where {A:another name} belongs | A → B; A=names B=gradients
name replaced: {B} stands where {A:another name} belongs | A → B; A=names B=names
name replaced: {B} stands where {A:another array} belongs | A → B; A=arrays B=computed
name replaced: {B} stands where {A:a mask} belongs | A → B; A=masks B=array
name replaced: {B} stands where another array belongs | F(A) → B; rank=3 F=callables A=arrays B=array
names exchanged: {A} and {B} are in each other's place | (A, B) → (B, A); at=names
# Whole values
sign flipped: the sign is wrong | A → -A; at=value A=arithmetic
gradient replaced by zeros: it is zero | A → 0 * A; at=value A=arithmetic
gradient replaced by dy: it is {B} itself | A → B; at=gradient B=dy
gradients exchanged: {B} and {A} are in each other's place | (A, B) → (B, A); at=pair
condition changed: {A:a condition} is taken to hold always | A → True; at=test
condition changed: {A:a condition} is taken to hold never | A → False; at=test
"""

ROWS = tuple(rows_of(TABLE))
