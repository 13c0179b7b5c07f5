"""Whatever a file holds: it is read whole, or refused in one line that names it, in little time and memory.

Every format that is read, damaged in every way that damage.py knows, through the library and through the commands. A
file whose checksums or texts do not show the damage may be read; the model must then work, and one that has checksums
must equal the original.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import damage
import numpy as np
import pytest
from forked import (
    MEGABYTE,
    Limits,
    called,
    complaints_about_end,
    copied,
    faults,
    in_a_process,
    trials,
)
from hypothesis import given, note, strategies as st
from refusals import REFUSED, refused, render
from small_chats import chat_tokenizer

from minitransformer import BPETokenizer, ByteTokenizer, LanguageModel
from minitransformer.interop import load_pretrained
from minitransformer.text import TextFiles, Tokenizer, tokenize_corpus
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.finetuning.preferences import read_preferences

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


# Uses of a file. Each returns faults: a file is refused with a message, or works.


def load(path, same=None):
    """Load a model. A format with checksums must be refused, or give the model `same`."""
    lm, complaints = refused(lambda: LanguageModel.load(path), path)
    if lm is not None:
        complaints += does_not_work(lm) + (differs(lm, same) if same else [])
    return complaints


def does_not_work(lm) -> list[str]:
    """Return the faults of a loaded model: its parameters, logits, tokenizer and generated text."""
    config, complaints = lm.model.config, []
    for name, parameter in lm.model.named_parameters():
        if parameter.data.dtype != config.dtype or not parameter.data.flags.writeable:
            complaints.append(f"half loaded: {name}")
    with np.errstate(all="ignore"):
        ids = np.arange(min(config.vocab_size, config.context, 5))
        logits = lm.model.predict(ids)
        if logits.shape != (len(ids), config.vocab_size) or logits.dtype != config.dtype:
            complaints.append(f"half loaded: logits {logits.dtype} {logits.shape}")
        complaints += wrong_tokenizer(lm.tokenizer)
        for ask in (lambda: lm.generate("the cat", 3, temperature=0), lambda: lm.tokenizer.decode(ids[:1])):
            complaints += refused(ask, Path(), names=[""])[1]
    return complaints


def wrong_tokenizer(tokenizer) -> list[str]:
    """Return the faults of a loaded tokenizer."""
    V, complaints = tokenizer.vocab_size, []
    ids = [*tokenizer.end_ids, *([] if tokenizer.bos_id is None else [tokenizer.bos_id])]
    if type(V) is not int or V < 1:
        complaints.append(f"accepted: a tokenizer of {V!r} tokens")
    elif any(type(i) is not int or not 0 <= i < V for i in ids):
        complaints.append(f"accepted: ids of special tokens {ids!r}, of {V} tokens")
    names = tokenizer.token_names
    if not all(isinstance(text, str) for item in names.items() for text in item):
        complaints.append(f"accepted: names of special tokens {names!r}")
    if not isinstance(tokenizer.chat_template, str | None):
        complaints.append(f"accepted: a chat template {tokenizer.chat_template!r}")
    complaints += refused(lambda: tokenizer.encode("the cat, Ünï 猫"), Path(), names=[""])[1]
    if tokenizer.chat_template is not None and not complaints:
        complaints += render(tokenizer)
    return complaints


def differs(lm, same) -> list[str]:
    """Return the differences between a model and the saved one."""
    complaints = [
        f"read without a word, and another: {name}"
        for (name, one), (_, other) in zip(lm.model.named_parameters(), same.model.named_parameters(), strict=True)
        if one.data.tobytes() != other.data.tobytes()
    ]
    if lm.model.config != same.model.config or lm.tokenizer.to_dict() != same.tokenizer.to_dict():
        complaints.append("read without a word, and another: its configuration or its tokenizer")
    return complaints


def read_checkpoint(path, same=None):
    """Take a checkpoint apart."""
    return refused(lambda: Checkpoint.read(path), path)[1]


def read_text(path, same=None):
    """Read a text and encode it."""
    return refused(lambda: tokenize_corpus(TextFiles(path), ByteTokenizer()), path)[1]


def read_tokenizer(path, same=None):
    """Load a tokenizer."""
    tokenizer, complaints = refused(lambda: Tokenizer.load(path), path)
    return complaints + (wrong_tokenizer(tokenizer) if tokenizer is not None else [])


def read_gpt2_files(path, same=None):
    """Load a tokenizer from GPT-2's two files."""
    files = [path.with_name(name) for name in ("encoder.json", "vocab.bpe")]
    tokenizer, complaints = refused(lambda: BPETokenizer.from_gpt2(*files), path, names=[file.name for file in files])
    return complaints + (wrong_tokenizer(tokenizer) if tokenizer is not None else [])


