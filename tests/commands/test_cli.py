"""The command line: the commands `train` and `info`, and errors in one line."""

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from archives import load_archive
from one_line import assert_one_line
from small_runs import TEXT, At, assert_same_weights, small_lm, without_seconds

from gradcheck.front.program import started_as
from minitransformer import LanguageModel
from minitransformer.cli import build_parser, describe, main
from minitransformer.commands import resuming, train
from minitransformer.text import kept
from minitransformer.training import Settings
from minitransformer.training.checkpoints import Checkpoint

SMALL = shlex.split(
    "--layers 1 --heads 2 --width 8 --context 8 --steps 12 --batch-size 3 --sample-every 0 --eval-every 4"
)
PLAIN = ["--quiet", "--no-plot"]
ALONE = ["--replicas", "1"]  # each further replica starts a process


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def begin(text, out, *more):
    return ["train", "--text", str(text), "--out", str(out), *SMALL, *ALONE, *PLAIN, *more]


def test_the_command_line_loads_no_extra_and_nothing_that_is_slow_to_load():
    slow = "{'matplotlib', 'scipy.special', 'gradcheck.checking', 'unittest', 'asyncio'}"
    code = f"import sys, minitransformer.cli as c; c.build_parser(); print(*{slow} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "\n"


def test_train_writes_a_model_its_metrics_and_a_picture(capsys, text, out):
    pytest.importorskip("matplotlib")
    assert main(["train", "--text", str(text), "--out", str(out), *SMALL]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out / 'model.npz'}\n"
    for words in ("training a tokenizer (char)", f"tokenizing {text}", "14 (char)", "MFLOP per token", "step    12: "):
        assert words in said.err
    assert re.search(r"finished after 12 steps, validation loss 2\.\d{4}, \d+\.\d ms a step", said.err)
    assert sorted(path.name for path in out.iterdir()) == ["loss.png", "metrics.jsonl", "model.npz"]
    assert len(without_seconds(out / "metrics.jsonl")) == 13
    lm = LanguageModel.load(out / "model.npz")
    assert lm.generate("cat", 5).startswith("cat")


def test_every_option_reaches_the_model_or_the_settings(text, out):
    options = """--kv-heads 1 --head-width 6 --ff 20 --norm rms_norm --feed-forward swiglu --positions rotary --no-bias
        --untied --dropout 0.25 --dtype float64 --accumulate 2 --replicas 1 --lr 0.01 --min-lr 0.002 --warmup 3 --beta1
        0.8 --beta2 0.95 --weight-decay 0.2 --decay-embeddings --clip 0 --eval-tokens 0 --checkpoint-every 3 --prompt
        cat
        --optimizer muon --muon-lr 0.03 --seed 5"""
    assert main(begin(text, out, *shlex.split(options))) == 0
    description = load_archive(out / "model.npz")[1]
    config = {
        "vocab_size": 14, "context": 8, "d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 20, "n_kv_heads": 1,
        "d_head": 6, "norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False,
        "tie_embeddings": False, "dropout": 0.25, "dtype": "float64",
    }  # fmt: skip
    assert description["config"] == description["config"] | config
    assert Settings(**description["training"]["settings"]) == Settings(
        steps=12, batch_size=3, accumulate=2, lr=0.01, min_lr=0.002, warmup=3, betas=(0.8, 0.95), weight_decay=0.2,
        decay_embeddings=True, clip=None, eval_every=4, eval_tokens=None, checkpoint_every=3, sample_every=0,
        sample_prompt="cat", optimizer="muon", muon_lr=0.03, seed=5,
    )  # fmt: skip


