"""Control characters from files, paths and models are escaped on a terminal."""

import io
import sys
import unicodedata
import warnings

import pytest
from small_runs import small_lm
from terminals import Terminal

import gradcheck.__main__
from gradcheck.front.exits import USAGE
from minitransformer import cli
from minitransformer.commands import train
from minitransformer.system.narrator import Narrator
from minitransformer.training import MODEL_FILE

TITLE = "\x1b]0;owned\x07"  # sets the title of many a terminal's window
NAME = f"{TITLE}\x7f\x9b2J\r\u2028\u202eтекст 👩‍💻"
SHOWN = r"\x1b]0;owned\x07\x7f\x9b2J\r\u2028\u202eтекст 👩‍💻"
IN_ONE_LINE = SHOWN.replace(r"\r\u2028", " ")
KINDS = ("a pipe", "a terminal")
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def commands_a_terminal(character):
    """Whether Unicode says that a character is for control, separates lines, or turns the direction of writing."""
    return character not in "\n\t" and (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in TURNING
    )


def assert_harmless(text, shown=SHOWN):
    assert shown in text
    assert not any(map(commands_a_terminal, text)), ascii(text)


def test_what_is_escaped_is_what_unicode_calls_a_command_and_nothing_else():
    from gradcheck.front.streams import printable

    for character in map(
        chr, [*range(0x3100), *range(0xD7F0, 0xE010), *range(0xFE00, 0x10010), *range(0x1F600, 0x1F650)]
    ):
        if commands_a_terminal(character):
            assert printable(character) == ascii(character)[1:-1]
        else:
            assert printable(character) == character
    assert printable("a\n\tb") == "a\n\tb" and printable("a\n\tb", keep="") == r"a\n\tb"


def test_an_error_that_quotes_a_path(tmp_path, capsys):
    assert cli.main(["info", str(tmp_path / NAME)]) == cli.FAILURE
    assert_harmless(capsys.readouterr().err, IN_ONE_LINE)


def test_an_option_that_does_not_exist(capsys):
    assert cli.main(["info", "x", f"--{NAME}"]) == USAGE
    assert_harmless(capsys.readouterr().err, IN_ONE_LINE)
    assert gradcheck.__main__.main(["mine", f"--{NAME}"]) == USAGE
    assert_harmless(capsys.readouterr().err, IN_ONE_LINE)


@pytest.mark.parametrize(
    "main, words, begin, end",
    [
        (cli.main, ["info", "x" * 10**6], "minitransformer: error: xx", "xx: File name too long\n"),
        (cli.main, ["info", "x", "--" + "x" * 10**6], "minitransformer: error: ",
         "xx (see minitransformer info --help)\n"),
        (gradcheck.__main__.main, ["x" * 10**6], "gradcheck: cannot import xx", "xx'\n"),
        (gradcheck.__main__.main, ["steps", "x" * 10**6], "gradcheck steps: cannot import xx", "xx'\n"),
        (gradcheck.__main__.main, ["audit", "x" * 10**6], "gradcheck audit: cannot import xx", "xx'\n"),
    ],
)  # fmt: skip
def test_a_message_of_any_length_is_a_line_of_a_thousand_characters_with_its_beginning_and_its_end(
    capsys, main, words, begin, end
):
    assert main(words) in (cli.FAILURE, USAGE)
    said = capsys.readouterr().err
    assert said.startswith(begin) and said.endswith(end) and said.count("\n") == 1
    assert " … " in said and 900 <= len(said) <= 1000


def test_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(train, "run", lambda arguments: warnings.warn(f"{NAME} is odd", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.main(["train"])
    assert_harmless(capsys.readouterr().err, IN_ONE_LINE)


def test_a_traceback(monkeypatch, capsys):
    def run(arguments):
        raise ValueError(NAME)

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(sys, "excepthook", None)
    with pytest.raises(ValueError) as caught:
        cli.main(["train", "--traceback"])
    sys.excepthook(caught.type, caught.value, caught.tb)
    said = capsys.readouterr().err
    assert_harmless(said)
    assert said.startswith("Traceback") and said.count("\n") > 3


def test_lines_and_bars(monkeypatch, capsys):
    Narrator().say(f"tokenizing {NAME}\n\tand more")
    assert_harmless(capsys.readouterr().err, f"tokenizing {SHOWN}\n\tand more\n")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Narrator().progress(TITLE, "tokens", total=3) as progress:
        progress(1, 3, f"{TITLE}\n")
    assert "owned" in sys.stderr.getvalue() and TITLE not in sys.stderr.getvalue() and "\n" not in sys.stderr.getvalue()


CASES = """
from gradcheck import Call, Case

def draw(rng):
    raise ValueError({name!r})

CASES = [Case({name!r}, draw)]
"""


def test_gradcheck_shows_the_names_of_modules_and_cases_and_what_they_raise(tmp_path, capsys):
    assert gradcheck.__main__.main([str(tmp_path / f"{TITLE}.py")]) == USAGE
    assert_harmless(capsys.readouterr().err, r"\x1b]0;owned\x07.py")
    mine = tmp_path / "mine.py"
    mine.write_text(CASES.format(name=NAME), "utf-8")
    assert gradcheck.__main__.main([str(mine)]) == 1
    assert_harmless(capsys.readouterr().out, f": ValueError: {IN_ONE_LINE}\n")
    assert gradcheck.__main__.main(["audit", str(mine)]) == USAGE
    assert_harmless(capsys.readouterr().err, IN_ONE_LINE)


def writes(lm, monkeypatch, text):
    monkeypatch.setattr(type(lm.tokenizer), "decode_stream", lambda self, ids: iter(text))


@pytest.mark.parametrize("stream, shown", [(io.StringIO, f"{NAME}\n\t"), (Terminal, f"{SHOWN}\n\t")], ids=KINDS)
def test_what_a_model_writes_is_shown_on_a_terminal_and_goes_elsewhere_as_it_is(stream, shown, monkeypatch, tmp_path):
    small_lm().save(tmp_path / MODEL_FILE)
    writes(small_lm(), monkeypatch, f"{NAME}\n\t.")
    monkeypatch.setattr(sys, "stdout", stream())
    assert cli.main(["generate", "--model", str(tmp_path), "--prompt", "cat"]) == 0
    assert sys.stdout.getvalue() == f"cat{shown}.\n"
