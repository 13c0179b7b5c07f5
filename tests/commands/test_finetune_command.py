"""The command `finetune`: its files, its output, resumption, and errors in one line."""

import json
import os
import re
import shlex
import signal

import numpy as np
import pytest
from archives import load_archive
from one_line import assert_one_line
from small_pairs import GENERAL, ROWS, trained_lm
from small_runs import TEXT, At, assert_same_weights, without_seconds

from gradcheck.front.program import started_as
from minitransformer import LanguageModel
from minitransformer.cli import main
from minitransformer.commands import resuming
from minitransformer.system.archive import save_archive
from minitransformer.training import FineTuningSettings, LowRank, PreferenceSettings, fine_tune, fine_tune_for_safety
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.finetuning import REWARDS, Reward, fine_tune_for_reward

SMALL = shlex.split("--steps 6 --batch-size 4 --lr 1e-3 --eval-every 3 --checkpoint-every 2 --last-blocks 1")
SETTINGS = {"steps": 6, "batch_size": 4, "lr": 1e-3, "eval_every": 3, "checkpoint_every": 2, "trainable": 1}
PLAIN = ["--quiet", "--no-plot"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base").mkdir()
    trained_lm().save(tmp_path / "base" / "model.npz")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "general.txt").write_text(GENERAL)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def on_pairs(folder, *more):
    data = ["--data", str(folder / "pairs.jsonl"), "--general", str(folder / "general.txt")]
    return ["finetune", str(folder / "base"), *data, "--out", str(folder / "out"), *SMALL, *PLAIN, *more]


def on_text(folder, *more):
    paths = ["--text", str(folder / "text.txt"), "--out", str(folder / "out")]
    return ["finetune", str(folder / "base"), *paths, *SMALL, *PLAIN, *more]


def on_reward(folder, *more):
    paths = ["--objective", "grpo", "--reward", "sums", "--out", str(folder / "out")]
    return ["finetune", str(folder / "base"), *paths, *SMALL, *PLAIN, "--responses", "3", *more]


def without(arguments, *options):
    kept = list(arguments)
    for option in options:
        at = kept.index(option)
        del kept[at : at + 2]
    return kept


def test_on_pairs_it_does_what_the_library_does_and_prints_the_report(capsys, folder):
    assert main(on_pairs(folder)) == 0
    shown = capsys.readouterr()
    lm = trained_lm()
    report = fine_tune_for_safety(lm, folder / "pairs.jsonl", general_text=GENERAL, **SETTINGS)
    assert shown.out == f"{report}\n" and shown.err == ""
    assert_same_weights(LanguageModel.load(folder / "out"), lm)
    written = json.loads((folder / "out" / "report.json").read_text())
    assert written["after"] == json.loads(json.dumps(report.to_dict()["after"]))
    assert without_seconds(written["records"]) == without_seconds(folder / "out" / "metrics.jsonl")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["metrics.jsonl", "model.npz", "report.json"]


LETTERS = Reward("letters", ("a", "the cat", "on"), lambda prompt, text: text.count("a") / 5, 5)


def test_on_a_reward_it_does_what_the_library_does_and_resumes(capsys, folder, monkeypatch):
    monkeypatch.setitem(REWARDS, "sums", LETTERS)
    assert main(on_reward(folder, "--updates", "3")) == 0
    shown = capsys.readouterr()
    lm = trained_lm()
    report = fine_tune_for_reward(lm, LETTERS, **SETTINGS, responses=3, updates=3)
    assert shown.out == f"{report}\n" and shown.err == ""
    assert_same_weights(LanguageModel.load(folder / "out"), lm)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["metrics.jsonl", "model.npz", "report.json"]
    assert main(["finetune", "--out", str(folder / "out"), "--resume", "--steps", "7", *PLAIN]) == 0
    assert "objective grpo, 7 steps on the reward letters" in capsys.readouterr().out


def test_on_a_text_it_does_what_the_library_does_and_prints_the_losses(capsys, folder):
    assert main(on_text(folder)) == 0
    shown = capsys.readouterr()
    lm = trained_lm()
    records = fine_tune(lm, TEXT, FineTuningSettings(**SETTINGS))
    first, last = records[0]["val_loss"], records[-1]["val_loss"]
    assert f"validation loss {first:.4f} before, {last:.4f} after" in shown.out
    assert f"perplexity {np.exp(first):.4g}, then {np.exp(last):.4g}" in shown.out
    assert_same_weights(LanguageModel.load(folder / "out"), lm)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["metrics.jsonl", "model.npz"]