LIKE_LLAMA = "--norm rms_norm --feed-forward swiglu --positions rotary --no-bias"
MODERN = {
    "--qk-norm --qk-norm-over projection --block post_norm": {
        "qk_norm": True, "qk_norm_over": "projection", "block": "post_norm",
    },
    "--layers 2 --windows 3 all": {"windows": (3, None), "n_layers": 2},
    "--sinks --attention-cap 20 --logit-cap 30": {"sinks": True, "attention_cap": 20.0, "logit_cap": 30.0},
    f"{LIKE_LLAMA} --experts 4 --active 3": {"n_experts": 4, "n_active": 3},
    f"{LIKE_LLAMA} --layers 2 --mixers latent delta --latent-width 5 --rotary-fraction 0.5": {
        "mixers": ("latent", "delta"), "d_latent": 5, "rotary_fraction": 0.5,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", MODERN, ids=str)
def test_a_run_with_components_after_2023_is_trained_resumed_and_writes_text(capsys, text, out, options):
    assert main(begin(text, out, *shlex.split(options), "--steps", "4")) == 0
    assert main(["train", "--out", str(out), "--resume", *PLAIN, "--steps", "6"]) == 0
    lm = LanguageModel.load(out)
    assert {name: getattr(lm.model.config, name) for name in MODERN[options]} == MODERN[options]
    losses = [record["loss"] for record in without_seconds(out / "metrics.jsonl")[1:]]
    assert len(losses) == 6 and max(losses) < 3
    assert lm.generate("cat", 5).startswith("cat")


def test_options_of_experts_reach_the_settings_and_need_experts(capsys, text, out):
    balance = ["--balance-rate", "0.01", "--balance-weight", "0.1"]
    assert main(begin(text, out, *shlex.split(LIKE_LLAMA), "--experts", "3", *balance)) == 0
    settings = Settings(**load_archive(out / "model.npz")[1]["training"]["settings"])
    assert (settings.balance_rate, settings.balance_weight) == (0.01, 0.1)
    assert LanguageModel.load(out).model.blocks[0].feed_forward.balance.data.any()
    capsys.readouterr()
    words = "error: --balance-rate can only be used together with --experts"
    assert_one_line(capsys, main(begin(text, out, "--force", *balance)), 1, words)


@pytest.mark.parametrize("value", ["few", "0", "-3"])
def test_a_window_that_is_no_number_of_positions_is_refused(capsys, text, out, value):
    try:
        status = main(begin(text, out, "--windows", "4", value))
    except SystemExit as error:
        status = error.code
    assert status
    assert re.search(r"--windows", capsys.readouterr().err.splitlines()[-1])


def test_the_help_spells_out_nanogpts_recipe():
    command = train.EXAMPLES.split("medians of three seeds):\n")[1].split("\n\n")[0].replace("\\\n", " ")
    arguments = build_parser().parse_args(shlex.split(command)[1:])
    config = train.given_config(arguments, None)
    settings = train.given_settings(arguments, config, None)
    model = (config.n_layers, config.n_heads, config.d_model, config.context, config.hidden_width, config.bias)
    assert model == (4, 4, 128, 64, 512, True)
    assert (config.feed_forward, config.tie_embeddings, config.dropout) == ("gelu", True, 0.0)
    assert (settings.steps, settings.batch_size, settings.accumulate, settings.seed) == (2000, 12, 1, 0)
    assert (settings.lr, settings.final_lr, settings.warmup_steps, settings.clip) == (1e-3, 1e-4, 100, 1.0)
    assert (settings.betas, settings.weight_decay, settings.decay_embeddings) == ((0.9, 0.99), 0.1, False)
    assert arguments.tokenizer == "char"


def test_a_run_is_not_overwritten_unless_told_to(capsys, text, out):
    assert main(begin(text, out)) == 0
    before = (out / "model.npz").read_bytes()
    capsys.readouterr()
    words = "error: .*run: already contains a run; use --resume, --force or another --out"
    assert_one_line(capsys, main(begin(text, out, "--seed", "1")), 1, words)
    assert (out / "model.npz").read_bytes() == before
    assert main(begin(text, out, "--seed", "1", "--force")) == 0
    assert load_archive(out / "model.npz")[1]["training"]["settings"]["seed"] == 1


def test_a_run_that_failed_before_its_first_checkpoint_does_not_block_the_corrected_command(
    monkeypatch, capsys, text, out
):
    def out_of_memory():
        raise MemoryError

    monkeypatch.setattr(resuming, "Observer", lambda: At(3, out_of_memory))
    assert main(begin(text, out)) == 1
    monkeypatch.undo()
    assert load_archive(out / "model.npz")[1]["training"]["step"] == 0
    assert main(begin(text, out, "--lr", "1e30", "--min-lr", "0", "--eval-every", "0")) == 1
    assert main(begin(text, out, "--context", "4")) == 0
    assert load_archive(out / "model.npz")[1]["training"]["step"] == 12


@pytest.mark.parametrize("place", ["folder", "model.npz", "tokenizer.json"])
def test_the_tokenizer_of_another_run_or_of_a_file_is_used(monkeypatch, capsys, text, out, place):
    monkeypatch.setattr(kept, "LONG", 100)
    assert main(begin(text, out, "--tokenizer", "bpe", "--vocab-size", "270")) == 0
    tokenizer = LanguageModel.load(out).tokenizer
    tokenizer.save(out / "tokenizer.json")
    source, other = out if place == "folder" else out / place, out.parent / "other"
    begun = [argument for argument in begin(text, other, "--tokenizer", str(source)) if argument != "--quiet"]
    assert main(begun) == 0
    assert LanguageModel.load(other).tokenizer.to_dict() == tokenizer.to_dict()
    said = capsys.readouterr().err
    assert (f"reading the tokens of {text} from {out}" in said) == (place == "folder")
    assert main(["train", "--out", str(other), "--resume", "--no-plot", "--steps", "13"]) == 0
    assert f"tokenizing {text}" not in capsys.readouterr().err or place == "folder"


def test_a_tokenizer_that_is_not_there_is_one_line(capsys, text, out):
    words = "error: --tokenizer must be char, byte, bpe, or an existing file or folder, not 'bep'"
    assert_one_line(capsys, main(begin(text, out, "--tokenizer", "bep")), 1, words)
    words = "the folder contains neither model.npz nor a tokenizer"
    assert_one_line(capsys, main(begin(text, out, "--tokenizer", str(text.parent))), 1, f"error: .*{words}")
    words = "--vocab-size can only be used together with --tokenizer bpe, not with "
    assert_one_line(
        capsys, main(begin(text, out, "--tokenizer", str(text.parent), "--vocab-size", "300")), 1, f"error: {words}"
    )


def test_a_finished_run_is_extended_and_says_so(capsys, text, out):
    assert main(begin(text, out)) == 0
    resumed = ["train", "--out", str(out), "--resume", "--no-plot", "--steps"]
    assert main([*resumed, "15"]) == 0
    words = "extended from 12 to 15 steps; the learning rate now follows the schedule of 15 steps"
    assert words in capsys.readouterr().err
    assert load_archive(out / "model.npz")[1]["training"]["step"] == 15
    assert_one_line(capsys, main([*resumed, "14"]), 1, "error: .*cannot resume: --steps was 15, and now is 14")


@pytest.fixture
def interrupted(monkeypatch, capsys, text, out):
    monkeypatch.setattr(resuming, "Observer", lambda: At(7, lambda: signal.raise_signal(signal.SIGINT)))
    assert main(begin(text, out, "--dropout", "0.1")) == 130
    monkeypatch.undo()
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_ctrl_c_is_one_line_that_says_how_to_go_on(interrupted, tmp_path, text, out):
    assert interrupted == (
        f"minitransformer: interrupted after step 7 of 12, saved in {out}; "
        f"to resume: {started_as('minitransformer')} train --out {out} --resume\n"
    )
    command = interrupted.split("to resume: ")[1]
    assert main([*shlex.split(command.removeprefix(started_as("minitransformer"))), *PLAIN]) == 0
    assert main(begin(text, tmp_path / "whole", "--dropout", "0.1")) == 0
    assert_same_weights(LanguageModel.load(out / "model.npz"), LanguageModel.load(tmp_path / "whole" / "model.npz"))
    assert without_seconds(out / "metrics.jsonl") == without_seconds(tmp_path / "whole" / "metrics.jsonl")


OTHER_OPTIONS = [
    ("--lr 0.5", "--lr was 0.001, and now is 0.5"),
    ("--layers 2", "--layers was 1, and now is 2"),
    ("--untied", "tie_embeddings was True, and now is False"),
    ("--beta2 0.5", r"--beta1 and --beta2 was \(0.9, 0.99\), and now is \(0.9, 0.5\)"),
    ("--tokenizer byte", "--tokenizer was char, and now is byte"),
    ("--vocab-size 300", "--vocab-size was None, and now is 300"),
]


def test_resuming_with_other_options_is_refused(capsys, interrupted, out):
    for options, words in OTHER_OPTIONS:
        status = main(["train", "--out", str(out), "--resume", *PLAIN, *shlex.split(options)])
        assert_one_line(capsys, status, 1, f"error: .*model.npz: cannot resume: ({words})")


def test_resuming_standard_input_asks_for_it_again(monkeypatch, capsys, out):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    monkeypatch.setattr(resuming, "Observer", lambda: At(7, lambda: signal.raise_signal(signal.SIGINT)))
    assert main(begin("-", out)) == 130
    assert capsys.readouterr().err.endswith(
        f"to resume: {started_as('minitransformer')} train --out {out} --resume --text -\n"
    )


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "text.txt: No such file or directory"),
        (b"", "text.txt is empty"),
        (b"a cat", r"text.txt: the training split must have at least 9 tokens for a context of 8, not 4"),
        (b"a cat sat on the mat " * 3 + b"\xff!", "text.txt: expected UTF-8 text, found the byte 0xff at position 63"),
    ],
)
def test_a_text_that_cannot_be_trained_on_is_one_line(capsys, text, out, content, words):
    text.unlink()
    if content is not None:
        text.write_bytes(content)
    assert_one_line(capsys, main(begin(text, out)), 1, f"error: .*{words}")
    assert not (out / "model.npz").exists()


