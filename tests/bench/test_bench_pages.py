"""The table of speed on the pages is the one that `bench --out` writes for the stored measurements."""

import json
from pathlib import Path

from minitransformer.bench import report

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "minitransformer" / "bench"


def stored_table():
    """Return the lines of the table of the stored measurement, as `bench` writes them to bench.md."""
    results = json.loads((ROOT / ".github" / "measurements" / "bench.json").read_text("utf-8"))
    return report.comparison_markdown(results)


def test_the_page_on_speed_has_the_table_of_the_stored_measurement():
    assert "\n".join(stored_table()) in (BENCH / "SPEED.md").read_text("utf-8")


def test_the_readme_has_rows_of_the_stored_measurement():
    header, rule, *rows = stored_table()
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = lines.index(header)
    shown = lines[start + 2 : lines.index("", start)]
    assert lines[start + 1] == rule and len(shown) >= 4
    assert [row for row in rows if row in shown] == shown
