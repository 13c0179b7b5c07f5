"""The ids of a long text, stored in a folder, so that the next run with the same text need not encode it again.

    corpus.json             a digest of the text and the tokenizer, and one of the ids
    corpus-train.npy        the ids of the two splits, which are memory-mapped when they are read
    corpus-validation.npy

A folder contains the ids of one text. If the text, the tokenizer or a file differs, the text is encoded again.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from minitransformer.system.files import write_atomically, write_json
from minitransformer.text.chunks import chunks_of
from minitransformer.text.corpora import Corpus, tokenize_corpus

LONG = 4_000_000  # characters; a shorter text is encoded within a few seconds, and is not kept
FACTS_FILE, TRAIN_FILE, VALIDATION_FILE = "corpus.json", "corpus-train.npy", "corpus-validation.npy"


def kept_corpus(text, tokenizer, folders, *, name=None, say=lambda line: None, progress=None) -> Corpus:
    """Return the Corpus of a text as tokenize_corpus does, if possible from the ids that a folder contains.

    If no folder contains them and the text is long, they are written to the first folder. say(line) is called with a
    line about the next step. The other arguments, and the exceptions, are those of tokenize_corpus.
    """
    name = name or getattr(text, "name", "the text")
    key, characters = digest(text, tokenizer)
    if characters >= LONG:
        for folder in folders:
            if (corpus := read(Path(folder), key, tokenizer, name, characters)) is not None:
                say(f"reading the tokens of {name} from {folder}")
                return corpus
    say(f"tokenizing {name}")
    corpus = tokenize_corpus(text, tokenizer, name=name, progress=progress)
    if characters < LONG:
        return corpus
    write(Path(folders[0]), key, corpus)
    return read(Path(folders[0]), key, tokenizer, name, characters) or corpus


def digest(text, tokenizer) -> tuple[str, int]:
    """Return the SHA-256 of a text and a tokenizer, and the number of characters in the text."""
    found, characters = hashlib.sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode()), 0
    for chunk in chunks_of(text):
        found.update(chunk.encode("utf-8", "surrogatepass"))
        characters += len(chunk)
    return found.hexdigest(), characters


def write(folder: Path, key: str, corpus: Corpus) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, ids in ((TRAIN_FILE, corpus.train_ids), (VALIDATION_FILE, corpus.val_ids)):
        write_atomically(folder / name, lambda file, ids=ids: np.save(file, ids, allow_pickle=False))
    write_json(folder / FACTS_FILE, {"text and tokenizer": key, "ids": corpus.fingerprint})


def read(folder: Path, key: str, tokenizer, name: str, characters: int) -> Corpus | None:
    """Load the Corpus of a text from a folder. Return None if the ids are missing, damaged or of another text."""
    try:
        facts = json.loads((folder / FACTS_FILE).read_bytes())
        if facts["text and tokenizer"] != key:
            return None
        files = TRAIN_FILE, VALIDATION_FILE
        mapped = (np.load(folder / file, mmap_mode="r", allow_pickle=False) for file in files)
        train_ids, val_ids = map(tokenizer.check_ids, mapped)
        corpus = Corpus(train_ids, val_ids, name, characters)
        return corpus if corpus.fingerprint == facts["ids"] else None
    except (OSError, EOFError, ValueError, TypeError, KeyError, RecursionError):
        return None
