"""`minitransformer finetune`: a trained model in, the same a little different out."""

import dataclasses
import math
import shlex
from pathlib import Path

from minitransformer.commands.options import add_fields, given_fields, in_terms_of_options
from minitransformer.folders import at_work_in
from minitransformer.language_model import MODEL_FILE, LanguageModel, model_file
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import show
from minitransformer.text import TextFiles, tokenize_corpus
from minitransformer.training import FineTuningSettings, LowRank, Observer, PreferenceSettings, ProgressBar
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.finetuning import fine_tune, fine_tune_for_safety
from minitransformer.training.remembered import remembered, remembered_file, remembered_files, remembered_texts

HELP = "fine-tune a model, on pairs of responses or on a text"

DESCRIPTION = """\
Fine-tune a trained model while a part of it stays as it is.

--data trains it to prefer one response to another. The file has one JSON object a line:

  {"prompt": "Can you help me?", "safe": " Of course, with pleasure.", "unsafe": " Go away, you fool."}

and "politeness" is a small dataset that comes with the program. --text goes on with plain training, on another
text. Either way it writes to a folder

  model.npz       the model; also the checkpoint to resume from
  metrics.jsonl   the loss of every step, and what else happened, one JSON object a line
  report.json     before and after: likelihoods, margin, perplexity on general text, completions (--data)
  finetuning.png  a picture of it (--data), or loss.png (--text), if matplotlib is installed

and prints what changed. Ctrl-C, or SIGTERM, finishes the step, saves, and stops; --resume goes on from there, or
from the last checkpoint if the process was killed, and ends with the same weights, to the bit. The exit status is
1 where the model was wrecked, which the report says in words.
"""

EPILOG = """\
examples:
  minitransformer finetune runs/train --data politeness                    the last two blocks, by DPO
  minitransformer finetune runs/train --data politeness --lora 4           adapters of rank 4, then merged
  minitransformer finetune runs/train --data pairs.jsonl --objective unlikelihood --parameters "blocks.3.*" "ln_final.*"
  minitransformer finetune runs/train --data politeness --objective difference --out runs/wrecked
                                                                           watch an unbounded objective at work
  minitransformer finetune runs/train --text letters.txt --last-blocks 1   plain training on a text
  minitransformer finetune --resume                                        the other options are remembered

The perplexity on general text says what was forgotten. It is measured on the end of the text that comes with
Python, unless --general gives another: a model whose tokenizer knows only other characters needs that.
What the objectives are, and why one of them wrecks the model: minitransformer/training/finetuning/objectives/.
"""

