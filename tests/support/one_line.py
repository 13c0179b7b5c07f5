"""An assertion on the messages of commands."""

import re


def assert_one_line(capsys, status, expected, words):
    """Assert on the exit status, and on a single line on standard error, which matches `words`."""
    said = capsys.readouterr()
    assert status == expected
    assert said.out == ""
    assert re.fullmatch(rf"minitransformer: [^\n]*({words})[^\n]*\n", said.err), said.err
