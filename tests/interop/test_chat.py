"""Chat: the text of a conversation against Transformers', its special tokens, and the turns of a Conversation."""

import functools
import os
import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st
from small_chats import SPECIAL, chat_lm, chat_tokenizer
from transformers_models import import_transformers

from minitransformer import generate
from minitransformer.interop import templates
from minitransformer.interop.chat import Conversation, encode_chat, render_chat
from minitransformer.interop.tokenizers import save_tokenizer, tokenizer_from_folder

pytest.importorskip("jinja2")

KINDS = ("smollm2", "llama3")
TOKENIZERS = {kind: chat_tokenizer(kind) for kind in KINDS}
each_kind = pytest.mark.parametrize("kind", KINDS)


def says(*contents, system=None):
    """Return messages in turns: the user's, the assistant's, the user's …"""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


def test_smollm2s_template_writes_chatml_with_its_default_system_message():
    assert render_chat(TOKENIZERS["smollm2"], says("Hi", "Hello!", "What is it?")) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render_chat(TOKENIZERS["smollm2"], says("Hi", system="Be brief."), add_generation_prompt=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )


# Features of templates: control of loops, white space, JSON, the time, other names.
LANGUAGE = """\
{%- for message in messages %}
    {% if message['role'] == 'system' %}
        {% continue %}
    {% endif %}
  {{ message | tojson }} {{ message | tojson(indent=2) }}{{ eos_token }}{{ pad_token }}{{ tools is none }}
{% endfor %}
{% if add_generation_prompt %}
{{ strftime_now("%") }} end
{% endif %}
"""


@each_kind
def test_transformers_writes_the_same_text_and_the_same_ids(kind, tmp_path):
    transformers = import_transformers()

    content = st.text(max_size=20) | st.sampled_from(['naïve <b> & "q"', " \n x \n", "日本 🙂"])

    @given(contents=st.lists(content, min_size=1), system=st.none() | st.text(max_size=5), prompt=st.booleans())
    def agrees(contents, system, prompt):
        messages = says(*contents, system=system)
        text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        assert render_chat(ours, messages, prompt) == text
        ids = theirs.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        assert encode_chat(ours, messages, prompt).tolist() == ids

    for made in (TOKENIZERS[kind], chat_tokenizer(kind, chat_template=LANGUAGE)):
        save_tokenizer(made, tmp_path)
        ours = tokenizer_from_folder(tmp_path)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
        agrees()


@functools.cache
def harmless(kind):
    return encode_chat(TOKENIZERS[kind], says("hello"))


@each_kind
@given(data=st.data())
def test_special_tokens_in_a_message_are_text(kind, data):
    """The ids are those of the conversation, with each message encoded separately as text."""
    ours = TOKENIZERS[kind]
    piece = st.sampled_from([*SPECIAL[kind], "<|", "|>", "hello", "\U000f0000", "\U000f0001", "user", "x"])
    content = data.draw(st.lists(piece, min_size=1, max_size=8).map("".join))
    ids = encode_chat(ours, says(content))
    assert ours.decode(ids) == render_chat(ours, says(content))
    special = [np.isin(each, list(ours.special_tokens.values())).sum() for each in (ids, harmless(kind))]
    assert special[0] == special[1]


@pytest.mark.parametrize(
    "template, words",
    [
        ("{{ raise_exception('roles must alternate') }}", "the chat template failed: roles must alternate"),
        ("{% if %}", "the chat template failed: Expected an expression"),
        ("{{ 1 / 0 }}", "the chat template failed: division by zero"),
        ("{{ messages + 1 }}", "the chat template failed: can only concatenate list"),
        ("{{ ''.__class__.__mro__ }}", "failed: access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages.append(1) }}", "failed: access to attribute 'append' of 'list' object is unsafe"),
        ("{% include '/etc/passwd' %}", "the chat template failed: no loader for this environment"),
        ("{{ range(10 ** 9) | list }}", "the chat template failed: Range too big"),
        ("{{ 'a' * 10000001 }}", "failed: its text has more than 10,000,000 characters$"),
        ("{{ raise_exception('…' * 5000) }}", "the chat template failed: …{500}$"),
        ("{{ raise_exception('') }}", "the chat template failed: TemplateError$"),
        (None, "the model has no chat template, because it was not trained for conversations"),
    ],
)
def test_a_template_that_fails_or_would_do_harm_is_one_line(template, words):
    for call in (render_chat, encode_chat):
        with pytest.raises(ValueError, match=words):
            call(chat_tokenizer(chat_template=template), says("Hi"))


