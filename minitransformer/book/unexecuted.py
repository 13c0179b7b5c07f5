"""The equations of the textbook that are not executed, with the reasons. Any other one is an error of the book."""

from pathlib import Path

from minitransformer.book.chapters import PACKAGE

ASSUMED = "it is an assumption of its sentence"
NAMED = "it defines a name, which no line computes"

# file, then lines `reason: equations`, separated by semicolons
TABLE = f"""
first_steps.py
    {ASSUMED}: a = 2; b = −3; c = 10; a = 2.001; x1 = x2; dy1 = dy2; dy = 1
    {NAMED}: L = Σ y · dy
    its h is a number of the sentence: (b h)² = 0.000009
    s and S are not inputs: ∂y/∂s = x; ∂y_i/∂S = x_i
    J is written out by entries in (21) and (22): dx = Jᵀ dy
module.py
    i is the imaginary unit, and terms of h² are omitted: f(x + i h) = f(x) + i h f′(x)
    no function of the book computes it: y_c = Σ_p x_pc; dx_pc = dy_c
layers/linear.py
    {ASSUMED}: I = O
layers/embedding.py
    {ASSUMED}: v = id_p
    it is an equation of linear.py: dx = dy Wᵀ
layers/positions.py
    it holds for some of the pairs: keep = 1; keep = 0
    its matrices are drawn with lines: R_uᵀ R_t = │ cos uω sin uω│ │cos tω −sin tω│
    its matrices are drawn with lines: = │cos (t−u)ω −sin (t−u)ω│ = R_{{t−u}}
    its matrix is drawn above: (R_u k)ᵀ (R_t q) = kᵀ R_uᵀ R_t q; dx = R_tᵀ dy
    a and b are parts of x: ∂a′/∂a = cos; ∂a′/∂b = −sin; ∂b′/∂a = sin; ∂b′/∂b = cos
layers/layer_norm.py
    {ASSUMED}: i = j; γ = 1; dy = 1
layers/rms_norm.py
    {ASSUMED}: i = j
layers/softmax.py
    {ASSUMED}: x = 89; i = j; dy = 1
    it holds for a row of −∞: y = 0; dx = 0
layers/attention.py
    {ASSUMED}: K = 1
    it is an expectation: E q_d² · E k_d² = 1
    q and k are one query and one key: q kᵀ = Σ_d q_d k_d
    used is not an input: ∂y_id/∂used_ij = v_jd
layers/activations.py
    {ASSUMED}: i = j; x > 0; x ≤ 0; x = 0
layers/dropout.py
    {ASSUMED}: p = 0; 0 ≤ p < 1
layers/feed_forward.py
    {ASSUMED}: F = 8/3 C; F = 4 C
transformer.py
    its equations are in another chapter: h = blocks(x) (L of them, under the causal mask) (2)
    {NAMED}: c = 1/√(2L)
losses.py
    {ASSUMED}: c = j
optim.py
    {ASSUMED}: t = 1; m = 0; t = 0
one_page.py
    {NAMED}: N = B·T; D = C/H
    {ASSUMED}: t = 1
layers/lora.py
    {NAMED}: s = α / R
    it holds for B = 0: y = 0; dA = 0; dx = 0
"""


def read(table: str) -> dict:
    """Return {file: {equation: reason}}."""
    found: dict = {}
    for line in table.strip().split("\n"):
        if not line.startswith(" "):
            known = found.setdefault(line, {})
            continue
        reason, _, equations = line.strip().partition(": ")
        known.update(dict.fromkeys(equations.split("; "), reason))
    return found


NOT_EXECUTED = read(TABLE)


def why_not_executed(path, line: str) -> str:
    """Return the reason why an equation of a file of the package is not executed, or ""."""
    path, package = Path(path).resolve(), PACKAGE.resolve()
    file = path.relative_to(package).as_posix() if path.is_relative_to(package) else ""
    return NOT_EXECUTED.get(file, {}).get(" ".join(line.split()), "")
