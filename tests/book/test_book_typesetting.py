"""A typeset equation keeps its meaning: the MathML is parsed back to the same tree.

The groups of MathML (fractions, roots, powers) are read as parentheses; all other parentheses must be visible.
"""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, strategies as st

from minitransformer.book import notation as n
from minitransformer.book.prose import blocks, inline
from minitransformer.book.typesetting import Setter, mathml, name_set

NAMES_OF_ID = frozenset(["id"])
NAMES = st.sampled_from(["a", "x", "W", "dy", "β₁", "m′", "x\u0302", "x_i", "y_ij", "μ", "mask"])
LEAVES = st.one_of(
    st.builds(n.Symbol, NAMES),
    st.sampled_from(["0", "1", "2", "0.5", "½", "∞"]).map(n.Number),
    st.just(n.Entry(n.Symbol("W"), (n.Symbol("id"),))),
    st.just(n.Derivative(n.Symbol("y_i"), n.Symbol("x_j"))),
    st.just(n.Indicator(n.Condition(n.Symbol("c"), "=", n.Symbol("t")))),
    st.just(n.Norm(n.Symbol("g"))),
)
SIGNS = st.sampled_from([1, -1])


def wider(inner):
    """Trees whose parts are of a strategy."""
    return st.one_of(
        st.lists(st.tuples(SIGNS, inner), min_size=2, max_size=3).map(lambda terms: n.Sum(tuple(terms))),
        inner.map(lambda node: n.Sum(((-1, node),))),
        st.builds(n.Dot, inner, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda factors: n.Beside(tuple(factors))),
        st.builds(n.Fraction, inner, inner),
        st.builds(n.Power, inner, inner),
        st.builds(n.Transpose, inner),
        st.builds(n.Root, inner),
        st.builds(n.Total, st.sampled_from(["", "i", "p"]), inner),
        st.builds(
            n.Call,
            st.sampled_from(["f", "exp", "mean"]).map(n.Symbol),
            st.tuples(inner),
            st.just(False) | st.just(True),
        ),
    )


TREES = st.recursive(LEAVES, wider, max_leaves=12)
MARKS = {"⊤": "ᵀ", "\u2061": "", "\xa0": " ", "∑": "Σ"}


def read_back(element):
    """Return the text of the notation that a MathML element says."""
    parts = [read_back(child) for child in element]
    tag, text = element.tag, "".join(MARKS.get(c, c) for c in element.text or "")
    if tag == "mfrac" and len(element[0]) and element[0][0].text == "∂":
        return f"{parts[0]}/{parts[1]}"
    if tag == "mfrac":
        return f"(({parts[0]}) / ({parts[1]}))"
    if tag == "msqrt":
        return f"√({''.join(parts)})"
    if tag == "msup" and set(parts[1]) <= set("ᵀ′"):
        return ("(?)" if is_high(element[0]) and parts[1] == "ᵀ" else parts[0]) + parts[1]
    if tag == "msup":
        return f"{'(?)' if is_high(element[0]) else parts[0]}^({parts[1]})"
    if tag == "msub" and element[1].tag == "mn":
        return parts[0] + chr(ord("₀") + int(parts[1]))
    if tag in ("msub", "munder"):
        return f"{parts[0]}_{parts[1]}" + " " * (tag == "munder")
    if tag == "mover":
        return parts[0] + "\u0302"
    if tag == "mspace":
        return " "
    if tag == "mtable":
        (value, condition), (otherwise, _) = (row for row in element)
        return f"{read_back(value)} {read_back(condition)}, else {read_back(otherwise)}"
    if tag == "mo" and text and text in "+−·=≤<,…":
        return f" {text} "
    return "" if text == "{" else text + "".join(parts)


def is_high(element):
    """Return True if a base is a fraction or a power, which needs parentheses."""
    while element.tag == "mrow" and len(element) == 1:
        element = element[0]
    return element.tag == "mfrac" or (element.tag == "msup" and read_back(element[1]) != "′")


def normal(node):
    """Return a tree without invisible differences: the nesting of products, and ½ as one sign."""
    if isinstance(node, tuple):
        return tuple(map(normal, node))
    if node == n.Number("½"):
        return normal(n.Fraction(n.Number("1"), n.Number("2")))
    if isinstance(node, n.Dot):
        left, right = normal(node.left), normal(node.right)
        return ("·", *(left[1:] if is_dots(left) else (left,)), *(right[1:] if is_dots(right) else (right,)))
    if isinstance(node, n.Symbol | n.Number | str | int | None):
        return node
    return (type(node).__name__, *(normal(getattr(node, name)) for name in node.__dataclass_fields__))