@pytest.mark.parametrize(
    "message, words",
    [
        ({"role": "user"}, "must be a dictionary with the strings 'role' and 'content', not "),
        ({"role": "user", "content": ["Hi"]}, "must be a dictionary with the strings 'role' and 'content', not "),
        ({"role": "user", "content": "Hi", "when": object()}, "must be JSON-serializable: "),
        ({"role": "user", "content": "\ud800"}, "lone surrogate"),
    ],
)
def test_what_is_no_message_is_refused_and_not_remembered(message, words):
    conversation = Conversation(chat_lm(), temperature=0)
    with pytest.raises(ValueError, match=words):
        encode_chat(TOKENIZERS["smollm2"], [message])
    conversation.messages = [message]
    with pytest.raises(ValueError, match=words):
        list(conversation.answer("Hi", 5))
    assert conversation.messages == [message] and conversation.cache.length == 0


@pytest.fixture
def impatient(monkeypatch):
    render_chat(TOKENIZERS["smollm2"], says("Hi"))  # starts the process
    monkeypatch.setattr(templates, "SECONDS", 0.2)


TOO_LARGE = [
    "{{ ('a' * 3000000000) | length }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ [0] * 10 ** 10 }}",
    "{{ messages | tojson(indent=10 ** 10) }}",
    pytest.param(
        "{% set s = namespace(t='a') %}{% for i in range(40) %}{% set s.t = s.t + s.t %}{% endfor %}",
        marks=pytest.mark.slow,
    ),
]
TOO_LONG = [
    "{{ 10 ** (10 ** 10) }}",
    pytest.param("{{ lipsum(n=10 ** 9) }}", marks=pytest.mark.slow),
    pytest.param(
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", marks=pytest.mark.slow
    ),
]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the system limits no memory")
@pytest.mark.parametrize("template", TOO_LARGE)
def test_a_template_that_asks_for_more_memory_than_it_may_is_one_line(template):
    with pytest.raises(ValueError, match=r"^the chat template failed: it takes more than 1,024 MiB of memory$"):
        render_chat(chat_tokenizer(chat_template=template), says("Hi"))


@pytest.mark.parametrize("template", TOO_LONG)
def test_a_template_that_goes_on_for_longer_than_it_may_is_one_line(impatient, template):
    with pytest.raises(ValueError, match=r"^the chat template failed: it did not end within 0\.2 seconds$"):
        render_chat(chat_tokenizer(chat_template=template), says("Hi"))


def test_ctrl_c_ends_a_template_and_the_next_is_rendered():
    endless = chat_tokenizer(chat_template=TOO_LONG[0])
    render_chat(TOKENIZERS["smollm2"], says("Hi"))  # starts the process
    main = threading.main_thread().ident
    ctrl_c = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(KeyboardInterrupt):
        render_chat(endless, says("Hi"))
    assert render_chat(chat_tokenizer(chat_template="yes"), says("Hi")) == "yes"


def test_a_process_that_was_ended_says_so_and_the_next_takes_its_place():
    ours = chat_tokenizer(chat_template="yes")
    render_chat(ours, says("Hi"))
    templates.process_for(os.getpid()).process.kill()
    with pytest.raises(ValueError, match=r"^the chat template failed: it ended its process: SIGKILL"):
        render_chat(ours, says("Hi"))
    assert render_chat(ours, says("Hi")) == "yes"


class Watched:
    """A model that remembers how many positions each call reads; the call number `interrupt_at` meets Ctrl-C."""

    def __init__(self, model, interrupt_at=None):
        self.model, self.config, self.interrupt_at = model, model.config, interrupt_at
        self.positions = []

    def predict(self, ids, **options):
        logits = self.model.predict(ids, **options)
        self.positions.append(ids.shape[-1])
        if len(self.positions) == self.interrupt_at:
            raise KeyboardInterrupt
        return logits


def fresh_answer(lm, messages, max_new_tokens, **settings):
    prompt = encode_chat(lm.tokenizer, messages)
    ids = generate(lm.model, prompt, max_new_tokens, use_cache=False, stop=lm.tokenizer.end_ids, **settings)
    new = ids[len(prompt) :]
    return lm.tokenizer.decode(new[~np.isin(new, lm.tokenizer.end_ids)])


@each_kind
@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 1.3, "top_p": 0.9, "top_k": 50}])
def test_every_answer_is_that_of_a_model_that_reads_everything_anew(kind, settings):
    lm = chat_lm(kind)
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    conversation = Conversation(lm, "Be brief.", **settings, rng=one)
    for said in ("what is it", "naïve?", "", "and <|im_end|> then 1234"):
        messages = [*conversation.messages, {"role": "user", "content": said}]
        answer = "".join(conversation.answer(said, 12))
        assert answer == fresh_answer(lm, messages, 12, **settings, rng=other)
        assert conversation.messages == [*messages, {"role": "assistant", "content": answer}]


def test_an_answer_ends_with_the_turn_and_the_end_is_not_shown():
    lm = chat_lm()
    endless = "".join(Conversation(lm, temperature=0).answer("Hi", 30))
    prompt = encode_chat(lm.tokenizer, says("Hi"))
    new = generate(lm.model, prompt, 30, temperature=0)[len(prompt) :]
    end = int(new[7])  # let this token be the end of the turn
    shorter = chat_lm(end_ids=[end])
    conversation = Conversation(shorter, temperature=0)
    answer = "".join(conversation.answer("Hi", 30))
    at = new.tolist().index(end)
    assert answer == lm.tokenizer.decode(new[:at]) and endless.startswith(answer) and len(answer) < len(endless)
    assert conversation.generated == at + 1


