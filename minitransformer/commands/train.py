"""`minitransformer train`: pretraining on a text."""

import argparse
import dataclasses
import shlex
import statistics
import warnings
from itertools import pairwise
from pathlib import Path

from gradcheck.front.streams import show_to_the_letter
from minitransformer.commands.options import add_fields, given_fields, option, refuse_without, run_options, several
from minitransformer.commands.resuming import chosen, existing_run, how_to_resume, recorded_arguments, run_keywords
from minitransformer.config import Config
from minitransformer.language_model import LanguageModel, described_model, model_file
from minitransformer.system.archive import ArchiveError, open_archive
from minitransformer.system.narrator import Narrator
from minitransformer.system.tuning import tune_for
from minitransformer.text import (
    DEFAULT_CORPUS,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    TextFiles,
    Tokenizer,
    chunks_of,
    default_corpus,
    kept_corpus,
    reported,
)
from minitransformer.training import MODEL_FILE, Settings, pretrain
from minitransformer.training.ranks import cores_of_a_rank, world, world_size
from minitransformer.training.recipes import MODEL, RECIPES, Recipe
from minitransformer.training.remembered import is_stream, remembered_files
from minitransformer.training.replicas import replicas_that_pay
from minitransformer.transformer import Transformer

HELP = "train a model on a text"

EXAMPLES = """\
  minitransformer train                                    on the text that comes with Python
  minitransformer train --text book.txt --out runs/book
  cat *.txt | minitransformer train --text - --tokenizer bpe --vocab-size 2000
  minitransformer train --text more.txt --tokenizer runs/book --out runs/more        with the same vocabulary
  minitransformer train --out runs/book --resume           the other options are remembered
  minitransformer train --out runs/book --resume --steps 4000                        after its end, 4,000 in all

nanoGPT's recipe for a CPU on tiny Shakespeare, with all its numbers. The validation loss is 1.90, or 1.91 without
biases and with decay of the embeddings, as in nanoGPT (--no-bias --decay-embeddings; medians of three seeds):
  minitransformer train --text tinyshakespeare.txt --out runs/shakespeare --tokenizer char \\
      --layers 4 --heads 4 --width 128 --context 64 --dropout 0 \\
      --steps 2000 --batch-size 12 --lr 1e-3 --min-lr 1e-4 --warmup 100 \\
      --beta1 0.9 --beta2 0.99 --weight-decay 0.1 --clip 1 --seed 0

a lower loss in less time, with Muon and parts of newer models (bench --to-loss measures it):
  minitransformer train --text tinyshakespeare.txt --out runs/fast --recipe fast

a small Llama:
  minitransformer train --text book.txt --norm rms_norm --positions rotary --feed-forward swiglu \\
      --kv-heads 2 --no-bias --untied

components after 2023: eight experts, of which a position uses two, and windows in every other layer:
  minitransformer train --text book.txt --norm rms_norm --positions rotary --feed-forward swiglu --no-bias \\
      --qk-norm --windows 32 all --experts 8

on two machines (extra mpi):
  mpirun -n 2 --host one,two --bind-to none python -m minitransformer train --text book.txt --batch-size 24
"""

NOTES = """\
The folder of the run contains

  model.npz       the model with its tokenizer; also the checkpoint to resume from
  metrics.jsonl   the loss of every step and other events, one JSON object per line
  loss.png        a picture of the loss, if matplotlib is installed
  corpus.*        the tokens of a text of more than four million characters, which the next run on it reads

Ctrl-C, SIGTERM or a closed terminal stops the run after the current step, and saves it. --resume continues from
there, or from the last checkpoint if the process was killed, and ends with weights that are bit-identical to those
of an uninterrupted run.

All cores share each batch. Each of the --replicas of the model is a process, and so is each rank that mpirun
starts. Their numbers change the last bits of the result. --resume works with any number of ranks. If mpirun
receives SIGTERM or loses a rank, or if a step takes long after Ctrl-C, the steps since the last checkpoint are lost.
"""

DEFAULT_OUT = "runs/train"
KINDS = ("char", "byte", "bpe")
DEFAULT_TOKENIZER, DEFAULT_VOCAB_SIZE = "char", 1000
TRAINING_DEFAULTS = {"sample_every": 500}


