"""Tokenizers of real models: read from the files of others, written for others, and held against the libraries' own."""

import copy
import json

import pytest
from hypothesis import given
from test_bpe import HARD_TEXTS, splitter_of_tokenizers, tricky_text, write_gpt2_files
from transformers_models import import_transformers

from minitransformer import BPETokenizer, ByteTokenizer, CharTokenizer
from minitransformer.interop.tokenizer_json import from_tokenizer_json, to_tokenizer_json
from minitransformer.interop.tokenizers import save_tokenizer, tokenizer_from_folder, tokenizer_from_gguf
from minitransformer.system.archive import ArchiveError, errors_name
from minitransformer.text import NoTokenizer, default_corpus

TEXT = default_corpus()[:30_000] + "\n".join(text[:200] for text in HARD_TEXTS) * 3
CHAT_TEXT = "<|start|>user\nHi there, don't  go<|end|>\n<|start|>日本"
TEMPLATE = "{% for m in messages %}{{ '<|start|>' + m['role'] + m['content'] + '<|end|>' }}{% endfor %}"
SPLITTINGS = ("gpt2", "smollm2", "llama3")


@pytest.fixture(scope="module", params=SPLITTINGS)
def tokenizer(request):
    """A tokenizer with all that one may have: special tokens, a first, two that end, a template, ignored merges."""
    trained = BPETokenizer.train(TEXT, 800, splitting=request.param)
    texts = ["<|start|>", "<|end|>", "<|stop|>", "日本"]
    special = {text: trained.vocab_size + i for i, text in enumerate(texts)}
    return BPETokenizer(
        [*trained.tokens, *(text.encode() for text in texts)],
        trained.merges,
        splitting=request.param,
        special_tokens=special,
        ignore_merges=request.param == "llama3",
        bos_id=special["<|start|>"] if request.param == "llama3" else None,
        end_ids=(special["<|end|>"], special["<|stop|>"]),
        chat_template=TEMPLATE,
        token_names={"bos_token": "<|start|>", "eos_token": "<|end|>", "pad_token": "<|stop|>"},
    )


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    write_json(tmp_path / "generation_config.json", {"eos_token_id": list(tokenizer.end_ids)})
    assert tokenizer_from_folder(tmp_path).to_dict() == tokenizer.to_dict()


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


