"""The page of each folder is short, names its files, and has an example that runs."""

import doctest
import re
from pathlib import Path

import pytest

import gradcheck
import minitransformer

PACKAGE = Path(minitransformer.__file__).parent
FOLDERS = sorted(Path(gradcheck.__file__).parent.glob("*/README.md"))
PAGES = [*sorted(PACKAGE.rglob("README.md")), *FOLDERS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_example_of_a_page_prints_its_output(page):
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0 and failed == 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != PACKAGE], ids=lambda page: page.parent.name)
def test_a_page_lists_every_file_of_its_folder_and_no_other(page):
    listed = re.findall(r"^ {4,6}(\w+\.py)  ", page.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in page.parent.glob("*.py") if path.name != "__init__.py")
    assert len(page.read_text("utf-8").splitlines()) <= 60