def add_arguments(parser) -> None:
    files = parser.add_argument_group("text and folder")
    words = f"UTF-8 files, or - for standard input; the last tenth is held out (default: {DEFAULT_CORPUS})"
    several(files, "--text", words, "FILE")
    run_options(files, DEFAULT_OUT, "loss.png")
    words = f"values to begin with, which other options replace (default: nanogpt): {', '.join(RECIPES)}"
    files.add_argument("--recipe", choices=RECIPES, metavar="NAME", help=words)

    tokens = parser.add_argument_group("tokenizer")
    words = f"char, byte or bpe, or the tokenizer in a file or in the folder of a model (default: {DEFAULT_TOKENIZER})"
    option(tokens, "--tokenizer", words, metavar="KIND")
    words = f"number of tokens that bpe learns, at least 256 (default: {DEFAULT_VOCAB_SIZE})"
    option(tokens, "--vocab-size", words, metavar="N", limits={"minimum": 256})

    model = parser.add_argument_group("model")
    add_fields(model, Config, ("n_layers", "n_heads", "d_model", "context"), **MODEL)
    add_fields(model, Config, ("d_ff", "n_kv_heads", "d_head", "norm", "feed_forward", "positions"))
    no = {"action": "store_false", "default": argparse.SUPPRESS}
    model.add_argument("--no-bias", dest="bias", help="use linear layers without biases", **no)
    words = "use an unembedding that is separate from the embedding"
    model.add_argument("--untied", dest="tie_embeddings", help=words, **no)
    add_fields(model, Config, ("dropout", "dtype"))
    modern = parser.add_argument_group("model, after 2023")
    add_fields(modern, Config, ("block", "qk_norm", "qk_norm_over", "windows", "sinks", "attention_cap", "logit_cap"))
    add_fields(modern, Config, ("n_experts", "n_active", "mixers", "d_latent", "rotary_fraction"))

    training = parser.add_argument_group("training")
    pays = "one per core, but at most one per window; 1 without threadpoolctl"
    add_fields(training, Settings, ("steps", "batch_size", "accumulate", "replicas"), replicas=pays)
    add_fields(training, Settings, ("lr", "min_lr", "warmup", "optimizer", "muon_lr"))
    for i, averaged in enumerate(("the gradient", "the squared gradient")):
        words = f"averaging rate of {averaged} in AdamW (default: {Settings.betas[i]})"
        training.add_argument(f"--beta{i + 1}", type=float, default=argparse.SUPPRESS, metavar="X", help=words)
    add_fields(training, Settings, ("weight_decay", "decay_embeddings", "clip", "balance_rate", "balance_weight"))
    add_fields(training, Settings, ("eval_every", "eval_tokens"))
    add_fields(training, Settings, ("checkpoint_every", "sample_every", "sample_prompt", "seed"), **TRAINING_DEFAULTS)


def run(arguments) -> int:
    ranks = world()
    if not ranks.first:
        arguments.quiet = arguments.no_plot = True
        warnings.simplefilter("ignore")
    with ranks.failing_together(), ranks.at_work_in(arguments.out):
        narrator = Narrator(arguments.quiet)
        config, tokenizer, corpus, settings, about = ranks.from_first(lambda: prepare(arguments, narrator))
        tune_for(config)
        lm = LanguageModel(Transformer(config, settings.seed), tokenizer)
        announced = announcement(lm, corpus, settings, arguments.out)
        keywords = run_keywords(arguments, about, announced) | {"communicator": ranks.communicator}
        with resumable(arguments.out, about):
            records = pretrain(lm, corpus, settings, **keywords)
        if ranks.first:
            summarise(narrator, records, arguments.out)
            show_to_the_letter(arguments.out / MODEL_FILE)
    return 0


def prepare(arguments, narrator):
    checkpoint = existing_run(arguments)
    config = given_config(arguments, checkpoint)
    settings = given_settings(arguments, config, checkpoint)
    about = given_text(arguments, checkpoint)
    text = TextFiles(about["text"]) if about["text"] else default_corpus()
    name = getattr(text, "name", DEFAULT_CORPUS)
    with resumable(arguments.out, about):
        if checkpoint is None:
            tokenizer = make_tokenizer(about, text, name, narrator)
            config = dataclasses.replace(config, vocab_size=tokenizer.vocab_size)
        else:
            tokenizer = checkpoint.tokenizer
            narrator.say(f"resuming after step {checkpoint.training['step']} of {settings.steps}, in {arguments.out}")
        folders = [arguments.out, about["tokenizer"]]  # a run whose tokenizer is used may keep the ids of its text
        with narrator.progress("tokenizing", "characters") as progress:
            corpus = kept_corpus(text, tokenizer, folders, name=name, say=narrator.say, progress=progress)
        return config, tokenizer, corpus, settings, about


def given_config(arguments, checkpoint) -> Config:
    before = Config(vocab_size=1, **MODEL) if checkpoint is None else checkpoint.config
    given = recipe_of(arguments).model | given_fields(arguments, Config)
    given["vocab_size"] = before.vocab_size  # replaced by that of the tokenizer
    return chosen(before, given, checkpoint)


