"""Format tables as lines of text."""

from gradcheck.front.streams import printable


def table(rows, align: str = "<>", *, indent: int = 2) -> list[str]:
    """Format rows as lines with aligned columns, separated by two spaces.

    rows     rows with the same number of cells, which may include a row of column names
    align    "<" (left) or ">" (right) for each column; the last one applies to all further columns
    indent   spaces before each line
    """
    rows = [[printable(cell, keep="") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align += align[-1] * (len(widths) - len(align))
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(align, widths, strict=False))
    return [(" " * indent + layout.format(*row)).rstrip() for row in rows]
