"""A model learns to write from the Python manual, in about a minute."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradcheck.front.streams import show
from minitransformer.analysis import attention_weights, draw_attention, shown, token_strings
from minitransformer.config import Config
from minitransformer.experiments.demonstration.narration import heading, paragraph, quoted, see, watcher
from minitransformer.language_model import LanguageModel
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, default_corpus, tokenize_corpus
from minitransformer.training import LOSS_FILE, MODEL_FILE, Settings, pretrain
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.replicas import replicas_that_pay
from minitransformer.transformer import Transformer

ATTENTION_FILE = "attention.png"
BATCH_SIZE = 12
PROMPT, TEMPERATURE = "The", 0.4  # at 0.8 many sentences fall apart
SENTENCE = "A class definition defines a class object, and a function definition defines a function object."
ABOUT = {"command": "demo"}  # stored in the model's file


@dataclass(frozen=True)
class Lesson:
    characters: int | None  # number of characters of the corpus to use, or None for all
    vocab_size: int
    steps: int
    reports: int  # number of losses shown after the initial one


FULL = Lesson(characters=None, vocab_size=1000, steps=1000, reports=10)
QUICK = Lesson(characters=40_000, vocab_size=400, steps=20, reports=2)


def learn_to_write(out: Path, seed: int, lesson: Lesson, drawn: bool) -> tuple[LanguageModel, list[dict], str]:
    """Return the trained model, the records of its metrics, and the reason why validation lies above training."""
    heading("3  A transformer learns to write")
    text = default_corpus()[: lesson.characters]
    tokenizer = BPETokenizer.train(text, lesson.vocab_size)
    corpus = tokenize_corpus(text, tokenizer, name=DEFAULT_CORPUS)
    config = Config(tokenizer.vocab_size, context=64, d_model=128, n_heads=4, n_layers=3, positions="rotary")
    lm = LanguageModel(Transformer(config, seed), tokenizer)
    tokens = f"{tokenizer.vocab_size:,}"
    paragraph(
        f"The text is {DEFAULT_CORPUS}: {len(text):,} characters of English and code. A model sees tokens instead of "
        f"letters. These {tokens} tokens were learned from the text:"
    )
    show(quoted("|".join(tokenizer.decode([i]) for i in tokenizer.encode(SENTENCE))) + "\n")
    paragraph(
        f"The model has {config.n_layers} blocks of {config.n_heads} heads, with {lm.model.n_parameters():,} random "
        "parameters. Its only task is to predict the next token. The loss is the mean of −ln p of the right token, on "
        f"held-out text; a uniform guess among {tokens} tokens has the loss ln {tokens} = "
        f"{np.log(tokenizer.vocab_size):.2f}."
    )
    settings = Settings(
        steps=lesson.steps,
        batch_size=BATCH_SIZE,
        replicas=replicas_that_pay(BATCH_SIZE),
        optimizer="muon",
        lr=3e-3,
        min_lr=0.0,
        eval_every=lesson.steps // lesson.reports,
        eval_tokens=4000,
        checkpoint_every=0,
        sample_every=lesson.steps // 2,
        sample_prompt=PROMPT,
        sample_temperature=TEMPERATURE,
        sample_tokens=100,
        seed=seed,
    )
    resume = (out / MODEL_FILE).exists()
    if resume:
        taken = Checkpoint.read(out / MODEL_FILE).training["step"]
        done = f"all {taken} steps, so it is not trained again" if taken == lesson.steps else f"{taken} steps"
        paragraph(f"The model in {out} has already taken {done}.")
    observer = watcher(highest_loss=np.log(tokenizer.vocab_size))
    records = pretrain(lm, corpus, settings, out=out, resume=resume, plot=drawn, observer=observer, about=ABOUT)
    loss = records[-1]["val_loss"]
    paragraph(f"It is now as uncertain as a uniform choice among {np.exp(loss):.0f} tokens instead of {tokens}.")
    reason = ""
    if np.mean([record["loss"] for record in records[-lesson.steps // 10 :]]) < loss:
        times = lesson.steps * BATCH_SIZE * config.context / len(corpus.train_ids)
        reason = (
            f"On the text that it trained on, the loss is lower than on held-out text: it has read this text about "
            f"{times:.0f} times, and remembers parts of it. The held-out text consists of other topics."
        )
        paragraph(reason)
    see(
        out / LOSS_FILE if drawn else None,
        "the loss, falling",
        ("transformer.py", "the model"),
        ("losses.py", "the loss and its gradient"),
        ("muon.py", "the update of the weights"),
        ("training/loop.py", "the loop"),
    )
    return lm, records, reason


def show_attention(lm: LanguageModel, out: Path, drawn: bool) -> None:
    heading("4  The attention of its heads")
    ids = lm.encode(SENTENCE)
    labels = list(map(shown, token_strings(lm.tokenizer, ids)))
    weights = attention_weights(lm.model, ids)
    if drawn:
        title = "Each row is a token. Its blue cells are the earlier tokens that it reads"
        draw_attention(weights, labels, out / ATTENTION_FILE, title=title)
    # Attention to earlier tokens, except to the first token, to which heads direct unused attention.
    links = np.tril(weights, k=-1)[..., 1:]
    block, head, query, key = np.unravel_index(links.argmax(), links.shape)
    paragraph(
        f"Each of the {weights[..., 0, 0].size} heads distributes its attention over the earlier tokens, as it "
        "learned from "
        f"the text. The strongest link in this sentence: in head {head} of block {block}, “{labels[query]}” gives "
        f"{links[block, head, query, key]:.0%} of its attention to “{labels[key + 1]}”."
    )
    see(
        out / ATTENTION_FILE if drawn else None,
        "the attention of every head on one sentence",
        ("layers/attention.py", "attention, and the derivation of its gradient"),
        ("layers/multi_head_attention.py", "several attention heads in parallel"),
        ("hooks.py", "the hooks that recorded them"),
    )
