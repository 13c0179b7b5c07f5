"""Printed commands begin as the reader started the program."""

import os
import sys

import pytest

from gradcheck.front.program import started_as


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder .venv/bin in the current folder with two scripts. The search path is empty."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("minitransformer", "gradcheck"):
        (folder / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python"])
    return folder


@pytest.mark.skipif(os.name == "nt", reason="scripts have other names on Windows")
def test_a_script_is_named_by_its_path_or_if_it_is_on_the_search_path_by_its_name(scripts, monkeypatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/minitransformer"])
    assert started_as("minitransformer") == ".venv/bin/minitransformer"
    assert started_as("gradcheck") == ".venv/bin/gradcheck"
    assert started_as("pip") == ".venv/bin/python -m pip"  # which is not in the folder
    monkeypatch.setenv("PATH", str(scripts))
    assert started_as("minitransformer") == "minitransformer"


@pytest.mark.parametrize("script", ["", "-c", "/somewhere/minitransformer/__main__.py", "demo.py"])
def test_without_a_script_the_command_begins_with_the_python_that_runs(scripts, monkeypatch, script):
    monkeypatch.setattr(sys, "argv", [script])
    assert started_as("minitransformer") == ".venv/bin/python -m minitransformer"
    monkeypatch.setattr(sys, "orig_argv", ["/a folder/python3"])
    assert started_as("gradcheck") == "'/a folder/python3' -m gradcheck"


@pytest.mark.skipif(os.name == "nt", reason="scripts have other names on Windows")
def test_a_folder_with_a_space_is_quoted_for_the_shell(scripts, monkeypatch, tmp_path):
    scripts.parent.rename(tmp_path / "my env")
    monkeypatch.setattr(sys, "argv", ["my env/bin/minitransformer"])
    assert started_as("minitransformer") == "'my env/bin/minitransformer'"
