"""The command `generate`: its output, pipes, and errors in one line."""

import io
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_runs import small_lm

from minitransformer import BPETokenizer, ByteTokenizer, Config, LanguageModel, Transformer, cli, generation
from minitransformer.cli import main
from minitransformer.training import MODEL_FILE

PROMPT = "a cat "


@pytest.fixture
def lm():
    """A small model of characters."""
    return small_lm(seed=3)


@pytest.fixture
def folder(lm, tmp_path):
    """The folder that holds its file."""
    lm.save(tmp_path / MODEL_FILE)
    return tmp_path


def generate(folder, options="", prompt=PROMPT):
    """Run the command in this process; return its exit status."""
    return main(["generate", "--model", str(folder), *shlex.split(options), "--prompt", prompt])


def standard_input(monkeypatch, data):
    """Give the process `data` as its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# Output


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


def test_without_the_cache_there_is_none(folder, monkeypatch):
    def refuse(config):
        raise AssertionError("a cache was made")

    monkeypatch.setattr(generation, "KeyValueCache", refuse)
    assert generate(folder, "--no-cache --max-new-tokens 5") == 0
    assert generate(folder, "--max-new-tokens 5") == cli.FAILURE


def test_samples_differ_are_separated_and_begin_like_fewer(lm, folder, capsys):
    assert generate(folder, "--max-new-tokens 20 --samples 3 --temperature 2") == 0
    rng = np.random.default_rng(0)
    samples = [lm.generate(PROMPT, 20, temperature=2, rng=rng) + "\n" for _ in range(3)]
    assert capsys.readouterr().out == "---\n".join(samples) and len(set(samples)) == 3


def test_a_model_is_found_by_its_file_too(folder, capsys):
    assert generate(folder, "--max-new-tokens 5") == generate(folder / MODEL_FILE, "--max-new-tokens 5") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPETokenizer.train("ein naïves ☃ und noch ein ☃ " * 9, 270)])
def test_any_tokenizer_and_any_text_will_do(tokenizer, tmp_path, capsys):
    lm = LanguageModel(Transformer(Config(tokenizer.vocab_size, 8, d_model=8, n_heads=2)), tokenizer)
    lm.save(tmp_path / "model.npz")
    assert generate(tmp_path, "--max-new-tokens 12 --greedy", prompt="☃ é") == 0
    assert capsys.readouterr().out == lm.generate("☃ é", 12, temperature=0) + "\n"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_prompt_from_standard_input_loses_the_line_break_that_ends_it(lm, folder, capsys, monkeypatch, end):
    standard_input(monkeypatch, PROMPT.encode() + end)
    assert generate(folder, "--max-new-tokens 9 --greedy", prompt="-") == 0
    assert capsys.readouterr().out == lm.generate(PROMPT, 9, temperature=0) + "\n"


@pytest.mark.filterwarnings("always:the prompt has")
def test_a_prompt_longer_than_the_context_is_continued_with_a_warning(lm, folder, capsys):
    assert generate(folder, "--max-new-tokens 4 --greedy", prompt=PROMPT * 3) == 0
    written = capsys.readouterr()
    assert written.out == lm.generate(PROMPT * 3, 4, temperature=0) + "\n"
    words = "the prompt has 18 tokens; the model sees only the last 8, its context"
    assert written.err == f"minitransformer: warning: {words}\n"


def test_on_a_terminal_the_rate_is_said(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert generate(folder, "--max-new-tokens 20 --samples 2") == 0
    assert re.fullmatch(r"40 tokens in \d+\.\d s, [\d,]+ a second\n", capsys.readouterr().err)


# How it pipes


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
    """Return the command line of a separate process."""
    return [sys.executable, "-m", "minitransformer", "generate", "--model", str(folder), "--prompt", PROMPT, *options]


def test_text_comes_piece_by_piece_and_a_reader_who_stops_stops_it(folder):
    endless = program(folder, "--max-new-tokens", "1000000000")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(200).startswith(PROMPT.encode())
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == cli.BROKEN_PIPE


def test_ctrl_c_ends_the_line_and_says_so(folder):
    endless = program(folder, "--max-new-tokens", "1000000000")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED and out.endswith(b"\n")
    assert err == b"minitransformer: interrupted\n"


# Errors


@pytest.mark.parametrize(
    "options, words",
    [
        ("--temperature -1", r"temperature must be at least 0 and finite, not -1\.0"),
        ("--temperature nan", "temperature must be at least 0 and finite, not nan"),
        ("--top-k 0", "top_k must be at least 1, not 0"),
        ("--top-p 1.5", r"top_p must be positive and at most 1, not 1\.5"),
        ("--max-new-tokens -1", "max_new_tokens must be at least 0, not -1"),
        ("--samples 0", "--samples must be at least 1, not 0"),
        ("--seed -3", "--seed must be at least 0, not -3"),
    ],
)
def test_settings_out_of_range_are_one_line_and_nothing_is_written(folder, capsys, options, words):
    status = generate(folder, options)
    assert_one_line(capsys, status, cli.FAILURE, words)


@pytest.mark.parametrize(
    "options, words",
    [
        ("--temperature 1 --greedy", "argument --greedy: not allowed with argument --temperature"),
        ("--top-k many", "argument --top-k: invalid int value: 'many'"),
        ("--top", "unrecognized arguments: --top"),
    ],
)
def test_wrong_usage_is_one_line(folder, capsys, options, words):
    status = generate(folder, options)
    assert_one_line(capsys, status, cli.USAGE, words)


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("a cät", r"unknown character 'ä' \(U\+00E4\) at position 3: this vocabulary has \d+ characters"),
        ("", "the text is empty; a prediction needs at least one token"),
        ("a\udcff", "lone surrogate|unknown character"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_one_line(folder, capsys, prompt, words):
    status = generate(folder, prompt=prompt)
    assert_one_line(capsys, status, cli.FAILURE, words)


def test_standard_input_that_is_not_utf8_is_one_line(folder, capsys, monkeypatch):
    standard_input(monkeypatch, b"a cat \xff")
    status = generate(folder, prompt="-")
    assert_one_line(capsys, status, cli.FAILURE, "standard input: not UTF-8 text: byte 0xff at position 6")


def test_standard_input_without_end_is_one_line(folder, capsys, monkeypatch):
    standard_input(monkeypatch, bytes(20 << 20))
    status = generate(folder, prompt="-")
    assert_one_line(capsys, status, cli.FAILURE, "standard input: has more than 16,777,216 bytes")
    assert sys.stdin.buffer.tell() < 17 << 20


def test_a_model_that_is_not_there_or_is_none_is_one_line(folder, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("not a model")
    (tmp_path / "cut.npz").write_bytes((folder / MODEL_FILE).read_bytes()[:3000])
    for name, words in {
        "missing": r"missing: no such file or folder; to train a model, use `minitransformer train`",
        "empty": r"empty: the folder contains no model\.npz",
        "text.npz": r"text\.npz: not a model or checkpoint of minitransformer, or a truncated one",
        "cut.npz": r"cut\.npz: not a model or checkpoint of minitransformer, or a truncated one",
    }.items():
        status = generate(tmp_path / name)
        assert_one_line(capsys, status, cli.FAILURE, words)


def test_weights_that_are_not_finite_are_one_line(lm, folder, capsys):
    lm.model.ln_final.gamma.data[0] = np.nan
    lm.save(folder / MODEL_FILE)
    assert generate(folder) == cli.FAILURE
    written = capsys.readouterr()
    assert written.out == PROMPT
    assert written.err.startswith("minitransformer: error: generate: the logits are not finite; check the weights")


def assert_one_line(capsys, status, expected, words):
    """Assert on the exit status, on an empty output, and on a single line on standard error, which matches `words`."""
    written = capsys.readouterr()
    assert status == expected and written.out == ""
    assert re.fullmatch(rf"minitransformer: error: [^\n]*({words})[^\n]*\n", written.err), written.err
