"""The command `generate`: its output, pipes, and errors in one line."""

import io
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from small_runs import TEXT, small_lm

from gradcheck.front.exits import PIPE_CLOSED
from minitransformer import cli
from minitransformer.cli import main
from minitransformer.training import MODEL_FILE

PROMPT = "a cat "


@pytest.fixture
def lm():
    return small_lm(seed=3)


@pytest.fixture
def folder(lm, tmp_path):
    lm.save(tmp_path / MODEL_FILE)
    return tmp_path


def generate(folder, options="", prompt=PROMPT):
    return main(["generate", "--model", str(folder), *shlex.split(options), "--prompt", prompt])


def standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    "options, settings",
    [
        ("", {"temperature": 0.8}),
        ("--temperature 1.7 --top-k 5 --top-p 0.9", {"temperature": 1.7, "top_k": 5, "top_p": 0.9}),
        ("--greedy", {"temperature": 0}),
        ("--temperature 0", {"temperature": 0}),
        ("--no-cache", {"temperature": 0.8, "use_cache": False}),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_it_writes_what_the_model_generates(lm, folder, capsys, options, settings, seed):
    assert generate(folder, f"--max-new-tokens 30 --seed {seed} {options}") == 0
    written = capsys.readouterr()
    assert written.out == lm.generate(PROMPT, 30, rng=np.random.default_rng(seed), **settings) + "\n"
    assert written.err == ""  # the rate is for terminals


def test_samples_differ_are_separated_and_begin_like_fewer(lm, folder, capsys):
    assert generate(folder, "--max-new-tokens 20 --samples 3 --temperature 2") == 0
    rng = np.random.default_rng(0)
    samples = [lm.generate(PROMPT, 20, temperature=2, rng=rng) + "\n" for _ in range(3)]
    assert capsys.readouterr().out == "---\n".join(samples) and len(set(samples)) == 3


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_prompt_from_standard_input_loses_the_line_break_that_ends_it(lm, folder, capsys, monkeypatch, end):
    standard_input(monkeypatch, PROMPT.encode() + end)
    assert generate(folder, "--max-new-tokens 9 --greedy", prompt="-") == 0
    assert capsys.readouterr().out == lm.generate(PROMPT, 9, temperature=0) + "\n"


@pytest.mark.parametrize("text", [TEXT, "cab\n"])
def test_without_a_prompt_it_begins_with_a_line_break_or_a_token_that_the_vocabulary_has(tmp_path, capsys, text):
    small_lm(text).save(tmp_path / MODEL_FILE)
    assert main(["generate", "--model", str(tmp_path), "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("\n" if "\n" in text else min(text))


@pytest.mark.filterwarnings("always:the prompt has")
def test_a_prompt_longer_than_the_context_is_continued_with_a_warning(lm, folder, capsys):
    assert generate(folder, "--max-new-tokens 4 --greedy", prompt=PROMPT * 3) == 0
    written = capsys.readouterr()
    assert written.out == lm.generate(PROMPT * 3, 4, temperature=0) + "\n"
    words = "the prompt has 18 tokens, of which the model sees only the last 8, its context"
    assert written.err == f"minitransformer: warning: {words}\n"


def test_on_a_terminal_the_rate_is_said(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert generate(folder, "--max-new-tokens 20 --samples 2") == 0
    assert re.fullmatch(r"40 tokens in \d+\.\d s, [\d,]+ a second\n", capsys.readouterr().err)


def test_each_piece_is_flushed_as_it_comes(lm, folder, monkeypatch):
    class Output(io.StringIO):
        seen = ()

        def flush(self):
            self.seen = (*self.seen, self.getvalue())

    output = Output()
    monkeypatch.setattr(sys, "stdout", output)
    assert generate(folder, "--max-new-tokens 6 --greedy") == 0
    text = lm.generate(PROMPT, 6, temperature=0)
    assert {text[:length] for length in range(len(PROMPT), len(text))} < set(output.seen)


def program(folder, *options):
    return [sys.executable, "-m", "minitransformer", "generate", "--model", str(folder), "--prompt", PROMPT, *options]


def test_text_comes_piece_by_piece_and_a_reader_who_stops_stops_it(folder):
    endless = program(folder, "--max-new-tokens", "1000000000")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(200).startswith(PROMPT.encode())
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == PIPE_CLOSED


@pytest.mark.parametrize(
    "options, status, words",
    [
        ("--temperature nan", 1, "temperature must be at least 0 and finite, not nan"),
        ("--top-k 0", 1, "top_k must be at least 1, not 0"),
        ("--top-p 1.5", 1, r"top_p must be positive and at most 1, not 1\.5"),
        ("--max-new-tokens -1", 1, "max_new_tokens must be at least 0, not -1"),
        ("--samples 0", 1, "--samples must be at least 1, not 0"),
        ("--seed -3", 1, "--seed must be at least 0, not -3"),
        ("--temperature 1 --greedy", 2, "argument --greedy: not allowed with argument --temperature"),
        ("--top-k many", 2, "argument --top-k: invalid int value: 'many'"),
        ("--top", 2, "unrecognized arguments: --top"),
        ("--model missing", 1, "missing: no such file or folder; to train a model, use `minitransformer train`"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(folder, capsys, options, status, words):
    assert_one_line(capsys, generate(folder, options), status, words)


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("a cät".encode(), r"unknown character 'ä' \(U\+00E4\) at position 3: this vocabulary has \d+ characters"),
        (b"", "the text must have at least one token, but it is empty"),
        (b"a cat \xff", "standard input: expected UTF-8 text, found the byte 0xff at position 6"),
        (bytes(20 << 20), "standard input: must have at most 16,777,216 bytes"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_one_line(folder, capsys, monkeypatch, prompt, words):
    standard_input(monkeypatch, prompt)
    assert_one_line(capsys, generate(folder, prompt="-"), cli.FAILURE, words)
    assert sys.stdin.buffer.tell() < 17 << 20


def assert_one_line(capsys, status, expected, words):
    written = capsys.readouterr()
    assert status == expected and written.out == ""
    assert re.fullmatch(rf"minitransformer: error: [^\n]*({words})[^\n]*\n", written.err), written.err
