"""Tokenizers of real models: read from the files of others, written for others, and held against the libraries' own."""

import copy
import json
import sys

import numpy as np
import pytest
from hard_texts import DIGITS, HARD_TEXTS, splitter_of, tricky_text
from hypothesis import given, strategies as st
from transformers_models import import_transformers

from minitransformer import BPETokenizer, ByteTokenizer, CharTokenizer, Config, LanguageModel, Transformer
from minitransformer.interop.tokenizers import library_for, save_tokenizer, tokenizer_from_folder, tokenizer_from_gguf
from minitransformer.system.archive import ArchiveError, archive_errors
from minitransformer.system.extras import MissingExtra
from minitransformer.text import NoTokenizer, PretrainedTokenizer, default_corpus
from minitransformer.text.gpt2_files import unspell

tokenizers = pytest.importorskip("tokenizers")

TEXT = default_corpus()[:30_000] + "\n".join(text[:200] for text in HARD_TEXTS) * 3
CHAT_TEXT = "<|start|>user\nHi there, don't  go<|end|>\n<|start|>日本"
TEMPLATE = "{% for m in messages %}{{ '<|start|>' + m['role'] + m['content'] + '<|end|>' }}{% endfor %}"
SPLITTINGS = ("gpt2", "smollm2", "llama3")
PARTS = ("tokens", "special_tokens", "bos_id", "end_ids", "chat_template", "token_names")


@pytest.fixture(scope="module", params=[True, False], ids=["with a first token", "without"])
def tokenizer(request):
    """A tokenizer with all that one may have: special tokens, a first, two that end, a template."""
    trained = BPETokenizer.train(TEXT, 800)
    texts = ["<|start|>", "<|end|>", "<|stop|>", "日本"]
    special = {text: trained.vocab_size + i for i, text in enumerate(texts)}
    return BPETokenizer(
        [*trained.tokens, *(text.encode() for text in texts)],
        trained.merges,
        special_tokens=special,
        bos_id=special["<|start|>"] if request.param else None,
        end_ids=(special["<|end|>"], special["<|stop|>"]),
        chat_template=TEMPLATE,
        token_names={"bos_token": "<|start|>", "eos_token": "<|end|>", "pad_token": "<|stop|>"},
    )


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def content_of(tokenizer):
    return json.loads(library_for(tokenizer).to_str())


def assert_same(one, other):
    for name in PARTS:
        assert getattr(one, name) == getattr(other, name), name


def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    write_json(tmp_path / "generation_config.json", {"eos_token_id": list(tokenizer.end_ids)})
    again = tokenizer_from_folder(tmp_path)
    assert_same(again, tokenizer)
    save_tokenizer(again, tmp_path)
    assert_same(tokenizer_from_folder(tmp_path), tokenizer)


@pytest.fixture(scope="module")
def pretrained(tokenizer):
    return PretrainedTokenizer(content_of(tokenizer))


def test_it_encodes_and_decodes_exactly_as_our_own_does(tokenizer, pretrained):
    """Two implementations that share nothing: the textbook's, and the library's in Rust."""

    def agree(text):
        ids = pretrained.encode(text)
        assert ids.dtype == np.int64 and ids.tolist() == tokenizer.encode(text).tolist()
        assert pretrained.decode(ids) == text

    for text in [*HARD_TEXTS, TEXT, CHAT_TEXT]:
        agree(text)
        assert pretrained.split_at_special_tokens(text) == tokenizer.split_at_special_tokens(text)
    given(text=tricky_text)(agree)()


