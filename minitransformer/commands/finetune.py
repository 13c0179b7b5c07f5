"""`minitransformer finetune`: fine-tuning of a trained model."""

import argparse
import math

from gradcheck.front.streams import show
from minitransformer.commands.options import (
    add_fields,
    given_fields,
    in_terms_of_options,
    load_model,
    model_argument,
    option,
    refuse_without,
    run_options,
    several,
)
from minitransformer.commands.resuming import chosen, existing_run, how_to_resume, recorded_arguments, run_keywords
from minitransformer.language_model import MODEL_FILE, model_file
from minitransformer.system.folders import at_work_in
from minitransformer.system.narrator import Narrator
from minitransformer.text import TextFiles, kept_corpus
from minitransformer.training import FineTuningSettings, LowRank, PreferenceSettings, RewardSettings
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.finetuning import REWARDS, fine_tune, fine_tune_for_reward, fine_tune_for_safety
from minitransformer.training.finetuning.objectives import OBJECTIVES
from minitransformer.training.remembered import remembered_files, remembered_texts

HELP = "fine-tune a model on pairs of responses, on a reward or on a text"

EXAMPLES = """\
  minitransformer finetune runs/train --data politeness                    the last two blocks, by DPO
  minitransformer finetune runs/train --data politeness --lora 4           adapters of rank 4, then merged
  minitransformer finetune runs/train --data pairs.jsonl --objective unlikelihood --last-blocks 1
  minitransformer finetune runs/train --data politeness --objective difference --out runs/x  an unbounded objective
  minitransformer finetune runs/train --objective grpo --reward politeness  the model's own responses, judged
  minitransformer finetune runs/train --text letters.txt --last-blocks 1   plain training on a text
  minitransformer finetune --resume                                        the other options are remembered
"""

NOTES = """\
A part of the parameters is trained, and the others are frozen. With --data, the model learns to prefer one response to
another. Each line of the file is a JSON object:

  {"prompt": "Can you help me?", "safe": " Of course, with pleasure.", "unsafe": " Go away, you fool."}

"politeness" is a small dataset in this package. With --reward, the model writes responses, a function judges them, and
those that are better than others to the same prompt become more likely: "sums" is 1 for the right sum in the place of
3+5= and less for another number, and "politeness" counts up to two polite words. With --text, training continues on
another text. The folder then contains

  model.npz       the model; also the checkpoint to resume from
  metrics.jsonl   the loss of every step and other events, one JSON object per line
  report.json     measurements and responses, before and after (--data, --reward)
  finetuning.png  a picture of these (--data, --reward), or loss.png (--text), if matplotlib is installed

Ctrl-C or SIGTERM stops the run after the current step, and saves it for --resume, as in train. The exit status is 1
if the run diverged, as described in the report.

The perplexity on general text measures forgetting. Characters of the default text that the vocabulary lacks are left
out; --general gives another text. The folder minitransformer/training/finetuning/objectives/ describes the objectives.
"""

DEFAULT_OUT = "runs/finetune"
DIVERGED = 1  # the exit status
# The arguments, other than settings, that the checkpoint records.
REMEMBERED = ("model", "data", "text", "reward", "general", "held_out", "prompts")
OF_REWARDS = ("responses", "updates", "ratio_range")
DEFAULTS = {  # in the help, of the fields that have several
    "batch_size": "12; with --data or --reward: 8",
    "lr": "0.0002; for adapters or with --reward: 0.001",
    "eval_every": "20; with --reward: 10",
    "eval_tokens": "250000; with --data: 10000",
    "beta": "0.1; with --reward: 0.04",
}


