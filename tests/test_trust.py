"""The numbers of the page on trust. `python tests/test_trust.py` measures them again and writes them into the page.

The audit's sample takes a minute, so a plain run of pytest compares the other numbers, which are counted.
"""

import ast
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "setup.cfg").is_file())
PAGE = ROOT / "tests/README.md"
TABLE = re.compile(r"(?<=\| measure \| number \|\n\|---\|---\|\n)(?:\|.*\|\n)+")
TEXTBOOK = ("module", "losses", "optim", "transformer", "generation")
EQUATION = re.compile(r"^ {4,}.*\S {2,}\(\d+\)$", re.MULTILINE)
AUDIT = (sys.executable, "-m", "gradcheck", "audit", "minitransformer")
SAMPLE = 100


def lines_of(*folders):
    """Return the number of lines in the Python files of folders."""
    return sum(len(path.read_text("utf-8").splitlines()) for name in folders for path in (ROOT / name).rglob("*.py"))


def test_functions():
    """Yield (function, source of its decorators) of each test, from the syntax trees of the files."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node, " ".join(map(ast.unparse, node.decorator_list))


test_functions.__test__ = False


def counted():
    """Return {measure: number} of everything that can be counted without running a check."""
    from gradcheck import museum, parameters_of
    from minitransformer import cases

    tests = list(test_functions())
    arguments = [{argument.arg for argument in function.args.args} for function, _ in tests]
    calls = [case.call(np.random.default_rng(0)) for case in cases.CASES]
    arrays = [
        array
        for call in calls
        for array in (*call.inputs, *(parameter.data for parameter in parameters_of(call.target).values()))
        if np.issubdtype(np.asarray(array).dtype, np.inexact)
    ]
    package = ROOT / "minitransformer"
    textbook = [*package.glob("layers/*.py"), *(package / f"{name}.py" for name in TEXTBOOK)]
    return {
        "lines of source": lines_of("minitransformer", "gradcheck"),
        "lines of tests": lines_of("tests"),
        "test functions": len(tests),
        "of these, properties of random inputs": sum("given(" in decorators for _, decorators in tests),
        "of these, comparisons with PyTorch": sum("torch" in names for names in arguments),
        "of these, random campaigns": sum("trials(" in decorators for _, decorators in tests),
        "numbered equations, each with its line of code": sum(
            len(EQUATION.findall(path.read_text("utf-8"))) for path in textbook
        ),
        "checked functions, modules and models, in the textbook and the engine": len(calls),
        "gradients compared with central differences": len(arrays),
        "entries of these gradients, each compared": sum(np.size(array) for array in arrays),
        "wrong gradients of public projects in the museum": sum(bool(case.sources) for case in museum.CASES),
    }


def audited():
    """Return {measure: number} of the audit: its mistakes, and the verdicts on a sample of them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "audit.json")
        subprocess.run([*AUDIT, "--sample", str(SAMPLE), "--seed", "2", "--json", file], cwd=ROOT, check=False)
        found = json.loads(file.read_text("utf-8"))
    verdicts = {f"in a sample of {SAMPLE}: {kind}": found[kind] for kind in ("killed", "equivalent", "surviving")}
    return {"mistakes that the audit can plant": found["possible"], **verdicts}


def rounded(number):
    """Return a number with two significant digits if it has four or more, which differs by at most 5 %."""
    return f"{number if number < 1000 else int(float(f'{number:.1e}')):,}"


def shown():
    """Return {measure: number} of the page."""
    (table,) = TABLE.findall(PAGE.read_text("utf-8"))
    rows = [row.strip("|").split("|") for row in table.splitlines()]
    return {measure.strip(): int(number.replace(",", "")) for measure, number in rows}


def assert_up_to_date(numbers):
    page = shown()
    stale = {
        measure: (page.get(measure), number)
        for measure, number in numbers.items()
        if abs(page.get(measure, 0) - number) > 0.05 * number
    }
    assert stale == {}, "run `python tests/test_trust.py`"


def test_the_counted_numbers_of_the_page_are_those_of_today():
    numbers = counted()
    assert min(numbers.values()) > 0
    assert_up_to_date(numbers)


@pytest.mark.slow
def test_the_numbers_of_the_audit_are_those_of_today():
    numbers = audited()
    assert numbers[f"in a sample of {SAMPLE}: surviving"] == 0
    assert_up_to_date(numbers)


def test_a_stale_number_is_reported():
    with pytest.raises(AssertionError, match="lines of source"):
        assert_up_to_date({"lines of source": 2 * shown()["lines of source"]})


def main():
    """Measure the numbers and write them into the page."""
    rows = {measure: rounded(number) for measure, number in {**counted(), **audited()}.items()}
    table = "".join(f"| {measure} | {number} |\n" for measure, number in rows.items())
    page, changed = TABLE.subn(lambda _: table, PAGE.read_text("utf-8"))
    assert changed == 1, f"{PAGE} has {changed} tables of measures"
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