@given(data=st.data())
def test_any_ids_are_decoded_as_by_our_own_at_once_and_in_a_stream(tokenizer, pretrained, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert pretrained.decode(ids) == tokenizer.decode(ids)
    assert list(pretrained.decode_stream(ids)) == list(tokenizer.decode_stream(ids))
    assert pretrained.decode_bytes(ids) == tokenizer.decode_bytes(ids)


def test_a_text_in_chunks_has_the_ids_of_the_whole(pretrained):
    (ids,) = pretrained.encode_chunks([TEXT[:7], TEXT[7:11], TEXT[11:300]])
    assert ids.tolist() == pretrained.encode(TEXT[:300]).tolist()
    with pytest.raises(ValueError, match="lone surrogates"):
        pretrained.encode("a\ud800")


def test_a_model_with_it_is_saved_with_it_and_without_the_package_the_error_is_one_line(
    pretrained, tmp_path, monkeypatch
):
    config = Config(pretrained.vocab_size, 8, d_model=4, n_heads=1, n_layers=1)
    pretrained.end_ids, pretrained.token_names = (801,), {"eos_token": "<|end|>"}
    LanguageModel(Transformer(config), pretrained).save(tmp_path / "model.npz")
    again = LanguageModel.load(tmp_path / "model.npz").tokenizer
    assert_same(again, pretrained)
    assert again.encode(CHAT_TEXT).tolist() == pretrained.encode(CHAT_TEXT).tolist()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    save_tokenizer(NoTokenizer(5), tmp_path)
    for use in (lambda: LanguageModel.load(tmp_path / "model.npz"), lambda: save_tokenizer(ByteTokenizer(), tmp_path)):
        with pytest.raises(
            MissingExtra, match=r"^tokenizers is not installed: install it with .*\[interop\]"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_bytes_and_characters_come_back(tmp_path):
    for name, original in {"bytes": ByteTokenizer(), "characters": CharTokenizer.train("hello 日本\n\r")}.items():
        (tmp_path / name).mkdir()
        save_tokenizer(original, tmp_path / name)
        again = tokenizer_from_folder(tmp_path / name)
        assert again.vocab_size == original.vocab_size
        assert again.encode("hello 日\n").tolist() == original.encode("hello 日\n").tolist()
    assert isinstance(again, CharTokenizer)


def test_where_there_is_no_tokenizer_none_is_read_and_none_written(tmp_path):
    save_tokenizer(NoTokenizer(5), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tokenizer_from_folder(tmp_path) is None


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer.model"])
def test_a_tokenizer_without_tokenizer_json_is_refused_by_the_name_of_its_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ArchiveError, match=rf"{name}: a tokenizer without tokenizer\.json, which is not supported"):
        tokenizer_from_folder(tmp_path)


@pytest.fixture
def folder(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    return tmp_path


def test_the_ends_of_all_files_are_ends(folder):
    write_json(folder / "tokenizer_config.json", {"eos_token": {"content": "<|end|>"}})
    write_json(folder / "config.json", {"eos_token_id": 5})
    write_json(folder / "generation_config.json", {"eos_token_id": [802, 801]})
    assert tokenizer_from_folder(folder).end_ids == (5, 801, 802)
    write_json(folder / "config.json", {"eos_token_id": 50256})  # which this vocabulary lacks
    write_json(folder / "generation_config.json", {"eos_token_id": None})
    write_json(folder / "tokenizer_config.json", {"eos_token": "</s>"})
    assert tokenizer_from_folder(folder).end_ids == ()


def test_a_template_in_a_file_of_its_own_goes_before(folder):
    write_json(folder / "tokenizer_config.json", {"chat_template": "one"})
    assert tokenizer_from_folder(folder).chat_template == "one"
    named = [{"name": "tool_use", "template": "two"}, {"name": "default", "template": "three"}]
    write_json(folder / "tokenizer_config.json", {"chat_template": named})
    assert tokenizer_from_folder(folder).chat_template == "three"
    (folder / "chat_template.jinja").write_text("日本", encoding="utf-8")
    assert tokenizer_from_folder(folder).chat_template == "日本"


def test_whether_a_token_begins_every_text_is_what_the_configuration_says_last(folder, tokenizer):
    for added, expected in ((True, 801), (False, None), (None, tokenizer.bos_id)):
        write_json(folder / "tokenizer_config.json", {"add_bos_token": added, "bos_token": "<|end|>"})
        assert tokenizer_from_folder(folder).bos_id == expected
    write_json(folder / "tokenizer_config.json", {"add_bos_token": True, "bos_token": "</s>"})
    with pytest.raises(ValueError, match=r"config\.json: add_bos_token is true, but the bos_token '</s>' has no id"):
        tokenizer_from_folder(folder)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"add_eos_token": True}, "add_eos_token True is not supported"),
        ({"add_prefix_space": True}, "add_prefix_space True is not supported"),
        ({"chat_template": 5}, "chat_template must be a string, not 5"),
        ({"eos_token": 5}, "the text of a token must be a string or null, not 5"),
        ({"bos_token": {"text": "a"}}, "damaged .*content"),
    ],
)
def test_a_configuration_that_is_not_supported_is_named(folder, config, words):
    write_json(folder / "tokenizer_config.json", config)
    with pytest.raises(ValueError, match=rf"tokenizer_config\.json: {words}"):
        tokenizer_from_folder(folder)


