"""Tables of aligned columns as lines of text."""

from minitransformer.system.printable import printable


def table(rows, align: str = "<>", *, indent: int = 2, least=()) -> list[str]:
    """Format rows as lines with aligned columns, separated by two spaces.

    rows     rows with the same number of cells, which may include a row of column names
    align    "<" (left) or ">" (right) for each column; the last one applies to all further columns
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