def add_arguments(parser) -> None:
    model_argument(parser, nargs="?", help="a model's file, or a folder that train wrote (omit it with --resume)")
    source = parser.add_mutually_exclusive_group()
    option(source, "--data", "pairs of responses: a file of JSON lines, or politeness", metavar="FILE")
    several(source, "--text", "UTF-8 files, for plain training", "FILE")
    run_options(parser, DEFAULT_OUT, "picture")

    both = parser.add_argument_group("with --data or --reward")
    words = f"minimised objective: {', '.join(OBJECTIVES)} (default: dpo); with --reward: grpo"
    known = (*OBJECTIVES, "grpo")
    both.add_argument("--objective", default=argparse.SUPPRESS, choices=known, metavar="KIND", help=words)
    add_fields(both, PreferenceSettings, ("beta",), **DEFAULTS)

    pairs = parser.add_argument_group("with --data")
    add_fields(pairs, PreferenceSettings, ("perplexity_limit",))
    words = "pairs for evaluation: a fraction, or a file (default: the marked pairs, or a fifth)"
    option(pairs, "--held-out", words, metavar="X")
    words = "files of a general text for the perplexity (default: the text that comes with Python)"
    several(pairs, "--general", words, "FILE")
    words = "prompt to complete before and after training; repeatable"
    option(pairs, "--prompt", words, action="append", dest="prompts", metavar="TEXT")

    rewarded = parser.add_argument_group("on a reward")
    words = f"reward of the model's own responses, in place of --data: {' or '.join(REWARDS)}"
    option(rewarded, "--reward", words, choices=tuple(REWARDS), metavar="NAME")
    add_fields(rewarded, RewardSettings, OF_REWARDS)

    group = parser.add_argument_group("trained parameters")
    which = group.add_mutually_exclusive_group()
    option(which, "--last-blocks", "number of last blocks to train (default: 2)", metavar="N", type=int)
    option(which, "--lora", "rank of low-rank adapters, merged at the end", metavar="RANK", type=int)
    words = f"with --lora: scale of the adapters (default: {LowRank.alpha:g})"
    option(group, "--alpha", words, metavar="X", type=float)
    words = f"with --lora: names of the linear layers to adapt (default: {' '.join(LowRank.targets)})"
    several(group, "--adapt", words, "NAME")

    training = parser.add_argument_group("training")
    add_fields(training, FineTuningSettings, ("steps", "batch_size", "lr", "min_lr", "warmup"), **DEFAULTS)
    add_fields(training, FineTuningSettings, ("weight_decay", "clip", "eval_every", "eval_tokens"), **DEFAULTS)
    add_fields(training, FineTuningSettings, ("checkpoint_every", "seed"))


def run(arguments) -> int:
    narrator = Narrator(arguments.quiet)
    with at_work_in(arguments.out):
        checkpoint = existing_fine_tuning(arguments)
        about = given_about(arguments, checkpoint)
        settings = given_settings(arguments, about, checkpoint)
        lm = load_model(about["model"] if checkpoint is None else arguments.out)
        source = {
            "data": about["data"],
            "reward": f"the reward {about['reward']}",
            "text": ", ".join(about["text"] or ()),
        }
        narrator.say(f"fine-tuning {about['model']} on {source[source_of(about)]}, into {arguments.out}")
        if checkpoint is not None:
            narrator.say(f"resuming after step {checkpoint.training['step']} of {settings.steps}")
        with how_to_resume("finetune", arguments.out):
            report = TRAINING[source_of(about)](lm, about, settings, arguments, narrator)
    show(report)
    narrator.say(f"the model is {arguments.out / MODEL_FILE}; generate --model {arguments.out} writes text")
    return DIVERGED if getattr(report, "diverged", False) else 0