@pytest.mark.parametrize(
    "options, status, words",
    [
        ("--heads 3", 1, "--heads must divide --width 8 unless --head-width is given, not be 3"),
        ("--heads 2 --kv-heads 4", 1, "--kv-heads must divide --heads 2, not be 4"),
        ("--width -8", 1, "--width must be at least 1, not -8"),
        ("--dropout 1.5", 1, "--dropout must be at least 0 and less than 1, not 1.5"),
        ("--norm batch_norm", 2, "argument --norm: invalid choice: 'batch_norm'"),
        ("--steps 0", 1, "--steps must be at least 1, not 0"),
        ("--warmup 12", 1, "--warmup must be less than steps, 12, not 12"),
        ("--lr nan", 1, "--lr must be positive and finite, not nan"),
        ("--muon-lr 0.1", 1, "--muon-lr can only be used together with --optimizer muon"),
        ("--vocab-size 300", 1, "--vocab-size can only be used together with --tokenizer bpe, not with char"),
        ("--tokenizer bpe --vocab-size 100", 1, "--vocab-size must be at least 256, not 100"),
        ("--batch-size 4 --replicas 5", 1, r"--replicas must be at most --batch-size, 4, not 5"),
        (f"--steps {10**23}", 1, "--steps must be at most 1,000,000,000,000, not 10{23}"),
        ("--batch-size 5000 --replicas 2000", 1, "--replicas must be at most 1,024, not 2000"),
        ("--layers 100000", 1, "--layers must be at most 10,000, not 100000"),
        (f"--width {10**9}", 1, "a model has at most 10,000,000,000,000 weights"),
        (f"--ff {10**4000}", 1, r"--ff must be at most 9,223,372,036,854,775,807, not 10{90,99}\.\.\.0{90,99}"),
        ("--prompt Q", 1, "the sample prompt: unknown character 'Q'"),
        ("--out text.txt", 1, "text.txt: is a file, not a folder"),
        ("--out none --resume", 1, "none: cannot resume: there is no model.npz; start without --resume"),
        ("--bogus", 2, r"unrecognized arguments: --bogus \(see minitransformer train --help\)"),
        ("--stesp 3", 2, r"unrecognized arguments: --stesp 3; did you mean --steps\? \(see minitransformer train"),
        ("--resume --force", 2, "argument --force: not allowed with argument --resume"),
    ],
)
def test_options_that_cannot_be_are_one_line(capsys, monkeypatch, text, out, options, status, words):
    monkeypatch.chdir(text.parent)
    assert_one_line(capsys, main(begin(text, out, *shlex.split(options))), status, f"error: .*({words})")
    assert not (out / "model.npz").exists()


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(monkeypatch, capsys, text, out):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(resuming, "Observer", lambda: At(8, lambda: monkeypatch.setattr(os, "replace", full)))
    status = main(begin(text, out, "--checkpoint-every", "5"))
    assert_one_line(capsys, status, 1, "error: .*model.npz: cannot write: No space left on device; nothing was changed")
    assert Checkpoint.read(out / "model.npz").training["step"] == 5


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError("Unable to allocate 3 TiB"), "error: Unable to allocate 3 TiB; choose a smaller model, batch"),
        (MemoryError(), "error: not enough memory; choose a smaller model, batch or text"),
        (ValueError("two\nlines"), "error: two lines"),
        (KeyError("oops"), r"error: internal error, please report it: KeyError: 'oops' \(--traceback shows where\)"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "error: x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: the output: No space left on device"),
        (OSError(errno.EBADF, "Bad file descriptor"), "error: standard input or output: Bad file descriptor"),
        (BlockingIOError(errno.EAGAIN, "Try again"), "error: this machine: Try again"),
    ],
)
def test_whatever_goes_wrong_is_one_line(monkeypatch, capsys, error, words):
    def run(arguments):
        raise error

    monkeypatch.setattr(train, "run", run)
    assert_one_line(capsys, main(["train"]), 1, words)
    assert "\n" not in describe(error)
    with pytest.raises(type(error)):
        main(["train", "--traceback"])


