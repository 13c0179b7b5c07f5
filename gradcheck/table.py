"""A report as text: a row for each argument, and a line for each failure."""


def report_table(report):
    """Return a Report as an aligned table, with its notes and failures."""
    header = ("argument", "entries", "absolute", "relative", "oracle ±", "verdict")
    rows = [(a.name, a.extent, *a.numbers, a.verdict) for a in report.arguments]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    table = [_align(row, widths) for row in (header, *rows)] if rows else []
    return "\n".join([report.name, *table, *(f"note: {note}" for note in report.notes), *report.failures()])


def _align(row, widths):
    name, *numbers, verdict = row
    cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([f"  {name:<{widths[0]}}", *cells, verdict])
