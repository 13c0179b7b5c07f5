"""Small sound files, one of each kind that the package reads, for tests that damage them or give them to commands."""

import json

import pytest
from gguf_models import COMMON, write_gguf
from safetensors_files import LLAMA, byte_lm, save_random, shard
from small_chats import SMOLLM2, chat_lm, chat_tokenizer
from small_pairs import ROWS
from small_runs import SETTINGS, TEXT, At, small_corpus, small_lm
from strategies import random_model

from minitransformer import ByteTokenizer, CharTokenizer, Config, LanguageModel, Transformer
from minitransformer.interop import save_pretrained
from minitransformer.text import NoTokenizer, PatternTokenizer
from minitransformer.text.gpt2_files import spell
from minitransformer.training import FineTuningSettings, LowRank, fine_tune, fine_tune_for_safety, pretrain


def save_sound_files(folder):
    """Save them all to a folder."""
    (folder / "book.txt").write_text(TEXT)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:9]))
    (folder / "template.jinja").write_text(SMOLLM2)
    small_lm().save(folder / "small.npz")
    llama = LLAMA | {"n_kv_heads": 1, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    small_lm(dtype="float64", **llama).save(folder / "llama.npz")
    small_lm(positions="sinusoidal", tie_embeddings=False, feed_forward="relu").save(folder / "sinusoidal.npz")
    LanguageModel(Transformer(Config(9, 8, d_model=8, n_heads=2)), NoTokenizer(9)).save(folder / "wordless.npz")
    chat_lm(context=64).save(folder / "chat.npz")
    save_runs(folder)
    save_folders_of_the_hub(folder)
    save_gguf_files(folder)
    save_tokenizers(folder)


def save_runs(folder):
    """Save runs that were stopped, of each kind, with something left to do."""
    about = {"text": [str(folder / "book.txt")], "tokenizer": "char", "vocab_size": None}
    stop = At(8, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=folder / "run", observer=stop, about=about)
    settings = FineTuningSettings(steps=12, batch_size=3, trainable=1, checkpoint_every=3, eval_every=4)
    about = {"model": str(folder / "small.npz"), "text": about["text"], "data": None}
    with pytest.raises(ZeroDivisionError):
        fine_tune(small_lm(), TEXT, settings, out=folder / "tuned", observer=stop, about=about)
    about = {"model": str(folder / "small.npz"), "data": str(folder / "pairs.jsonl"), "general": [about["text"][0]]}
    options = {"steps": 12, "batch_size": 2, "trainable": LowRank(2), "checkpoint_every": 3, "prompts": ["cat"]}
    with pytest.raises(ZeroDivisionError):
        fine_tune_for_safety(
            small_lm(context=24), folder / "pairs.jsonl", general_text=TEXT, out=folder / "preferring", observer=stop,
            about=about, **options,
        )  # fmt: skip


def save_folders_of_the_hub(folder):
    """Save models in the Hugging Face layout: a GPT-2, a Llama in two shards, and with tokenizers of several kinds."""
    save_random("gpt2", folder / "gpt2")
    save_random("llama multi-query, scaled", folder / "shards")
    shard(folder / "shards", 2)
    save_pretrained(byte_lm(), folder / "bytes")
    tokenizer = chat_tokenizer()
    config = Config(tokenizer.vocab_size, 32, d_model=8, n_heads=2, n_layers=1, feed_forward="gelu_tanh")
    save_pretrained(LanguageModel(Transformer(config), tokenizer), folder / "talks")
    (folder / "talks" / "chat_template.jinja").write_text(SMOLLM2)


def save_gpt2_files(folder):
    """Save a vocabulary in GPT-2's two files."""
    tokenizer = chat_tokenizer()
    special = {i: text for text, i in tokenizer.special_tokens.items()}
    spelled = [special.get(i, spell(token)) for i, token in enumerate(tokenizer.tokens)]
    (folder / "encoder.json").write_text(json.dumps({token: i for i, token in enumerate(spelled)}))
    pairs = "".join(f"{spell(left)} {spell(right)}\n" for left, right in tokenizer.merges)
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{pairs}", encoding="utf-8")


def save_gguf_files(folder):
    """Save a Llama, and a GPT-2 that talks, as GGUF."""
    sizes = {"context": 16, "d_model": 32, "n_heads": 2, "n_layers": 1, "d_ff": 32}
    config = Config(**COMMON | sizes, **LLAMA, rope_scaling={"rope_type": "linear", "factor": 4.0})
    write_gguf(folder / "llama.gguf", random_model(config), "Q8_0")
    tokenizer = chat_tokenizer()
    config = Config(**COMMON | sizes | {"vocab_size": tokenizer.vocab_size}, feed_forward="gelu_tanh")

    def add_tokenizer(writer):
        special = {i: text for text, i in tokenizer.special_tokens.items()}
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([special.get(i, spell(token)) for i, token in enumerate(tokenizer.tokens)])
        writer.add_token_types([3 if i in special else 1 for i in range(tokenizer.vocab_size)])
        writer.add_token_merges([f"{spell(left)} {spell(right)}" for left, right in tokenizer.merges])
        writer.add_eos_token_id(tokenizer.end_ids[0])
        writer.add_chat_template(SMOLLM2)

    write_gguf(folder / "talks.gguf", random_model(config), change=add_tokenizer)


def save_tokenizers(folder):
    """Save a tokenizer of each kind."""
    (folder / "tokenizers").mkdir()
    kinds = CharTokenizer.train(TEXT), ByteTokenizer(), chat_tokenizer(), PatternTokenizer(), NoTokenizer(9)
    for tokenizer in kinds:
        tokenizer.save(folder / "tokenizers" / f"{tokenizer.kind}.json")
    save_gpt2_files(folder)