def test_every_option_reaches_the_settings(folder):
    options = """--objective unlikelihood --beta 0.3 --perplexity-limit 9 --lora 3 --alpha 2 --adapt *.w_o *.w_k
        --steps 5 --batch-size 2 --lr 0.01 --min-lr 0.002 --warmup 1 --weight-decay 0.1 --clip 0
        --eval-every 2 --eval-tokens 0
        --checkpoint-every 1 --seed 5"""
    assert main([*without(on_pairs(folder), "--last-blocks"), *shlex.split(options)]) == 0
    assert Checkpoint.read(folder / "out" / "model.npz").settings == PreferenceSettings(
        objective="unlikelihood", beta=0.3, perplexity_limit=9.0, trainable=LowRank(3, 2.0, ("*.w_o", "*.w_k")),
        steps=5, batch_size=2, lr=0.01, min_lr=0.002, warmup=1, weight_decay=0.1, clip=None,
        eval_every=2, eval_tokens=None,
        checkpoint_every=1, seed=5,
    )  # fmt: skip


def test_a_wrecked_model_is_said_in_words_and_by_the_exit_status(capsys, folder):
    options = shlex.split("--objective difference --steps 60 --lr 1e-2 --eval-every 1")
    assert main(on_pairs(folder, *options)) == 1
    shown = capsys.readouterr()
    assert re.search(
        r"DIVERGED: after step \d+ the perplexity on general text is .*the model is no longer usable", shown.out
    )
    assert json.loads((folder / "out" / "report.json").read_text())["diverged"] is True


def interrupt(monkeypatch, capsys, arguments):
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "Observer", lambda: At(3, lambda: signal.raise_signal(signal.SIGINT)))
        assert main(arguments) == 130
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.mark.one_in(2)
@pytest.mark.parametrize("start", [on_pairs, on_text, on_reward])
@pytest.mark.parametrize(
    "more", [pytest.param([], marks=pytest.mark.slow), ["--lora", "2"]], ids=["a block", "adapters"]
)
def test_ctrl_c_is_one_line_that_says_how_to_go_on(monkeypatch, capsys, folder, start, more):
    monkeypatch.setitem(REWARDS, "sums", LETTERS)
    arguments = without(start(folder), "--last-blocks") + more if more else start(folder)
    out = folder / "out"
    said = interrupt(monkeypatch, capsys, arguments)
    assert said == (
        f"minitransformer: interrupted after step 3 of 6, saved in {out}; "
        f"to resume: {started_as('minitransformer')} finetune --out {out} --resume\n"
    )
    command = said.split("to resume: ")[1].removeprefix(started_as("minitransformer"))
    assert main([*shlex.split(command), *PLAIN]) == 0
    resumed = capsys.readouterr().out
    whole = [folder / "whole" if argument == str(out) else argument for argument in arguments]
    assert main(list(map(str, whole))) == 0
    assert capsys.readouterr().out == resumed
    assert_same_weights(LanguageModel.load(out), LanguageModel.load(folder / "whole"))
    assert without_seconds(out / "metrics.jsonl") == without_seconds(folder / "whole" / "metrics.jsonl")


OTHER_OPTIONS = [
    (["--lr", "0.5"], "--lr was 0.001, and now is 0.5"),
    (["--beta", "0.2"], "--beta was 0.1, and now is 0.2"),
    (["--last-blocks", "2"], "trainable was 1, and now is 2"),
    (["--data", "politeness"], "--data was .*pairs.jsonl, and now is politeness"),
    (["--text", "other.txt"], r"--text was None, and now is \['other.txt'\]"),
    (["other/model"], "MODEL was .*base, and now is other/model"),
]


def test_resuming_with_other_options_is_refused(capsys, folder):
    assert main(on_pairs(folder)) == 0
    capsys.readouterr()
    for options, words in OTHER_OPTIONS:
        status = main(["finetune", "--out", str(folder / "out"), "--resume", *PLAIN, *options])
        assert_one_line(capsys, status, 1, f"error: .*model.npz: cannot resume: ({words})")


ODD_MEMORIES = [
    ({"data": "/dev/zero"}, "its entry data is /dev/zero, a device or a pipe; to read it, use the option --data"),
    ({"general": ["/dev/zero"]}, "to read it, use the option --general"),
    ({"general": [3]}, r"its training state is damaged \(about: general must be a list of strings, not \[3\]\)"),
    ({"prompts": {"a": 1}}, "about: prompts must be a list of strings, not {'a': 1}"),
    ({"data": "a\0b"}, "about: data must be one or several paths"),
    ({"held_out": [0.2]}, r"about: held_out must be a list of strings, not \[0.2\]"),
    ({"general": []}, "about: general must be one or several paths"),
]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_what_a_strangers_checkpoint_remembers_is_not_read_whatever_it_is(capsys, folder):
    assert main(on_pairs(folder)) == 0
    capsys.readouterr()
    arrays, description = load_archive(folder / "out" / "model.npz")
    about = description["training"]["about"]
    for fields, words in ODD_MEMORIES:
        description["training"]["about"] = about | fields
        save_archive(folder / "out" / "model.npz", arrays, description)
        status = main(["finetune", "--out", str(folder / "out"), "--resume", *PLAIN])
        assert_one_line(capsys, status, 1, f"error: .*model.npz: .*{words}")


