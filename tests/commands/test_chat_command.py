"""The command `chat`: in a pipe, on a terminal, interrupted, and when something goes wrong."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_chats import chat_lm
from small_runs import small_lm
from terminals import Terminal

from gradcheck.front.program import started_as
from minitransformer import cli
from minitransformer.cli import main
from minitransformer.interop.chat import Conversation
from minitransformer.training import MODEL_FILE

pytest.importorskip("jinja2")


@pytest.fixture
def lm():
    return chat_lm()


@pytest.fixture
def folder(lm, tmp_path):
    lm.save(tmp_path / MODEL_FILE)
    return tmp_path


def chat(folder, monkeypatch, said, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said)))
    return main(["chat", "--model", str(folder), *options])


def expected(lm, *said, system=None, max_new_tokens=512, seed=0, **settings):
    conversation = Conversation(lm, system, rng=np.random.default_rng(seed), **settings)
    answers = ["".join(conversation.answer(line, max_new_tokens)) for line in said]
    return "---\n".join(answer.removesuffix("\n") + "\n" for answer in answers)


@pytest.mark.parametrize(
    "options, settings",
    [
        ([], {"temperature": 0.2, "top_p": 0.9}),
        (["--temperature", "0", "--top-p", "1"], {"temperature": 0}),
        (["--seed", "5", "--temperature", "1.5", "--top-p", "0.5"], {"temperature": 1.5, "top_p": 0.5, "seed": 5}),
        (["--system", "Be brief."], {"temperature": 0.2, "top_p": 0.9, "system": "Be brief."}),
    ],
)
def test_in_a_pipe_every_line_is_a_turn_and_only_the_answers_are_written(
    lm, folder, capsys, monkeypatch, options, settings
):
    said = "what is it\n\n  \r\nnaïve?\r\nand then".encode()
    assert chat(folder, monkeypatch, said, "--max-new-tokens", "9", *options) == 0
    written = capsys.readouterr()
    assert written.out == expected(lm, "what is it", "naïve?", "and then", max_new_tokens=9, **settings)
    assert written.err == ""


@pytest.mark.filterwarnings("always:the conversation exceeds")
def test_what_is_forgotten_is_said(tmp_path, capsys, monkeypatch):
    chat_lm(context=100).save(tmp_path / MODEL_FILE)
    assert chat(tmp_path, monkeypatch, b"what is it\n" * 6, "--max-new-tokens", "5", "--system", "x") == 0
    lines = capsys.readouterr().err.splitlines()
    words = "minitransformer: warning: the conversation exceeds the model's context of 100 tokens, so the first "
    assert lines and all(re.fullmatch(re.escape(words) + r"\d+ messages were removed", line) for line in lines)


def program(folder, *options):
    return [sys.executable, "-m", "minitransformer", "chat", "--model", str(folder), *options]


ENDLESS = ("--max-new-tokens", "1000000", "--temperature", "0")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_terminal_it_asks_ctrl_c_stops_an_answer_and_ctrl_d_ends_the_conversation(tmp_path):
    import pty

    chat_lm(context=20_000).save(tmp_path / MODEL_FILE)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        program(tmp_path, *ENDLESS), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = b""

    def read_until(words, count=1):
        nonlocal seen
        deadline = time.monotonic() + 60
        while seen.count(words) < count and time.monotonic() < deadline:
            seen += os.read(ours, 1024)
        assert seen.count(words) >= count, seen[-500:]

    try:
        read_until(b"> ")
        os.write(ours, b"\n")  # an empty line is no turn
        read_until(b"> ", 2)
        os.write(ours, b"what is it\n")
        length = len(seen)
        while len(seen) < length + 40:  # the echo of the line, and some of the answer
            seen += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
        prompts = seen.count(b"\n> ")
        read_until(b"\n> ", prompts + 1)
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Traceback" not in seen and b"interrupted" not in seen


@pytest.mark.filterwarnings("always:not answered")
def test_on_a_terminal_what_cannot_be_answered_is_said_and_the_conversation_goes_on(lm, folder, capsys, monkeypatch):
    lines = iter(["ab\udcff", "what is it"])

    def ask(prompt):
        print(prompt, end="")
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", ask)
    assert main(["chat", "--model", str(folder), "--max-new-tokens", "9"]) == 0
    written = capsys.readouterr()
    answer = expected(lm, "what is it", max_new_tokens=9, temperature=0.2, top_p=0.9)
    assert written.out == f"> \n> {answer}\n> \n"
    first, rate = written.err.splitlines()
    assert "lone surrogates" in first and first.startswith(
        "minitransformer: warning: not answered: the text must not contain"
    )
    assert re.fullmatch(r"9 tokens in \d+\.\d s, [\d,]+ a second", rate)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--temperature", "-1"], r"temperature must be at least 0 and finite, not -1\.0"),
        (["--top-p", "0"], r"top_p must be positive and at most 1, not 0\.0"),
        (["--max-new-tokens", "0"], "--max-new-tokens must be at least 1, not 0"),
        (["--seed", "-3"], "--seed must be at least 0, not -3"),
    ],
)
def test_settings_out_of_range_are_one_line(folder, capsys, monkeypatch, options, words):
    assert chat(folder, monkeypatch, b"Hi\n", *options) == cli.FAILURE
    written = capsys.readouterr()
    assert written.out == "" and re.fullmatch(rf"minitransformer: error: .*{words}\n", written.err)


def test_a_model_that_holds_no_conversation_is_one_line(tmp_path, capsys, monkeypatch):
    small_lm().save(tmp_path / MODEL_FILE)
    assert chat(tmp_path, monkeypatch, b"Hi\n") == cli.FAILURE
    assert capsys.readouterr().err == (
        f"minitransformer: error: {tmp_path}: the model has no chat template, because it was not trained "
        f"for conversations; to continue a text, use `{started_as('minitransformer')} generate`\n"
    )


@pytest.mark.parametrize(
    "said, words",
    [
        (b"Hi\nab\xff\n", "standard input, line 2: expected UTF-8 text, found the byte 0xff at position 2"),
        (b"Hi\n" + bytes(9 << 20), "standard input, line 2: must have at most 1,048,576 bytes, but has more"),
        (
            b"Hi\n" + b"\xc3\xbf" * 200 + b"\n",
            r"the message has \d+ tokens; the model's context allows fewer than 256",
        ),
    ],
)
def test_in_a_pipe_a_line_that_cannot_be_answered_ends_it_with_one_line(folder, capsys, monkeypatch, said, words):
    assert chat(folder, monkeypatch, said, "--max-new-tokens", "3") == cli.FAILURE
    assert re.fullmatch(rf"minitransformer: error: {words}\n", capsys.readouterr().err)
