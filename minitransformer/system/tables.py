"""Tables for people: rows of cells, as lines of text with the columns under one another."""

from minitransformer.system.printable import printable


def table(rows, align: str = "<>", *, indent: int = 2, least=()) -> list[str]:
    """Return the lines of a table, each column as wide as its widest cell, two spaces between them.

    rows     each of as many cells, text or whatever str makes text of, with what cannot be printed escaped; the names
             of the columns are a row too
    align    "<", left, or ">", right, of each column; the last is that of all columns to come
    indent   spaces before each line
    least    the least width of each column, so that lines printed one at a time stand under one another

    Raises ValueError for rows that differ in length.
    """
    rows = [[printable(cell, keep="") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[: len(least)] = map(max, widths, least)
    align += align[-1] * (len(widths) - len(align))
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(align, widths, strict=False))
    return [(" " * indent + layout.format(*row)).rstrip() for row in rows]