def is_dots(node):
    return isinstance(node, tuple) and node[:1] == ("·",)


def said(tree):
    """The tree that is read back from the MathML of a tree."""
    markup = Setter(frozenset("xyW")).set(tree)
    return n.parse(f"y = {read_back(ElementTree.fromstring(f'<math>{markup}</math>'))}").sides[1]


@given(TREES)
def test_what_is_typeset_is_read_back_as_the_same_tree(tree):
    assert normal(said(tree)) == normal(tree)


def test_a_fraction_in_a_line_of_text_has_a_slash_and_its_parentheses():
    for text, line in [
        ("y = (a + b)/(2 c) · d", "y=(a+b)/(2c)·d"),
        ("y = −x²/2", "y=−x2/2"),
        ("y = (a/b) c", "y=(a/b)c"),
        ("y = ∂y_i/∂x_j", "y=∂yi/∂xj"),
    ]:
        markup = mathml(n.parse(text), display=False)
        assert "<mfrac>" not in markup and re.sub("<.*?>", "", markup) == line


@pytest.mark.parametrize(
    "text",
    [
        "(Σ x) · b + c",
        "2 (Σ_j x_j) · y",
        "(∂y_i/∂x_j)²",
        "e_i δ_ij / Σ e − e_i e_j / (Σ e)²",
        "0 where x ≤ 0, else x",
        "min(1, x where keep, else 0)",
    ],
)
def test_parentheses_stand_where_they_are_needed(text):
    tree = n.parse(f"y = {text}").sides[1]
    assert normal(said(tree)) == normal(tree)


@pytest.mark.parametrize(
    "text, markup",
    [
        ("x", "<mi>x</mi>"),
        ("norm1", "<mi>norm1</mi>"),
        ("log_softmax", "<mi>log_softmax</mi>"),
        ("β₁", "<msub><mi>β</mi><mn>1</mn></msub>"),
        ("dW_up", "<msub><mrow><mi>d</mi><mi>W</mi></mrow><mrow><mi>up</mi></mrow></msub>"),
        ("y_po", "<msub><mrow><mi>y</mi></mrow><mrow><mi>p</mi><mi>o</mi></mrow></msub>"),
        ("θ′", "<msup><mi>θ</mi><mo>′</mo></msup>"),
        ("<b>", "<mi>&lt;b&gt;</mi>"),
    ],
)
def test_names_are_set_as_letters_words_and_indices(text, markup):
    assert name_set(text) == f"<math><mrow>{markup}</mrow></math>"
    chain = mathml(n.parse("y = a + b = c")).split(" <math")  # a line may be broken before each further =
    assert [part.count("<mo>=</mo>") for part in chain] == [1, 1]


def test_prose_has_code_emphasis_and_indices_and_nothing_of_it_is_markup():
    formulas = re.findall(
        "<math>.*?</math>", inline("(A row) of an id_p of y_pc, as a = β₁^(t−k) says of a (B, ..., C)", NAMES_OF_ID)
    )
    assert formulas == [name_set("id_p", NAMES_OF_ID), name_set("y_pc"), mathml(n.parse("a = β₁^(t−k)"), display=False)]
    assert inline("`x_i^(2)` and *.attention.w_q") == "<code>x_i^(2)</code> and *.attention.w_q"
    assert inline("an entry of `x_i <b>`, *so* **to say**") == (
        "an entry of <code>x_i &lt;b&gt;</code>, <em>so</em> <strong>to say</strong>"
    )
    assert inline("`a ** b` and **`c` d** of 2 * 3 * 4 <i>") == (
        "<code>a ** b</code> and <strong><code>c</code> d</strong> of 2 * 3 * 4 &lt;i&gt;"
    )


def test_indented_lines_stay_together_across_blank_ones():
    text = "One\nparagraph.\n\n    def f(x):\n\n        return x\n\nAnother:\n    y = x\nand on."
    assert list(blocks(text)) == [
        ("prose", "One paragraph."),
        ("indented", ["    def f(x):", "", "        return x"]),
        ("prose", "Another:"),
        ("indented", ["    y = x"]),
        ("prose", "and on."),
    ]
