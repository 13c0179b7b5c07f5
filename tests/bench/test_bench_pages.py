"""The tables of speed on the pages are those that `bench --out` writes for the stored measurements."""

import json
from pathlib import Path

import pytest

from minitransformer.bench import report

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "minitransformer" / "bench"


def table_of(name):
    """Return the lines of the table of a stored measurement, as `bench` writes them to `name`.md."""
    results = json.loads((ROOT / ".github" / "measurements" / f"{name}.json").read_text("utf-8"))
    if name == "scaling":
        return report.markdown(report.SCALING_HEADER, report.scaling_rows(results))
    return report.comparison_markdown(results)


@pytest.mark.parametrize("name, page", [("bench", "SPEED.md"), ("scaling", "README.md")])
def test_a_page_has_the_table_of_the_stored_measurement(name, page):
    assert "\n".join(table_of(name)) in (BENCH / page).read_text("utf-8")


def test_the_readme_has_rows_of_the_stored_measurement():
    header, rule, *rows = table_of("bench")
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = lines.index(header)
    shown = lines[start + 2 : lines.index("", start)]
    assert lines[start + 1] == rule and len(shown) >= 4
    assert [row for row in rows if row in shown] == shown
