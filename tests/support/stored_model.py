"""The small model that the book stores: how its file was made, and the text that it was trained on, if it is there.

`python tests/support/stored_model.py RUN TEXT` stores the model of a run on tiny Shakespeare.
"""

import sys
from pathlib import Path

import numpy as np

from minitransformer import LanguageModel
from minitransformer.book.reading import STORED
from minitransformer.language_model import mean_loss
from minitransformer.system.archive import open_archive
from minitransformer.training.checkpoints import Checkpoint

SHAKESPEARE = Path(__file__).parents[3] / "shared" / "tinyshakespeare.txt"
COMMAND = (
    "minitransformer train --text tinyshakespeare.txt --recipe fast --tokenizer bpe --vocab-size 512 --layers 3 "
    "--width 64 --steps 3000 --seed 0 --replicas 1"
)
SENTENCE = "And it I will have, or I will have none."
PASSAGE = 6000  # characters, with the sentence near their middle


def held_out(text):
    """Return the last tenth of a text, on which `train` does not train."""
    return text[len(text) * 9 // 10 :]


def rounded(weights):
    """Return float32 weights with the 8 leading bits of each significand; the file is then half as long."""
    bits = weights.view(np.uint32).astype(np.uint64) + 0x8000
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def store(run, text):
    lm, held = LanguageModel.load(run), held_out(text)
    for parameter in lm.model.parameters():
        parameter.data = rounded(parameter.data)
    at = held.index(SENTENCE) - PASSAGE // 2
    passage = held[at : at + PASSAGE]
    facts = {"command": COMMAND, "sentence": SENTENCE, "passage": passage}
    facts["seconds"] = Checkpoint.read(Path(run) / "model.npz").training["seconds"]
    facts |= {"loss": mean_loss(lm.model, lm.encode(held)), "tokens": len(lm.encode(held))}
    facts["loss_of_passage"] = mean_loss(lm.model, lm.encode(passage))
    lm.save(STORED, extra_description={"trained": facts})
    with open_archive(STORED) as archive:
        arrays = archive.read(archive.members)
    with np.load(STORED) as members:
        description = members["description"]
    np.savez_compressed(STORED, description=description, **arrays)


if __name__ == "__main__":
    store(sys.argv[1], Path(sys.argv[2]).read_text("utf-8"))