def changed(content, path, value):
    """Return a copy of a JSON content with one value, at a path of keys, changed or, if value is ..., taken out."""
    content = copy.deepcopy(content)
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return content


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
A, END = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
TEMPLATES = [
    {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}
    for single, ids in (([END, A, END], [801]), ([END, END, A], [801]), ([END, A], [801, 802]))
    for special in [{"<|end|>": {"id": "<|end|>", "ids": ids, "tokens": ["<|end|>"] * len(ids)}}]
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "path, value, words",
    [
        (["model", "type"], "Unigram", "the package tokenizers cannot read it: "),
        (["model", "type"], "WordLevel", "only for a vocabulary of characters in order of code point"),
        (["model", "dropout"], 0.1, r"the model's dropout 0\.1 is not supported"),
        (["pre_tokenizer"], None, "its decoder must be ByteLevel, and so must a step of its pre_tokenizer"),
        (["pre_tokenizer"], METASPACE, "its decoder must be ByteLevel, and so must a step of its pre_tokenizer"),
        (["pre_tokenizer"], {"type": "ByteLevel"}, "the package tokenizers cannot read it: missing field"),
        (["decoder"], {"type": "WordPiece"}, "its decoder must be ByteLevel, .* not WordPiece"),
        (["post_processor"], {"type": "Bert"}, "the package tokenizers cannot read it: "),
        *((["post_processor"], value, "the post_processor is not supported, only one token") for value in TEMPLATES),
        (["model", "vocab", "a"], ..., "the package tokenizers cannot read it: Token `a` out of vocabulary"),
        (["model", "vocab", "a"], 10**9, "the ids must be the integers 0 to 803, each of them once"),
        (["model", "merges", 3], ["a"], "the package tokenizers cannot read it: "),
        (["model", "merges", 3], ["q", "zzz"], "the package tokenizers cannot read it: Token `zzz` out of vocabulary"),
        (["pre_tokenizer"], 3, "its decoder must be ByteLevel"),
        (["decoder"], 3, r"'int' object is not subscriptable"),
        (["model", "vocab"], 3, "the package tokenizers cannot read it: "),
        (["added_tokens"], [3], "'int' object is not a mapping"),
        (["model"], ..., "model must be a dictionary, not None"),
        (["model", "vocab"], ["a"], "the package tokenizers cannot read it: "),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder, tokenizer, path, value, words):
    content = changed(content_of(tokenizer), path, value)
    write_json(folder / "tokenizer.json", content)
    with pytest.raises(ValueError, match=f"{words}") as caught:
        tokenizer_from_folder(folder)
    assert str(caught.value).startswith(f"{folder / 'tokenizer.json'}: ") and "\n" not in str(caught.value)


QWEN = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}|\s+"}, "behavior": "Isolated", "invert": False}
TO_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
SHORTENED = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}


def test_steps_that_the_textbook_does_not_have_are_those_of_the_library(folder, tokenizer):
    content = content_of(tokenizer) | {"normalizer": {"type": "NFC"}, "truncation": SHORTENED}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [QWEN, TO_BYTES]}
    content["added_tokens"][3] |= {"lstrip": True, "special": False}  # which the library would find in every text
    write_json(folder / "tokenizer.json", content)
    ours = tokenizer_from_folder(folder)
    other = tokenizers.Tokenizer.from_str(json.dumps(content))
    other.no_truncation()
    for text in (text for text in [*HARD_TEXTS, "cafe\u0301 12345"] if "日本" not in text):
        assert ours.encode(text).tolist() == other.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode("cafe\u0301")) == "caf\u00e9"
    assert not {*ours.special_tokens.values()} & {*ours.encode(CHAT_TEXT).tolist()}


@pytest.mark.parametrize("vocab", [{"b": 0, "a": 1}, {"a": 0, "bc": 1}, {"a": 0, "b": 2}, ["a"]])
def test_a_vocabulary_of_characters_that_is_not_ours_is_refused(tmp_path, vocab):
    write_json(tmp_path / "tokenizer.json", {"model": {"type": "WordLevel", "vocab": vocab}})
    with pytest.raises(
        ValueError, match=r"tokenizer\.json: .*(of characters in order|ids must be|must be a dictionary)"
    ):
        tokenizer_from_folder(tmp_path)


def test_a_special_token_that_spells_a_byte_in_the_alphabet_of_the_file_is_its_text_or_refused():
    tokens = [bytes([b]) for b in range(256)]
    naive = BPETokenizer([*tokens, "naïve".encode()], [], special_tokens={"naïve": 256})
    again = PretrainedTokenizer(content_of(naive))
    assert again.tokens == naive.tokens and again.decode([256]) == "naïve"
    clash = BPETokenizer([*tokens, "é".encode()], [], special_tokens={"é": 256})
    with pytest.raises(ValueError, match="all tokens, also special ones, must differ"):
        library_for(clash)