def test_a_run_is_not_overwritten_unless_told_to_and_the_model_itself_never(capsys, folder):
    assert main(on_pairs(folder)) == 0
    capsys.readouterr()
    assert_one_line(capsys, main(on_pairs(folder)), 1, "error: .*out: already contains a run; use --resume, --force")
    arguments = on_pairs(folder, "--force")
    arguments[arguments.index("--out") + 1] = str(folder / "base")
    assert_one_line(capsys, main(arguments), 1, "--out must not be .*base, the folder of the model; choose another one")
    assert main(on_pairs(folder, "--force", "--seed", "1")) == 0


def test_what_pretraining_wrote_is_not_resumed_as_fine_tuning(capsys, folder):
    command = ["train", "--text", str(folder / "text.txt"), "--out", str(folder / "out"), *PLAIN]
    sizes = shlex.split("--layers 1 --heads 2 --width 8 --context 8 --steps 2 --sample-every 0 --eval-every 2")
    assert main([*command, *sizes]) == 0
    capsys.readouterr()
    status = main(["finetune", "--out", str(folder / "out"), "--resume", *PLAIN])
    assert_one_line(capsys, status, 1, "cannot resume a run of pretraining; to fine-tune its model, use another --out")


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--objective", "ppo"], 2, "argument --objective: invalid choice: 'ppo'"),
        (["--objective", "grpo"], 1, "unknown objective 'grpo'; choose from dpo, unlikelihood, difference"),
        (["--beta", "0"], 1, r"--beta must be positive and finite, not 0\.0"),
        (["--steps", "0"], 1, "--steps must be at least 1, not 0"),
        (["--batch-size", "0"], 1, "--batch-size must be at least 1, not 0"),
        (["--last-blocks", "7"], 1, "trainable must be at most 2, the number of blocks of the model, not 7"),
        (["--alpha", "3"], 1, "--alpha can only be used together with --lora"),
        (["--adapt", "*.w_q"], 1, "--adapt can only be used together with --lora"),
        (["--lora", "2"], 2, "argument --lora: not allowed with argument --last-blocks"),
        (["--text", "other.txt"], 2, "argument --text: not allowed with argument --data"),
        (["--held-out", "1.5"], 1, r"held_out must be a fraction between 0 and 1, or a dataset, not 1\.5"),
        (["--held-out", "nowhere.jsonl"], 1, "nowhere.jsonl: No such file or directory"),
        (["--general", "nowhere.txt"], 1, "nowhere.txt: No such file or directory"),
        (["--data", "nowhere.jsonl"], 1, "nowhere.jsonl: No such file or directory"),
        (["--prompt", "Q"], 1, "unknown character 'Q'"),
    ],
)
def test_options_that_cannot_be_are_one_line(capsys, folder, options, status, words):
    assert_one_line(capsys, main(on_pairs(folder, *options)), status, f"error: .*({words})")
    assert not (folder / "out" / "model.npz").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["finetune"], "MODEL must be a model's file"),
        (["finetune", "base"], "give pairs of responses with --data"),
        (
            ["finetune", "base", "--objective", "grpo"],
            "--objective grpo needs a reward; choose --reward sums or politeness",
        ),
        (
            ["finetune", "base", "--text", "a.txt", "--beta", "0"],
            "--beta can only be used together with --data or --reward",
        ),
        (
            ["finetune", "base", "--text", "a.txt", "--updates", "3"],
            "--updates can only be used together with --reward",
        ),
        (["finetune", "base", "--reward", "sums", "--prompt", "a"], "--prompt can only be used together with --data"),
        (
            ["finetune", "base", "--reward", "sums", "--eval-tokens", "9"],
            "--eval-tokens can only be .* --data or --text",
        ),
        (["finetune", "base", "--text", "a.txt", "--prompt", "a"], "--prompt can only be used together with --data"),
        (["finetune", "--resume"], "cannot resume: there is no model.npz; start without --resume"),
        (["finetune", "nowhere", "--data", "politeness"], "nowhere: no such file or folder"),
    ],
)
def test_what_is_missing_is_one_line(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_one_line(capsys, main([*arguments, *PLAIN]), 1, f"error: .*{words}")
