"""Format rows of cells as lines of text with aligned columns."""

from minitransformer.system.printable import printable


def table(rows, align: str = "<>", *, indent: int = 2, least=()) -> list[str]:
    """Return the lines of a table. A column is as wide as its widest cell. Two spaces separate the columns.

    rows     rows of equally many cells, converted by str and escaped; column names are a row too
    align    "<" (left) or ">" (right) for each column; the last one holds for all further columns
    indent   spaces before each line
    least    minimum width of each column, which aligns lines that are printed one at a time

    Raises ValueError if the rows differ in length.
    """
    rows = [[printable(cell, keep="") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[: len(least)] = map(max, widths, least)
    align += align[-1] * (len(widths) - len(align))
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(align, widths, strict=False))
    return [(" " * indent + layout.format(*row)).rstrip() for row in rows]