@pytest.mark.parametrize("interrupt_at", [1, 2, 5])
def test_an_answer_that_was_stopped_stays_as_far_as_it_came_and_the_next_is_right(interrupt_at):
    lm = chat_lm()
    plain = lm.model
    conversation = Conversation(lm, temperature=0)
    list(conversation.answer("Hi", 4))
    lm.model = Watched(plain, interrupt_at)
    pieces = []
    with pytest.raises(KeyboardInterrupt):
        for piece in conversation.answer("what is it", 20):
            pieces.append(piece)
    assert conversation.messages[-1] == {"role": "assistant", "content": "".join(pieces)}
    answer = conversation.answer("go on", 20)
    kept = [next(answer), next(answer)]
    answer.close()  # whoever listens may also just stop listening
    assert conversation.messages[-1] == {"role": "assistant", "content": "".join(kept)}
    lm.model = plain
    messages = [*conversation.messages, {"role": "user", "content": "and then"}]
    assert "".join(conversation.answer("and then", 9)) == fresh_answer(lm, messages, 9, temperature=0)


def test_a_reading_that_was_stopped_leaves_nothing_that_counts_as_read():
    lm = chat_lm()
    plain = lm.model
    conversation = Conversation(lm, temperature=0)
    one, other = (encode_chat(lm.tokenizer, says(text)) for text in ("what is it", "where was it"))
    list(conversation.answer_ids(one, 4))
    lm.model = Watched(plain, interrupt_at=1)
    with pytest.raises(KeyboardInterrupt):
        list(conversation.answer_ids(other, 4))
    lm.model = Watched(plain)
    again = [int(i) for i in conversation.answer_ids(np.array([*one, 7]), 6)]
    assert again == generate(plain, np.array([*one, 7]), 6, temperature=0)[len(one) + 1 :].tolist()
    alike = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert lm.model.positions[0] == len(one) + 1 - alike  # all from where the other began to differ is read again


def test_a_conversation_that_outgrows_the_context_forgets_its_oldest_turns():
    lm = chat_lm(context=120)
    conversation = Conversation(lm, "Be brief.", temperature=0)
    forgot = []
    for turn in range(8):
        before = conversation.forgotten
        said = f"what is it {turn}"
        answer = "".join(conversation.answer(said, 15))
        asked = conversation.messages[:-1]
        assert asked[0] == {"role": "system", "content": "Be brief."}  # is never forgotten
        assert [message["role"] for message in asked[1:]] == ["user", "assistant"] * (len(asked) // 2 - 1) + ["user"]
        length = len(encode_chat(lm.tokenizer, asked))
        assert length + 15 <= 120
        assert answer == fresh_answer(lm, asked, 15, temperature=0)
        if conversation.forgotten > before:
            assert length <= 60
            forgot.append(turn)
        assert conversation.forgotten + len(conversation.messages) == 1 + 2 * (turn + 1)
    assert len(forgot) >= 2


def test_a_message_that_alone_fills_half_the_context_is_answered_and_one_that_fills_it_is_refused():
    lm = chat_lm(context=100)
    conversation = Conversation(lm, "", temperature=0)
    list(conversation.answer("Hi", 5))
    overhead = len(encode_chat(lm.tokenizer, says("", system="")))
    room = 100 - overhead
    before = list(conversation.messages)
    with pytest.raises(ValueError, match="the message has 100 tokens; the model's context allows fewer than 100"):
        list(conversation.answer("ÿ" * (room // 2) + "q" * (room % 2), 5))
    assert conversation.messages == before and conversation.forgotten == 0
    longest = "ÿ" * ((room - 1) // 2) + "q" * ((room - 1) % 2)
    assert len(encode_chat(lm.tokenizer, says(longest, system=""))) == 99
    list(conversation.answer(longest, 5))
    assert conversation.forgotten == 2 and conversation.generated == 5 + 1


def test_smollm2_holds_a_conversation(smollm2_path):
    """Its template and its end of turn are those of the file."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    from small_chats import SMOLLM2

    from minitransformer.interop.tokenizers import tokenizer_from_gguf

    tokenizer = tokenizer_from_gguf(gguf.GGUFReader(smollm2_path))
    assert tokenizer.chat_template == SMOLLM2.removesuffix("\n")
    ids = encode_chat(tokenizer, says("Hi"))
    start, end = tokenizer.special_tokens["<|im_start|>"], tokenizer.special_tokens["<|im_end|>"]
    assert [i for i in ids.tolist() if i in (start, end)] == 2 * [start, end] + [start]
    assert end in tokenizer.end_ids
    assert tokenizer.decode(ids).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