def test_gpt2s_two_files_are_read_where_there_is_no_tokenizer_json(tokenizer, tmp_path):
    encoder, merges = write_gpt2_files(tmp_path, tokenizer.tokens[:-4], tokenizer.merges)
    encoder.rename(tmp_path / "vocab.json")
    merges.rename(tmp_path / "merges.txt")
    read = tokenizer_from_folder(tmp_path)
    end = read.special_tokens["<|endoftext|>"]
    assert read.merges == tokenizer.merges and read.splitting == "gpt2" and read.end_ids == (end,) == (800,)
    whole = (tmp_path / "merges.txt").read_text(encoding="utf-8")
    (tmp_path / "merges.txt").write_text(whole + "a\n", encoding="utf-8")
    with pytest.raises(ArchiveError, match=r"merges\.txt, line \d+: expected two tokens with one space between them"):
        tokenizer_from_folder(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    with pytest.raises(ValueError, match=r"without tokenizer\.json, a 'LlamaTokenizer' is not supported"):
        tokenizer_from_folder(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    write_json(tmp_path / "added_tokens.json", {"<pad>": 801})
    with pytest.raises(
        ValueError, match=r"added_tokens\.json: added tokens without a tokenizer\.json are not supported"
    ):
        tokenizer_from_folder(tmp_path)


@pytest.fixture
def folder(tokenizer, tmp_path):
    write_json(tmp_path / "tokenizer.json", to_tokenizer_json(tokenizer))
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


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
QWEN = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}"}, "behavior": "Isolated", "invert": False}
A, END = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
TEMPLATES = [
    {"type": "TemplateProcessing", "single": single, "special_tokens": {"<|end|>": {"ids": ids}}}
    for single, ids in (([END, A, END], [801]), ([END, END, A], [801]), ([END, A], [801, 802]), ([A, A], [801]))
]


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["normalizer"], {"type": "NFC"}, "the normalizer NFC is not supported"),
        (["model", "type"], "Unigram", "the model's type must be 'BPE', or 'WordLevel' of characters, not 'Unigram'"),
        (["model", "type"], "WordLevel", "of characters, not 'WordLevel'"),
        (["model", "dropout"], 0.1, r"the model's dropout 0\.1 is not supported"),
        (["model", "end_of_word_suffix"], "</w>", "the model's end_of_word_suffix '</w>' is not supported"),
        (["pre_tokenizer"], None, r"the pre_tokenizer \[\] is not supported, only gpt2, smollm2, llama3"),
        (["pre_tokenizer"], METASPACE, "the pre_tokenizer .*Metaspace.* is not supported"),
        (["pre_tokenizer"], BYTE_LEVEL, "the pre_tokenizer .*'add_prefix_space': True, .* is not supported"),
        (["pre_tokenizer"], QWEN, "the pre_tokenizer .*'pattern': .* is not supported, only gpt2"),
        (["decoder"], {"type": "WordPiece"}, "the decoder WordPiece is not supported, only ByteLevel"),
        (["post_processor"], {"type": "BertProcessing"}, "the post_processor .*BertProcessing.* is not supported"),
        *((["post_processor"], value, "the post_processor .*TemplateProcessing") for value in TEMPLATES[:3]),
        (["post_processor"], TEMPLATES[3], r"damaged \(KeyError: 'SpecialToken'\)"),
        (["added_tokens", 0, "lstrip"], True, r"the added token '<\|start\|>' has lstrip, which is not supported"),
        (["added_tokens", 0, "id"], 900, "the ids must be the integers 0 to 803, each of them once"),
        (["model", "vocab", "a"], ..., "the ids must be the integers 0 to 802, each of them once"),
        (["model", "merges", 3], "a", "expected two tokens with one space between them, found 'a'"),
        (["model", "merges", 3], ["a b", "c"], "expected two tokens with one space between them, found 'a b c'"),
        (["model", "merges", 3], "q zzz", "tokens must contain 'zzz'"),
        (["pre_tokenizer"], 3, "pre_tokenizer must be a dictionary, not 3"),
        (["model", "vocab"], 3, "vocab must be a dictionary, not 3"),
        (["pre_tokenizer", "type"], ..., r"damaged \(KeyError: 'type'"),
        (["added_tokens"], [3], r"damaged \(AttributeError"),
        (["model"], ..., r"damaged \(KeyError: 'model'\)"),
        (["model", "vocab"], ["a"], "vocab must be a dictionary, not "),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder, tokenizer, path, value, words):
    content = changed(to_tokenizer_json(tokenizer), path, value)
    write_json(folder / "tokenizer.json", content)
    with pytest.raises(ValueError, match=f"{words}") as caught:
        tokenizer_from_folder(folder)
    assert str(caught.value).startswith(f"{folder / 'tokenizer.json'}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": {"type": "WordLevel", "vocab": {"b": 0, "a": 1}}}, "only for a vocabulary of characters in"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0, "bc": 1}}}, "only for a vocabulary of characters in"),
        (
            {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 2}}},
            "the ids must be the integers 0 to 1, each of them once",
        ),
        ({"post_processor": BYTE_LEVEL}, "a vocabulary of characters with added tokens or a post_processor is not"),
        ({"added_tokens": [{"id": 2}]}, "a vocabulary of characters with added tokens or a post_processor is not"),
    ],
)
def test_a_vocabulary_of_characters_that_is_not_ours_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        from_tokenizer_json(to_tokenizer_json(CharTokenizer.train("ab")) | changes)


def test_a_special_token_that_spells_a_byte_in_the_alphabet_of_the_file_is_its_text_or_refused():
    tokens = [bytes([b]) for b in range(256)]
    naive = BPETokenizer([*tokens, "naïve".encode()], [], special_tokens={"naïve": 256})
    again = from_tokenizer_json(to_tokenizer_json(naive))
    assert again.tokens == naive.tokens and again.decode([256]) == "naïve"
    clash = BPETokenizer([*tokens, "é".encode()], [], special_tokens={"é": 256})
    with pytest.raises(ValueError, match="special tokens must differ from all other tokens"):
        to_tokenizer_json(clash)


GGUF_NAMES = {"gpt2": "gpt-2", "smollm2": "smollm", "llama3": "llama-bpe"}


