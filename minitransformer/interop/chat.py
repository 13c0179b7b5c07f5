"""Chat: a conversation as one text, that text as ids, and the model's part in it.

A language model continues a text, nothing else. To hold a conversation, it was trained on texts that are written like a
play: who speaks, what is said, and a special token where the turn ends. SmolLM2's:

    <|im_start|>system
    You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
    <|im_start|>user
    What is the capital of France?<|im_end|>
    <|im_start|>assistant

Its continuation of this is the answer, up to the <|im_end|> that it writes itself. How the play is written differs from
model to model, so each brings a *chat template*, a small program for Jinja that writes it. Such a program comes from
whoever made the files, and runs in Jinja's sandbox, as it does in Transformers: it sees the messages and a few
functions, and nothing of Python. Its time and memory are bounded too (see templates.py).

What people say is text, even where it looks like a special token: who writes "<|im_end|>" in a message must not end it
there, and go on in the name of another. So only what the template writes becomes special tokens. (In Transformers'
apply_chat_template, both do.)
"""

import json

import numpy as np

from minitransformer.cores import decoding
from minitransformer.generation import KeyValueCache, stream
from minitransformer.interop.templates import render
from minitransformer.language_model import LanguageModel
from minitransformer.system.extras import require
from minitransformer.system.printable import one_line
from minitransformer.text.byte import without_surrogates
from minitransformer.text.tokenizer import concatenate

PRIVATE_USE = range(0xF0000, 0xFFFFE)  # characters that Unicode leaves to whoever wants them


def render_chat(tokenizer, messages, add_generation_prompt=True) -> str:
    """Return a conversation as one text, the one that Transformers' apply_chat_template gives.

    messages: dicts {"role": "system", "user" or "assistant", "content": str}, whatever roles the template knows, with
    whatever else of JSON it asks for.
    add_generation_prompt: whether the text goes on to where the assistant's answer begins.
    Raises ValueError where there is no chat template, or it refuses the conversation, or asks for more time or memory
    than it may have; MissingExtra where the extra `interop` is not installed.
    """
    require("jinja2", extra="interop")
    require_template(tokenizer)
    check_messages(messages)
    names = {"tools": None, "documents": None, **tokenizer.token_names}
    names |= {"messages": messages, "add_generation_prompt": add_generation_prompt}
    try:
        return render(tokenizer.chat_template, names)
    except ValueError as error:
        raise ValueError(f"the chat template failed: {one_line(error)}") from None


def require_template(tokenizer):
    """Raise ValueError unless the tokenizer has a chat template."""
    if tokenizer.chat_template is None:
        raise ValueError("the model has no chat template: it was not trained to hold a conversation")


def check_messages(messages):
    """Raise ValueError unless each message has a role and a content, and JSON can hold it."""
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError(f"a message must be a dict with a role and a content, both str, not {message!r}")
        try:
            json.dumps(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"a message must hold what JSON can hold: {error}") from None


def encode_chat(tokenizer, messages, add_generation_prompt=True):
    """Return the ids (T,) of a conversation. Arguments and errors as of render_chat.

    Special tokens come from the template alone. While it runs, one in a message is replaced by a character that no
    message has, which becomes its text again when the special tokens have been found.
    """
    require_template(tokenizer)
    check_messages(messages)
    contents = ["".join(without_surrogates([message["content"]])) for message in messages]
    taken = {character for content in contents for character in content}
    inside = {text for content in contents for text in tokenizer.split_at_special_tokens(content)[1::2]}
    free = (chr(point) for point in PRIVATE_USE if chr(point) not in taken)
    stand_in = dict(zip(sorted(inside), free, strict=False))

    def hidden(content):
        pieces = tokenizer.split_at_special_tokens(content)
        return "".join(stand_in[piece] if i % 2 else piece for i, piece in enumerate(pieces))

    shown = str.maketrans({character: text for text, character in stand_in.items()})
    harmless = [{**message, "content": hidden(message["content"])} for message in messages]
    pieces = tokenizer.split_at_special_tokens(render_chat(tokenizer, harmless, add_generation_prompt))
    return concatenate(
        np.array([tokenizer.special_tokens[piece]]) if i % 2 else tokenizer.encode(piece.translate(shown))
        for i, piece in enumerate(pieces)
    )