def test_info_says_what_a_model_is(capsys, text, out):
    assert main(begin(text, out)) == 0
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    shown = capsys.readouterr().out
    lm = LanguageModel.load(out / "model.npz")
    assert f"{lm.model.n_parameters():,} parameters" in shown
    assert re.search(r"blocks\.\*\.attention\.w_q\.weight +8 × 8 +1 +64 +\d\.\d%", shown)
    assert re.search(r"training +step 12 of 12, .* on .*text\.txt", shown)
    assert "tokenizer   char, 14 tokens" in shown


def test_infos_numbers_add_up(capsys, tmp_path):
    lm = small_lm(n_layers=3, tie_embeddings=False, norm="rms_norm", n_kv_heads=1)
    lm.save(tmp_path / "some.npz")
    assert main(["info", str(tmp_path / "some.npz"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == sum(np.prod(e["shape"], dtype=int) * e["times"] for e in facts["components"])
    assert facts["parameters"] == lm.model.n_parameters() == facts["bytes"] // 4
    assert facts["flops_per_token"] == lm.model.flops_per_token()
    assert facts["config"] == lm.model.config.to_dict()
    assert facts["training"] is None


def test_info_of_what_is_no_model_is_one_line(capsys, tmp_path):
    assert_one_line(capsys, main(["info", str(tmp_path / "none")]), 1, "error: .*none: no such file or folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # to open it would wait for somebody who writes
        words = "error: .*pipe: expected a model file, found a device or a pipe"
        assert_one_line(capsys, main(["info", str(tmp_path / "pipe")]), 1, words)
    assert_one_line(capsys, main(["info", str(tmp_path)]), 1, "error: .*: the folder contains no model.npz")
    path = tmp_path / "model.npz"
    path.write_text("not a model")
    assert_one_line(
        capsys, main(["info", str(path)]), 1, "error: .*model.npz: not a model or checkpoint of minitransformer"
    )
    small_lm().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert_one_line(capsys, main(["info", str(path)]), 1, "error: .*model.npz: .*truncated")