def gguf_fields(tokenizer):
    content = to_tokenizer_json(tokenizer)["model"]
    special = tokenizer.special_tokens
    return {
        "model": "gpt2",
        "pre": GGUF_NAMES[tokenizer.splitting],
        "tokens": list(content["vocab"]),
        "token_type": [3 if i in special.values() else 1 for i in content["vocab"].values()],
        "merges": content["merges"],
        "bos_token_id": special["<|start|>"],
        "eos_token_id": special["<|end|>"],
        "eot_token_id": special["<|stop|>"],
        "padding_token_id": special["<|stop|>"],
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
    with errors_name(path):
        return tokenizer_from_gguf(gguf.GGUFReader(path))


def test_the_metadata_of_a_gguf_file_hold_the_same_tokenizer(tokenizer, tmp_path):
    """Llama 3's says neither that a token begins every text, nor that merges are ignored: so it is for llama.cpp."""
    fields = gguf_fields(tokenizer)
    assert read_gguf(fields, tmp_path / "t.gguf").to_dict() == tokenizer.to_dict()
    for added, first in ((True, tokenizer.special_tokens["<|start|>"]), (False, None)):
        assert read_gguf(fields | {"add_bos_token": added}, tmp_path / "t.gguf").bos_id == first
    named = [*fields["tokens"][:-1], "<|eot_id|>"]  # ends a text by its name
    assert 803 in read_gguf(fields | {"tokens": named}, tmp_path / "t.gguf").end_ids


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
        ("merges", ["a"], "expected two tokens with one space between them, found 'a'"),
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


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_what_the_tokenizers_library_trains_and_saves_is_read(splitting, tmp_path):
    """A tokenizer that was made as the models' makers made theirs."""
    tokenizers = pytest.importorskip("tokenizers")
    pre, decoders, processors = tokenizers.pre_tokenizers, tokenizers.decoders, tokenizers.processors
    other = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=splitting == "llama3"))
    other.pre_tokenizer = splitter_of_tokenizers(splitting)
    other.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    other.train_from_iterator([TEXT], trainer)
    if splitting == "llama3":
        special = [("<|begin|>", 0)]
        template = processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A $B", special_tokens=special)
        other.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    other.add_tokens(
        ["<think>"]
    )  # which the library finds in every text, and so do we where special tokens are asked for
    other.save(str(tmp_path / "tokenizer.json"))
    ours = tokenizer_from_folder(tmp_path)
    assert ours.vocab_size == 901 and ours.splitting == splitting and ours.ignore_merges == (splitting == "llama3")
    assert ours.bos_id == (0 if splitting == "llama3" else None)
    assert ours.special_tokens == {"<|begin|>": 0, "<|end|>": 1, "<think>": 900}
    first = [] if ours.bos_id is None else [0]

    def agree(text):
        ids = ours.encode(text, allow_special=True).tolist()
        assert other.encode(text).ids == first + ids
        assert other.decode(ids, skip_special_tokens=False) == ours.decode(ids)

    for text in [*HARD_TEXTS, TEXT, "<|begin|>a<think>b</think><|end|>"]:
        agree(text)
    given(text=tricky_text)(agree)()


def test_transformers_loads_what_is_saved_and_agrees(tokenizer, tmp_path):
    transformers = import_transformers()
    save_tokenizer(tokenizer, tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(other) == tokenizer.vocab_size
    assert (other.eos_token, other.pad_token) == ("<|end|>", "<|stop|>") and other.chat_template == TEMPLATE
    first = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for text in [*HARD_TEXTS, CHAT_TEXT]:
        ids = tokenizer.encode(text, allow_special=True).tolist()
        assert other(text)["input_ids"] == first + ids
        for skip in (False, True):
            assert other.decode(ids, skip_special_tokens=skip) == tokenizer.decode(ids, skip_special=skip)


def test_what_transformers_saves_is_read(tokenizer, tmp_path):
    """There and back again through the library, whose files differ from ours in many details."""
    transformers = import_transformers()
    save_tokenizer(tokenizer, tmp_path)
    transformers.AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "theirs")
    again = tokenizer_from_folder(tmp_path / "theirs")
    expected = tokenizer.to_dict() | {"end_ids": list(tokenizer.end_ids[:1])}
    assert again.to_dict() == expected


def test_smollm2_splits_and_merges_as_the_tokenizers_library(smollm2_path):
    """On all that has tokens: its vocabulary lacks some control characters, which the library passes over in silence.

    Transformers' own reading of the GGUF file is no oracle: it takes GPT-2's words, in which a number is one.
    """
    tokenizers, gguf = pytest.importorskip("tokenizers"), pytest.importorskip("gguf")
    reader = gguf.GGUFReader(smollm2_path)
    ours = tokenizer_from_gguf(reader)
    assert (ours.vocab_size, ours.bos_id, ours.end_ids) == (49_152, None, (0, 2))
    tokens, merges = (reader.get_field(f"tokenizer.ggml.{name}").contents() for name in ("tokens", "merges"))
    vocab = {token: i for i, token in enumerate(tokens)}
    other = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    other.pre_tokenizer = splitter_of_tokenizers("smollm2")
    other.decoder = tokenizers.decoders.ByteLevel()
    other.add_special_tokens(tokens[:17])
    lacking = "".join(chr(byte) for byte in range(128) if bytes([byte]) not in set(ours.tokens))
    assert lacking == "\x04\x06\x13\x14\x16\x1d"
    drop = str.maketrans("", "", lacking)

    def agree(text):
        ids = ours.encode(text.translate(drop), allow_special=True)
        assert ids.tolist() == other.encode(text.translate(drop)).ids
        assert ours.decode(ids) == text.translate(drop) == other.decode(ids.tolist(), skip_special_tokens=False)

    for text in [*HARD_TEXTS, default_corpus(), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]:
        agree(text)
    given(text=tricky_text)(agree)()
    with pytest.raises(ValueError, match="no token for the byte 0x04"):
        ours.encode("end of transmission \x04")