def existing_fine_tuning(arguments) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None for a new run."""
    path = arguments.out / MODEL_FILE
    if not arguments.resume:
        if arguments.model is None:
            raise ValueError("MODEL must be a model's file or a folder that train wrote, unless --resume is used")
        if path.exists() and path.resolve() == model_file(arguments.model).resolve():
            raise ValueError(f"--out must not be {arguments.out}, the folder of the model; choose another one")
    checkpoint = existing_run(arguments)
    if checkpoint is not None and not isinstance(checkpoint.settings, FineTuningSettings):
        kind = checkpoint.settings.kind
        raise ValueError(f"{path}: cannot resume a run of {kind}; to fine-tune its model, use another --out")
    return checkpoint


def given_about(arguments, checkpoint) -> dict:
    """Return the arguments, other than the settings, that the checkpoint records."""
    given = {name: getattr(arguments, name) for name in REMEMBERED}
    if checkpoint is not None:
        before = recorded_arguments(checkpoint, arguments, REMEMBERED)
        if source_of(before) is None:
            raise ValueError(f"{checkpoint.path}: cannot resume a run that a Python program started")
        for name in REMEMBERED[1:]:
            if given[name] is None:
                (remembered_texts if name in ("prompts", "reward") else remembered_files)(checkpoint, name)
        return {name: before.get(name) for name in REMEMBERED}
    source = source_of(given)
    if given["reward"] is not None and source != "reward":
        raise ValueError(f"--reward cannot be used together with --{source}")
    if source is None:
        if getattr(arguments, "objective", None) == "grpo":
            raise ValueError(f"--objective grpo needs a reward; choose --reward {' or '.join(REWARDS)}")
        raise ValueError(
            "give pairs of responses with --data, such as --data politeness, a --reward, or files with --text"
        )
    fields = {name: getattr(arguments, name, None) for name in ("beta", "objective", "perplexity_limit", *OF_REWARDS)}
    refuse_without(source != "text", "--data or --reward", beta=fields.pop("beta"), objective=fields.pop("objective"))
    refuse_without(source == "reward", "--reward", **{name: fields.pop(name) for name in OF_REWARDS})
    of_pairs = {"general": given["general"], "held_out": given["held_out"], "sample_prompt": given["prompts"]}
    refuse_without(source == "data", "--data", **fields, **of_pairs)
    refuse_without(source != "reward", "--data or --text", eval_tokens=getattr(arguments, "eval_tokens", None))
    return given


def source_of(about: dict) -> str | None:
    """Return the name of the given source of training: data, reward or text."""
    return next((name for name in TRAINING if about.get(name) is not None), None)


def given_settings(arguments, about: dict, checkpoint) -> FineTuningSettings:
    kind = {"data": PreferenceSettings, "reward": RewardSettings, "text": FineTuningSettings}[source_of(about)]
    given = given_fields(arguments, kind)
    with in_terms_of_options(kind):
        trainable = given_trainable(arguments)
    if trainable is not None:
        given["trainable"] = trainable
    return chosen(kind() if checkpoint is None else checkpoint.settings, given, checkpoint)


def given_trainable(arguments):
    refuse_without(arguments.lora is not None, "--lora", alpha=arguments.alpha, adapt=arguments.adapt)
    if arguments.lora is None:
        return arguments.last_blocks
    fields = {"rank": arguments.lora, "alpha": arguments.alpha, "targets": arguments.adapt}
    return LowRank(**{name: value for name, value in fields.items() if value is not None})


def on_pairs(lm, about, settings, arguments, narrator):
    general = None if about["general"] is None else "".join(TextFiles(about["general"]))
    held_out = about["held_out"]
    if held_out is not None:
        try:
            held_out = float(held_out)
        except ValueError:  # a file
            narrator.say(f"evaluating on {held_out}")
    keywords = {"held_out": held_out, "general_text": general, "prompts": about["prompts"]}
    return fine_tune_for_safety(lm, about["data"], **keywords, **run_keywords(arguments, about), **vars(settings))


def on_text(lm, about, settings, arguments, narrator) -> str:
    text = TextFiles(about["text"])
    with narrator.progress("tokenizing", "characters") as progress:
        corpus = kept_corpus(text, lm.tokenizer, [arguments.out], say=narrator.say, progress=progress)
    records = fine_tune(lm, corpus, settings, **run_keywords(arguments, about))
    losses = [record["val_loss"] for record in records if "val_loss" in record]
    if not losses:
        return f"{settings.steps} steps on {text.name}"
    before, after = losses[0], losses[-1]
    return (
        f"{settings.steps} steps on {text.name}: validation loss {before:.4f} before, {after:.4f} after, in nats per "
        f"token; perplexity {math.exp(min(before, 700)):.4g}, then {math.exp(min(after, 700)):.4g}"
    )


def on_reward(lm, about, settings, arguments, narrator):
    return fine_tune_for_reward(lm, about["reward"], **run_keywords(arguments, about), **vars(settings))


TRAINING = {"data": on_pairs, "text": on_text, "reward": on_reward}
