"""The worked example: every line of the one page (test_one_page.py) is worked out, and the page has its numbers."""

import re
from pathlib import Path

import numpy as np

from minitransformer import one_page
from minitransformer.book.worked_example import NAMES, training_step, weights, worked_page


def made_by(steps):
    return {name: array for step in steps for name, array in step.arrays.items()}


def test_every_line_of_the_one_page_is_worked_out():
    forward, backward, moved = training_step(weights())
    assert [int(step.comment.partition("(")[0]) for step in forward] == list(range(1, 32))
    lines = Path(one_page.__file__).read_text("utf-8").count("# ←")
    assert len(backward) == lines and [name for name, *_ in moved] == NAMES


def tables(page):
    """Return {name: its numbers} of a page, and the numbers of lines without a name, by their code."""
    named = re.findall(r"<var>([^<]*)</var>(<table.*?</table>)", page)
    lines = re.findall(r'<code>(\w+) = [^<]*</code><div class="board"><span class="given">(<table.*?</table>)', page)
    return {name: numbers(table) for name, table in named + lines}


def numbers(table):
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [[float(c.replace("−", "-").replace("∞", "inf")) for c in re.findall("<td>(.*?)</td>", row)] for row in rows]


def test_the_page_has_the_numbers():
    page = "".join(worked_page())
    forward, backward, moved = training_step(weights())
    expected = made_by(forward) | made_by(backward) | {name: weight for name, weight, _, _ in moved}
    expected |= {f"{name}′": new for name, _, _, new in moved}
    shown = tables(page)
    assert set(shown) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(np.ravel(shown[name]), np.ravel(array), rtol=0, atol=5.1e-4, err_msg=name)