GGUF_NAMES = {"gpt2": "gpt-2", "smollm2": "smollm", "llama3": "llama-bpe"}


def gguf_fields(tokenizer):
    content, special = content_of(tokenizer)["model"], tokenizer.special_tokens
    return {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": list(content["vocab"]),
        "token_type": [3 if i in special.values() else 1 for i in content["vocab"].values()],
        "merges": [" ".join(pair) for pair in content["merges"]],
        "bos_token_id": special["<|start|>"],
        "eos_token_id": special["<|end|>"],
        "eot_token_id": special["<|stop|>"],
        "padding_token_id": special["<|stop|>"],
        "add_bos_token": tokenizer.bos_id is not None,
    }


def read_gguf(fields, path, template=TEMPLATE):
    """Write a GGUF file of those fields that are not None, and return the tokenizer that is read from it."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in fields.items():
        name = f"tokenizer.ggml.{name}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif value is not None:
            writer.add_array(name, value)
    if template is not None:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with archive_errors(path):
        return tokenizer_from_gguf(gguf.GGUFReader(path))


def test_the_metadata_of_a_gguf_file_hold_the_same_tokenizer(tokenizer, tmp_path):
    fields = gguf_fields(tokenizer)
    read = read_gguf(fields, tmp_path / "t.gguf")
    assert_same(read, tokenizer)
    for text in HARD_TEXTS:
        assert read.encode(text).tolist() == tokenizer.encode(text).tolist()
    named = [*fields["tokens"][:-1], "<|eot_id|>"]  # ends a text by its name
    assert 803 in read_gguf(fields | {"tokens": named}, tmp_path / "t.gguf").end_ids


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "field, value, words",
    [
        ("model", "llama", "the tokenizer 'llama' is not supported, only 'gpt2', byte-level BPE"),
        ("pre", "qwen2", "unknown pre-tokenizer 'qwen2'; choose from gpt-2, smollm, llama-bpe"),
        ("pre", None, "unknown pre-tokenizer None"),
        ("add_eos_token", True, r"tokenizer\.ggml\.add_eos_token is not supported"),
        ("token_type", [1, 3], r"tokenizer\.ggml\.token_type must have one known type for each token"),
        ("token_type", [6] * 804, r"tokenizer\.ggml\.token_type must have one known type for each token"),
        ("bos_token_id", None, r"tokenizer\.ggml\.bos_token_id is missing"),
        ("token_type", None, r"damaged \(tokenizer\.ggml\.token_type is missing\)"),
        ("tokens", None, r"damaged \(tokenizer\.ggml\.tokens is missing\)"),
        ("merges", None, r"damaged \(tokenizer\.ggml\.merges is missing\)"),
        ("merges", ["a"], "the package tokenizers cannot read the merges: "),
        ("merges", ["a zzz"], "the package tokenizers cannot read the merges: .*Token `zzz` out of vocabulary"),
        ("eos_token_id", 99_999, "the id of the eos_token must be from 0 to 803, not 99999"),
        ("eot_token_id", 99_999, "a special token must have an integer id from 0 to 803, not 99999"),
        ("padding_token_id", 99_999, "the id of the pad_token must be from 0 to 803, not 99999"),
        ("tokens", "one", "token_type must have one known type"),
    ],
)
def test_metadata_that_are_not_supported_are_refused_by_name(tokenizer, tmp_path, field, value, words):
    fields = gguf_fields(tokenizer) | {"add_bos_token": True, field: value}
    with pytest.raises(ValueError, match=rf"t\.gguf: .*{words}"):
        read_gguf(fields, tmp_path / "t.gguf")


@pytest.mark.parametrize("kind", [None, "none", "no_vocab"])
def test_a_gguf_file_without_a_tokenizer_has_none(tmp_path, kind):
    assert read_gguf({"model": kind}, tmp_path / "t.gguf", template=None) is None


def made_by_the_library(splitting):
    """Return a tokenizers.Tokenizer that was made as the models' makers made theirs."""
    pre, decoders = tokenizers.pre_tokenizers, tokenizers.decoders
    other = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=splitting == "llama3"))
    other.pre_tokenizer = splitter_of(tokenizers, splitting)
    other.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    other.train_from_iterator([TEXT], trainer)
    return other


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_the_words_of_a_gguf_file_are_those_of_its_model(splitting, tmp_path):
    """Llama 3's file says neither that a token begins every text, nor that merges are ignored, as for llama.cpp."""
    other = made_by_the_library(splitting)
    model = json.loads(other.to_str())["model"]
    spelled = sorted(model["vocab"], key=model["vocab"].get)
    fields = {"model": "gpt2", "pre": GGUF_NAMES[splitting], "tokens": spelled, "bos_token_id": 0, "eos_token_id": 1}
    fields |= {"token_type": [3, 3, *[1] * 898], "merges": [" ".join(pair) for pair in model["merges"]]}
    read = read_gguf(fields, tmp_path / "t.gguf")
    assert read.bos_id == (0 if splitting == "llama3" else None)
    for text in HARD_TEXTS:
        assert read.encode(text).tolist() == other.encode(text).ids


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_what_the_tokenizers_library_trains_and_saves_is_read(splitting, tmp_path):
    processors, other = tokenizers.processors, made_by_the_library(splitting)
    if splitting == "llama3":
        special = [("<|begin|>", 0)]
        template = processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A $B", special_tokens=special)
        other.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    other.add_tokens(["<think>"])
    other.save(str(tmp_path / "tokenizer.json"))
    read = tokenizer_from_folder(tmp_path)
    assert read.vocab_size == 901 and read.bos_id == (0 if splitting == "llama3" else None)
    assert read.special_tokens == {"<|begin|>": 0, "<|end|>": 1, "<think>": 900}

    def agree(text):
        ids = read.encode(text).tolist()
        assert other.encode(text).ids == ([] if read.bos_id is None else [0]) + ids
        assert other.decode(ids, skip_special_tokens=False) == read.decode(ids) == text

    for text in [*HARD_TEXTS, TEXT]:
        agree(text)
    given(text=tricky_text)(agree)()
    pieces = read.split_at_special_tokens("<|begin|>a<think>b</think><|end|>")
    assert pieces == ["", "<|begin|>", "a", "<think>", "b</think>", "<|end|>", ""]