def given_settings(arguments, config, checkpoint) -> Settings:
    given = recipe_of(arguments).settings | given_fields(arguments, Settings)
    before = Settings(**TRAINING_DEFAULTS) if checkpoint is None else checkpoint.settings
    has_muon = given.get("optimizer", before.optimizer) == "muon"
    refuse_without(has_muon, "--optimizer muon", muon_lr=given.get("muon_lr"))
    balances = {name: given.get(name) for name in ("balance_rate", "balance_weight")}
    refuse_without(config.n_experts, "--experts", **balances)
    beta1, beta2 = before.betas
    given["betas"] = getattr(arguments, "beta1", beta1), getattr(arguments, "beta2", beta2)
    if checkpoint is None:
        share = -(-given.get("batch_size", before.batch_size) // world_size())
        given.setdefault("replicas", replicas_that_pay(share, cores_of_a_rank()))
    return chosen(before, given, checkpoint)


def recipe_of(arguments) -> Recipe:
    return RECIPES.get(arguments.recipe, Recipe("of the options"))


def given_text(arguments, checkpoint) -> dict:
    """Return the arguments, other than the configuration and the settings, that the checkpoint records."""
    if checkpoint is None:
        kind = arguments.tokenizer or DEFAULT_TOKENIZER
        refuse_without(kind == "bpe", f"--tokenizer bpe, not with {kind}", vocab_size=arguments.vocab_size)
        if kind not in KINDS and not Path(kind).exists():
            raise ValueError(f"--tokenizer must be {', '.join(KINDS)}, or an existing file or folder, not {kind!r}")
        vocab_size = arguments.vocab_size
        if kind == "bpe" and vocab_size is None:
            vocab_size = DEFAULT_VOCAB_SIZE
        return {"text": arguments.text, "tokenizer": kind, "vocab_size": vocab_size}
    about = recorded_arguments(checkpoint, arguments, ("tokenizer", "vocab_size"))
    return about | {"text": arguments.text or remembered_files(checkpoint, "text")}


def make_tokenizer(about, text, name, narrator):
    if about["tokenizer"] not in KINDS:
        return tokenizer_in(about["tokenizer"])
    if about["tokenizer"] == "byte":
        return ByteTokenizer()
    narrator.say(f"training a tokenizer ({about['tokenizer']}) on {name}")
    with narrator.progress("reading", "characters") as progress:
        chunks = reported(chunks_of(text), 0, None, progress)
        if about["tokenizer"] == "char":
            return CharTokenizer.train(chunks)
        with narrator.progress("learning", "tokens") as learning:
            return BPETokenizer.train(chunks, about["vocab_size"], learning)


def tokenizer_in(path) -> Tokenizer:
    """Load the tokenizer in a file that `Tokenizer.save` or a run wrote, or in the folder of a run or of a model.

    A folder may have the Hugging Face layout, also without a model. Raises OSError or ArchiveError.
    """
    from minitransformer.interop.tokenizers import tokenizer_from_folder

    path = Path(path)
    if path.suffix == ".json":
        return Tokenizer.load(path)
    if path.is_dir() and not (path / MODEL_FILE).exists():
        if (tokenizer := tokenizer_from_folder(path)) is None:
            raise ArchiveError(f"{path}: the folder contains neither {MODEL_FILE} nor a tokenizer")
        return tokenizer
    with open_archive(model_file(path)) as archive:
        return described_model(archive)[1]


def announcement(lm, corpus, settings, out) -> tuple[str, ...]:
    config, tokenizer = lm.model.config, lm.tokenizer
    workers = [f"{n} {what}" for n, what in ((world_size(), "ranks"), (settings.replicas, "replicas")) if n > 1]
    return (
        f"text: {corpus.characters:,} characters, as {len(corpus.train_ids):,} tokens to train on and "
        f"{len(corpus.val_ids):,} to validate, of a vocabulary of {tokenizer.vocab_size:,} ({tokenizer.kind})",
        f"model: {config.n_layers} layers, {config.n_heads} heads, width {config.d_model}, context {config.context}; "
        f"{lm.model.n_parameters():,} parameters, {lm.model.flops_per_token() / 1e6:,.1f} MFLOP per token",
        f"training: {settings.steps:,} steps of {settings.accumulate * settings.batch_size} × {config.context} tokens, "
        f"{'shared by ' + ' of '.join(workers) + ', ' if workers else ''}into {out}",
    )


def summarise(narrator, records, out) -> None:
    last = records[-1] if records else {}
    between = [b - a for a, b in pairwise(record["seconds"] for record in records if "seconds" in record)]
    loss = f", validation loss {last['val_loss']:.4f}" if "val_loss" in last else ""
    pace = f", {1000 * statistics.median(between):.1f} ms a step" if between else ""
    narrator.say(f"finished after {last.get('step', 0):,} steps{loss}{pace}; generate --model {out} writes text")


def resumable(out, about):
    """Return a context manager that adds the command that resumes the run to the message of Ctrl-C.

    The command contains --text if the text was read from a pipe.
    """
    given = [about["text"]] if isinstance(about["text"], str) else about["text"] or []
    text = f" --text {shlex.join(given)}" if any(file == "-" or is_stream(file) for file in given) else ""
    return how_to_resume("train", out, text)
