"""The help of every command: a summary, then examples, then options whose help names the value and the default."""

import argparse
import re

import pytest

from minitransformer import commands
from minitransformer.cli import build_parser, main


def parsers(parser, name="minitransformer"):
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from parsers(below, f"{name} {word}")


COMMAND = re.compile(r" +(minitransformer|python|mpirun|echo|printf|docker|\{) ?")
PARSERS = dict(parsers(build_parser()))


@pytest.mark.parametrize("name", PARSERS)
def test_the_help_of_an_option_names_its_value_and_its_default(name):
    for action in PARSERS[name]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert not re.match(r"(where|how|what|which|of|\()\b", action.help), action.help
            if action.default not in (None, False, [], argparse.SUPPRESS):
                default = "a line break" if action.default == "\n" else str(action.default)
                assert f"(default: {default})" in action.help


@pytest.mark.parametrize("name", PARSERS)
def test_a_help_begins_with_a_summary_in_one_line_and_examples(name):
    lines = PARSERS[name].description.splitlines()
    assert lines[0].endswith(".") and 10 < len(lines[0]) <= 120
    assert lines[1:3] == ["", "examples:"] and lines[3].strip().startswith(name)


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("name", PARSERS)
def test_a_help_is_as_wide_as_the_terminal_but_for_commands_to_copy(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for line in PARSERS[name].format_help().splitlines():
        assert len(line) <= min(columns, 100) or COMMAND.match(line), line


def test_the_help_lists_every_command_once_in_its_group(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for title, names in commands.GROUPS.items():
        group = shown.partition(f"\n{title}\n")[2].partition("\n\n")[0]
        assert re.findall(r"^    (\w+)  +\w", group, re.MULTILINE) == list(names)
    assert len(set(commands.NAMES)) == len(commands.NAMES)