DEFAULT_OUT = "runs/finetune"
WRECKED = 1  # the exit status
# What the checkpoint remembers of the options beside the settings, with the option's name.
REMEMBERED = {
    "model": "MODEL",
    "data": "--data",
    "text": "--text",
    "general": "--general",
    "held_out": "--held-out",
    "prompts": "--prompt",
}
READ = {
    "data": remembered_file,
    "text": remembered_files,
    "general": remembered_files,
    "held_out": remembered_file,
    "prompts": remembered_texts,
}


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's file, or the folder that train wrote")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", metavar="FILE", help="pairs of responses: a file of JSON lines, or politeness")
    source.add_argument("--text", nargs="+", metavar="FILE", help="UTF-8 files, for plain training")
    parser.add_argument(
        "--out", type=Path, default=Path(DEFAULT_OUT), metavar="FOLDER", help=f"where to write (default: {DEFAULT_OUT})"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    existing.add_argument("--force", action="store_true", help="overwrite the run in that folder")
    parser.add_argument("--no-plot", action="store_true", help="draw no picture")
    parser.add_argument("--quiet", action="store_true", help="print only the result, warnings and errors")

    pairs = parser.add_argument_group("with --data")
    add_fields(pairs, PreferenceSettings, ("objective", "beta", "perplexity_limit"))
    pairs.add_argument(
        "--held-out",
        metavar="X",
        help="rows for evaluation alone: a fraction of them, or another file (default: those marked, or a fifth)",
    )
    pairs.add_argument("--general", nargs="+", metavar="FILE", help="text to measure forgetting on (default: Python's)")
    pairs.add_argument(
        "--prompt", action="append", dest="prompts", metavar="TEXT", help="complete this before and after; repeatable"
    )

    group = parser.add_argument_group("what is trained")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--last-blocks", type=int, metavar="N", help="the last N blocks (default: 2)")
    which.add_argument("--parameters", nargs="+", metavar="NAME", help='by name, * for anything: "blocks.3.*"')
    which.add_argument("--lora", type=int, metavar="RANK", help="low-rank adapters, merged into the model at the end")
    group.add_argument("--alpha", type=float, metavar="X", help=f"with --lora: its scale (default: {LowRank.alpha:g})")
    group.add_argument(
        "--adapt",
        nargs="+",
        metavar="NAME",
        help=f"with --lora: the linear maps, * for anything (default: {' '.join(LowRank.targets)})",
    )

    training = parser.add_argument_group("training")
    of_pairs = {
        name: f"{getattr(FineTuningSettings, name)}; pairs: {getattr(PreferenceSettings, name)}"
        for name in ("batch_size", "eval_tokens")
    }
    add_fields(training, FineTuningSettings, ("steps", "batch_size", "lr", "min_lr", "warmup"), **of_pairs)
    add_fields(training, FineTuningSettings, ("weight_decay", "clip", "eval_every", "eval_tokens"), **of_pairs)
    add_fields(training, FineTuningSettings, ("checkpoint_every", "seed"))


def run(arguments) -> int:
    """Fine-tune. Whatever can be found wrong before the long work is."""
    with at_work_in(arguments.out):
        return fine_tune_into_folder(arguments, Narrator(arguments.quiet))


def fine_tune_into_folder(arguments, narrator) -> int:
    """Fine-tune, in a folder that no other run works in. Returns the exit status."""
    checkpoint = existing_run(arguments)
    about = given_about(arguments, checkpoint)
    settings = given_settings(arguments, about, checkpoint)
    lm = LanguageModel.load(about["model"] if checkpoint is None else arguments.out)
    narrator.say(f"fine-tuning {about['model']} on {what_on(about)}, into {arguments.out}")
    if checkpoint is not None:
        narrator.say(f"resuming after step {checkpoint.training['step']} of {settings.steps}")
    options = {
        "out": arguments.out,
        "resume": arguments.resume,
        "plot": not arguments.no_plot,
        "observer": Observer() if arguments.quiet else ProgressBar(),
        "about": about,
    }
    try:
        report = (on_pairs if about["data"] else on_text)(lm, about, settings, options, narrator)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(how_to_resume(interrupt, arguments.out)) from None
    show(report)
    narrator.say(f"the model is {arguments.out / MODEL_FILE}; generate --model {arguments.out} writes text")
    return WRECKED if getattr(report, "diverged", False) else 0


def existing_run(arguments) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None for a new run.

    Raises FileNotFoundError where there is none to resume, ValueError for one that is no fine-tuning,
    FileExistsError where there is one that nobody mentioned.
    """
    path = arguments.out / MODEL_FILE
    if arguments.resume:
        if not path.exists():
            raise FileNotFoundError(f"{arguments.out}: there is no {MODEL_FILE} to resume from; begin without --resume")
        checkpoint = Checkpoint.read(path)
        if not isinstance(checkpoint.settings, FineTuningSettings):
            kind = checkpoint.settings.kind
            raise ValueError(f"{path}: cannot resume: it holds a run of {kind}; fine-tune it into another --out")
        return checkpoint
    if arguments.model is None:
        raise ValueError("which MODEL? give a model's file, or the folder that train wrote, or --resume")
    if path.exists():
        if path.resolve() == model_file(arguments.model).resolve():
            raise ValueError(f"--out {arguments.out} is where the model itself is: choose another folder")
        if not arguments.force:
            raise FileExistsError(
                f"{arguments.out}: holds a run already; --resume goes on with it, --force overwrites it, or choose "
                "another --out"
            )
    return None


def given_about(arguments, checkpoint) -> dict:
    """Return what the checkpoint shall remember of the options that are no settings.

    Raises ValueError for none of --data and --text, for one that is not what the checkpoint remembers, or for an
    option of --data without it.
    """
    given = {name: getattr(arguments, name) for name in REMEMBERED}
    if checkpoint is not None:
        before = remembered(checkpoint.training)
        for name, value in given.items():
            if value is not None and value != before.get(name):
                raise ValueError(
                    f"{checkpoint.path}: cannot resume: {REMEMBERED[name]} was {before.get(name)}, and now is {value}"
                )
        if before.get("data") is None and before.get("text") is None:
            raise ValueError(
                f"{checkpoint.path}: cannot resume: the run was not begun by this command, but by a program"
            )
        for name, read in READ.items():
            if given[name] is None:
                read(checkpoint.path, checkpoint.training, name)
        return {name: before.get(name) for name in REMEMBERED}
    if given["data"] is None and given["text"] is None:
        raise ValueError(
            "on what? give --data, pairs of responses, or --text; --data politeness comes with the program"
        )
    if given["data"] is None:
        only_pairs = {"objective", "beta", "perplexity_limit"} & set(vars(arguments))
        only_pairs |= {name for name in ("held_out", "general", "prompts") if given[name] is not None}
        for name in sorted(only_pairs):
            raise ValueError(f"{REMEMBERED.get(name, '--' + name.replace('_', '-'))} is for --data, not for --text")
    return given


def given_settings(arguments, about: dict, checkpoint) -> FineTuningSettings:
    """Return the settings that the options ask for, on top of the defaults or the checkpoint's, which must agree."""
    kind = PreferenceSettings if about["data"] else FineTuningSettings
    given = given_fields(arguments, kind)
    with in_terms_of_options(kind):
        trainable = given_trainable(arguments)
        if trainable is not None:
            given["trainable"] = trainable
        if checkpoint is None:
            return kind(**given)
        settings = dataclasses.replace(checkpoint.settings, **given)
        checkpoint.check_fields(checkpoint.settings, settings)
        return settings


def given_trainable(arguments):
    """Return what the options say is trained, None if nothing. Raises ValueError for an option without its --lora."""
    if arguments.lora is None:
        for name in ("alpha", "adapt"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"--{name} is for --lora")
        return arguments.last_blocks if arguments.parameters is None else arguments.parameters
    fields = {"rank": arguments.lora, "alpha": arguments.alpha, "targets": arguments.adapt}
    return LowRank(**{name: value for name, value in fields.items() if value is not None})


def what_on(about: dict) -> str:
    """Return what is trained on, for people."""
    return about["data"] or ", ".join(about["text"])


def on_pairs(lm, about, settings, options, narrator):
    """Fine-tune on pairs of responses, and return the report."""
    fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    general = None if about["general"] is None else "".join(TextFiles(about["general"]))
    held_out = about["held_out"]
    if held_out is not None:
        try:
            held_out = float(held_out)
        except ValueError:  # a file
            narrator.say(f"evaluating on {held_out}")
    return fine_tune_for_safety(
        lm, about["data"], held_out=held_out, general_text=general, prompts=about["prompts"], **fields, **options
    )


def on_text(lm, about, settings, options, narrator) -> str:
    """Fine-tune on a text, and return what changed, in words."""
    text = TextFiles(about["text"])
    narrator.say(f"tokenizing {text.name}")
    with narrator.progress("tokenizing", "characters") as progress:
        corpus = tokenize_corpus(text, lm.tokenizer, progress=progress)
    records = fine_tune(lm, corpus, settings, **options)
    losses = [record["val_loss"] for record in records if "val_loss" in record]
    if not losses:
        return f"{settings.steps} steps on {text.name}"
    before, after = losses[0], losses[-1]
    return (
        f"{settings.steps} steps on {text.name}: validation loss {before:.4f} before, {after:.4f} after, in nats per "
        f"token; perplexity {math.exp(min(before, 700)):.4g}, then {math.exp(min(after, 700)):.4g}"
    )


def how_to_resume(interrupt, out) -> str:
    """Return what Ctrl-C did, and how to go on, in one line."""
    reason = str(interrupt) or "interrupted"
    if not (out / MODEL_FILE).exists():
        return f"{reason}; nothing was saved"
    return f"{reason}; go on with: minitransformer finetune --out {shlex.quote(str(out))} --resume"
