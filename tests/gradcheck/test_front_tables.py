"""Tables: the cells of a column are aligned."""

import pytest
from hypothesis import given, strategies as st

from gradcheck.front.tables import table

CELLS = st.text(st.characters(categories=["L", "N"]), max_size=6)
ROWS = st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=5))


def test_the_last_side_is_that_of_all_columns_to_come():
    assert table([("a", 1, 22, 3), ("a", 11, 2, 33)], indent=0) == ["a   1  22   3", "a  11   2  33"]
    assert table([("a", 1, 22), ("aa", 11, 2)], ">", indent=0) == [" a   1  22", "aa  11   2"]


def test_of_no_rows_there_are_no_lines_and_rows_of_other_lengths_are_refused():
    assert table([]) == []
    with pytest.raises(ValueError):
        table([("a", "b"), ("c",)])


@given(rows=ROWS, side=st.sampled_from("<>"))
def test_every_cell_is_found_again_where_its_column_is(rows, side):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line, row in zip(table(rows, side, indent=1), rows, strict=True):
        start = 1
        for cell, width in zip(row, widths, strict=True):
            assert line[start : start + width].strip() == cell
            start += width + 2