def read_pairs(path, same=None):
    """Read pairs of responses."""
    return refused(lambda: read_preferences(path), path, errors=(*REFUSED, TypeError))[1]


def read_folder(path, same=None):
    """Load the Hugging Face model in the folder of a file. Messages name a file there."""
    lm, complaints = refused(lambda: load_pretrained(path.parent), path, names=[path.parent.name])
    return complaints + (does_not_work(lm) if lm is not None else [])


def read_template(path, same=None):
    """Have a conversation written by a template."""
    return render(chat_tokenizer(chat_template=path.read_text(encoding="utf-8", errors="replace")))


# The damaged files, and their uses: by the library, or by commands, one in each trial.

MODEL = """\
info {}
info {} --json
generate --model {} --prompt cat --max-new-tokens 3
verify {} --text cat
analyze {} --text cat --json --quiet
influence {} --prompt cat --text book.txt --passages 25 --answer-tokens 2 --quiet
finetune {} --text book.txt --out new --steps 2 --last-blocks 1 --quiet --no-plot
""".splitlines()
CHAT = [*MODEL, "chat --model {} --max-new-tokens 3"]
RESUME = ["train --out {} --resume --quiet --no-plot", "info {}"]
RUN = [*RESUME, "influence {} --prompt cat --passages 25 --answer-tokens 2 --quiet"]
TUNE = ["finetune --out {} --resume --quiet --no-plot", "info {}"]
PAIRS = "finetune small.npz --data {} --general book.txt --steps 2 --out new --quiet --no-plot"
BOOK = "train --text {} --out new --layers 1 --width 8 --heads 2 --context 8 --steps 2 --replicas 1 --quiet --no-plot"


@dataclass(frozen=True)
class Kind:
    """A sound file, its kinds of damage, the function that reads it, and the commands that read it.

    In a command {} stands for `given`, which is the file itself unless it says otherwise. `sealed`: it has checksums.
    `memory`: the bytes that reading it may take.
    """

    file: str
    inside: Callable
    read: Callable | None
    commands: tuple | list = ()
    given: str | None = None
    sealed: bool = False
    memory: int = Limits.memory


RENDERING = 1024 * MEGABYTE  # a template may take memory, though not without limit
SMALL = Kind("small.npz", damage.npz, load, MODEL, sealed=True)
RUN_FILE = Kind("run/model.npz", damage.npz, read_checkpoint, RUN, "run", sealed=True)
GPT2 = Kind("gpt2/config.json", damage.json_file, read_folder, MODEL, "gpt2")
LLAMA_FOLDER = replace(GPT2, file="shards/config.json", given="shards")
TALKS = Kind("talks/config.json", damage.json_file, read_folder, CHAT, "talks")
TOKENIZER = Kind("tokenizers/char.json", damage.json_file, read_tokenizer)
KINDS = {
    "a model": SMALL,
    "a model in double precision": replace(SMALL, file="llama.npz"),
    "a model of sinusoidal positions": replace(SMALL, file="sinusoidal.npz"),
    "a model without words": replace(SMALL, file="wordless.npz"),
    "a model that talks": replace(SMALL, file="chat.npz", commands=CHAT),
    "a run": RUN_FILE,
    "a run on a text": replace(RUN_FILE, file="tuned/model.npz", commands=TUNE, given="tuned"),
    "a run on pairs": replace(RUN_FILE, file="preferring/model.npz", commands=TUNE, given="preferring"),
    "the state of a run": replace(RUN_FILE, inside=damage.training_state, read=None),
    "the state of a run on pairs": Kind("preferring/model.npz", damage.training_state, None, TUNE, "preferring", True),
    "metrics": Kind("run/metrics.jsonl", damage.lines, None, RESUME[:1], "run"),
    "metrics of a run on pairs": Kind("preferring/metrics.jsonl", damage.lines, None, TUNE[:1], "preferring"),
    "config.json of a GPT-2": GPT2,
    "config.json of a Llama": LLAMA_FOLDER,
    "config.json beside a tokenizer": TALKS,
    "safetensors": replace(GPT2, file="gpt2/model.safetensors", inside=damage.safetensors),
    "the index": replace(LLAMA_FOLDER, file="shards/model.safetensors.index.json"),
    "a shard": replace(LLAMA_FOLDER, file="shards/model-00001-of-00002.safetensors", inside=damage.safetensors),
    "tokenizer.json": replace(TALKS, file="talks/tokenizer.json"),
    "tokenizer.json of bytes": replace(GPT2, file="bytes/tokenizer.json", given="bytes"),
    "tokenizer_config.json": replace(TALKS, file="talks/tokenizer_config.json"),
    "chat_template.jinja": replace(TALKS, file="talks/chat_template.jinja", inside=damage.template, memory=RENDERING),
    "GGUF of a Llama": Kind("llama.gguf", damage.gguf, load, MODEL),
    "GGUF that talks": Kind("talks.gguf", damage.gguf, load, CHAT),
    "encoder.json": replace(TOKENIZER, file="encoder.json", read=read_gpt2_files),
    "vocab.bpe": replace(TOKENIZER, file="vocab.bpe", inside=damage.lines, read=read_gpt2_files),
    "a tokenizer of characters": TOKENIZER,
    "a tokenizer of bytes and pairs": replace(TOKENIZER, file="tokenizers/bpe.json"),
    "a tokenizer of nothing": replace(TOKENIZER, file="tokenizers/none.json"),
    "pairs of responses": Kind("pairs.jsonl", damage.lines, read_pairs, [PAIRS]),
    "a text": Kind("book.txt", damage.lines, read_text, [BOOK]),
    "a chat template": Kind("template.jinja", damage.template, read_template, memory=RENDERING),
}
OTHERS = ("book.txt", "small.npz", "encoder.json", "vocab.bpe")  # which are there as well