def test_transformers_loads_what_is_saved_and_agrees(tokenizer, tmp_path):
    transformers = import_transformers()
    save_tokenizer(tokenizer, tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(other) == tokenizer.vocab_size
    assert (other.eos_token, other.pad_token) == ("<|end|>", "<|stop|>") and other.chat_template == TEMPLATE
    first = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for text in [*HARD_TEXTS, CHAT_TEXT]:
        pieces = tokenizer.split_at_special_tokens(text)
        ids = tokenizer.joined_ids(pieces, tokenizer.encode).tolist()
        assert other(text)["input_ids"] == first + ids
        assert other.decode(ids) == tokenizer.decode(ids)
        assert other.decode(ids, skip_special_tokens=True) == "".join(pieces[::2])


def test_what_transformers_saves_is_read(tokenizer, tmp_path):
    """There and back again through the library, whose files differ from ours in many details."""
    transformers = import_transformers()
    save_tokenizer(tokenizer, tmp_path)
    transformers.AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "theirs")
    again = tokenizer_from_folder(tmp_path / "theirs")
    assert again.end_ids == tokenizer.end_ids[:1]
    again.end_ids = tokenizer.end_ids
    assert_same(again, tokenizer)


def test_smollm2_splits_and_merges_as_our_own_does(smollm2_path):
    """On all that has tokens: its vocabulary lacks some control characters, which the library passes over in silence.

    Transformers' own reading of the GGUF file is no oracle: it takes GPT-2's words, in which a number is one.
    """
    gguf = pytest.importorskip("gguf")
    read = tokenizer_from_gguf(gguf.GGUFReader(smollm2_path))
    assert (read.vocab_size, read.bos_id, read.end_ids) == (49_152, None, (0, 2))
    merges = [tuple(map(unspell, merge)) for merge in read.content["model"]["merges"]]
    ours = BPETokenizer(read.tokens, merges, special_tokens=read.special_tokens)
    digits = pytest.importorskip("regex").compile(f"({DIGITS})")  # each is a word of its own
    lacking = "".join(chr(byte) for byte in range(128) if bytes([byte]) not in set(read.tokens))
    assert lacking == "\x04\x06\x13\x14\x16\x1d"
    drop = str.maketrans("", "", lacking)

    def agree(text):
        ids = read.encode(text.translate(drop))
        assert ids.tolist() == [i for part in digits.split(text.translate(drop)) for i in ours.encode(part)]
        assert read.decode(ids) == text.translate(drop)

    for text in [*HARD_TEXTS, default_corpus(), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]:
        agree(text)
    given(text=tricky_text)(agree)()
    with pytest.raises(ValueError, match="no token for the byte 0x04"):
        read.encode("end of transmission \x04")