class Conversation:
    """A conversation with a model. `messages` is what has been said.

    system: the first message, which tells the model who it is; without one the template may have its own.
    settings: temperature, top_k, top_p and rng, as of generation.generate.

    What the model has read and written stays in a key–value cache, as far as the text of the next turn begins alike. If
    the conversation outgrows the context, its oldest turns are forgotten until it fills at most half of it.
    Raises ValueError for a model without a chat template.
    """

    def __init__(self, lm: LanguageModel, system: str | None = None, **settings):
        self.lm = lm
        self.settings = settings
        self.messages = [] if system is None else [{"role": "system", "content": system}]
        self.kept = len(self.messages)  # of the first messages, how many are never forgotten
        self.forgotten = 0  # messages, so far
        self.generated = 0  # tokens, so far
        self.cache = KeyValueCache(lm.model.config)
        self.read = []  # the ids whose keys and values the cache holds
        require_template(lm.tokenizer)

    def answer(self, content: str, max_new_tokens: int = 512):
        """Say something, and yield the answer piece by piece. An answer that is not read to its end stays as it is.

        Raises ValueError for what the model cannot read, or cannot answer because it fills the context.
        """
        self.messages.append({"role": "user", "content": content})
        try:
            ids = self.ids_that_fit(max_new_tokens)
        except (ValueError, KeyboardInterrupt):
            self.messages.pop()
            raise
        said = []
        try:
            for piece in self.lm.tokenizer.decode_stream(decoding(self.answer_ids(ids, max_new_tokens))):
                said.append(piece)
                yield piece
        finally:
            self.messages.append({"role": "assistant", "content": "".join(said)})

    def ids_that_fit(self, max_new_tokens):
        """Return the ids of what is remembered of the conversation; if need be, forget turns first.

        They leave room for the answer: max_new_tokens, at most a quarter of the context, and if the last message alone
        is long, one token at least.
        """
        context = self.lm.model.config.context
        ids = encode_chat(self.lm.tokenizer, self.messages)
        if len(ids) + min(max_new_tokens, context // 4) <= context:
            return ids
        turns = [i for i, message in enumerate(self.messages) if message["role"] == "user"]
        for start in turns:
            messages = self.messages[: self.kept] + self.messages[start:]
            ids = encode_chat(self.lm.tokenizer, messages)
            if len(ids) <= context // 2 or (start == turns[-1] and len(ids) < context):
                self.forgotten += len(self.messages) - len(messages)
                self.messages = messages
                return ids
        raise ValueError(f"the message makes {len(ids):,} tokens, too many for the model's context of {context:,}")

    def answer_ids(self, ids, max_new_tokens):
        """Yield the ids that follow, up to one that ends the turn, which is left out, or to the end of the context."""
        tokenizer, context = self.lm.tokenizer, self.lm.model.config.context
        self.cache.truncate(common_length(self.read, ids[:-1]))
        self.read = self.read[: self.cache.length]
        following = stream(
            self.lm.model,
            ids,
            min(max_new_tokens, context - len(ids)),
            stop=tokenizer.end_ids,
            vocab_size=tokenizer.vocab_size,
            cache=self.cache,
            **self.settings,
        )
        new = []
        for i in following:
            self.read = [*ids, *new]
            new.append(int(i))
            self.generated += 1
            if i not in tokenizer.end_ids:
                yield i


def common_length(one, other) -> int:
    """Return how many of the first ids of two sequences are the same."""
    length = min(len(one), len(other))
    same = np.asarray(one[:length]) == np.asarray(other[:length])
    return length if same.all() else int(same.argmin())