@trials(3)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(sound, finished, name, seed):
    kind, random = KINDS[name], Random(seed)
    inside = random.random() < 0.7
    content, about = (kind.inside if inside else damage.bytes_of_any_file)((sound / kind.file).read_bytes(), random)
    note(about)
    same = kind.sealed and not inside
    limits = Limits(memory=kind.memory)
    with TemporaryDirectory() as folder:
        path = copied({kind.file.partition("/")[0], *OTHERS}, sound, Path(folder)) / kind.file
        path.write_bytes(content)
        if kind.read is None or (kind.commands and random.random() < 0.25):
            command = random.choice(kind.commands).format(kind.given or kind.file)
            note(command)
            ended = in_a_process(partial(called, command), folder=folder, limits=limits)
            names = [path.name, kind.given or kind.file] if must_be_named(kind, path, ended.err) else []
            complaints = [*ended.complaints(), *complaints_about_end(ended, names)]
            if ended.status == 0 and "--resume" in command:
                complaints += not_finished(Path(folder) / kind.given, finished[kind.given] if same else None)
        else:
            expected = LanguageModel.load(sound / kind.file) if same else None
            complaints = faults(in_a_process(partial(kind.read, path, expected), limits=limits))
    assert complaints == []


def must_be_named(kind, path, line) -> bool:
    """Whether the line of a command is about the file, not about a text that it cannot read, or the model's numbers."""
    if kind.read not in (load, read_folder):
        return not re.search(r"unknown character|not finite|error: \S.*: (No such file|\w+ a directory)", line)
    model = path if kind.given is None else path.parent
    return in_a_process(lambda: 0 if LanguageModel.load(model) else 1).status != 0


@pytest.fixture(scope="module")
def finished(sound, tmp_path_factory):
    """The models of the runs, by folder, when they were resumed and are over."""
    folder = tmp_path_factory.mktemp("finished")
    models = {}
    for name, command in {"run": RESUME[0], "tuned": TUNE[0], "preferring": TUNE[0]}.items():
        shutil.copytree(sound / name, folder / name)
        ended = in_a_process(partial(called, command.format(name)), folder=folder)
        assert ended.status == 0, ended.err
        models[name] = LanguageModel.load(folder / name)
    return models


def not_finished(folder, same) -> list[str]:
    """Return the faults of a finished run; `same`, if any, is the expected model."""
    checkpoint = Checkpoint.read(folder / "model.npz")
    if checkpoint.training["step"] != checkpoint.settings.steps:
        return [f"over, and at step {checkpoint.training['step']!r} of {checkpoint.settings.steps}"]
    lm = LanguageModel.load(folder)
    return does_not_work(lm) + (differs(lm, same) if same else [])
