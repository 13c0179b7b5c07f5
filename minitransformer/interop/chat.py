"""Chat: convert a conversation to text and ids, and generate the model's answers.

A model for conversations is trained on texts that name the speaker before each message and end each message with a
special token, as here for SmolLM2:

    <|im_start|>user
    What is the capital of France?<|im_end|>
    <|im_start|>assistant

The continuation, up to the <|im_end|> that the model generates, is the answer. A *chat template*, a small Jinja program
by the model's author, writes the text (see templates.py). The content of a message is ordinary text. A user who
writes "<|im_end|>" cannot end the message and begin another one under a different role, unlike in Transformers.
"""

import json

import numpy as np

from gradcheck.front.streams import one_line
from minitransformer.generation import KeyValueCache, stream
from minitransformer.interop.templates import render
from minitransformer.language_model import LanguageModel
from minitransformer.system.cores import decoding
from minitransformer.system.extras import require
from minitransformer.text.byte import without_surrogates

PRIVATE_USE = range(0xF0000, 0xFFFFE)  # code points to which Unicode assigns no meaning


def render_chat(tokenizer, messages, add_generation_prompt=True) -> str:
    """Return a conversation as text, as Transformers' apply_chat_template does.

    `messages` are dictionaries {"role": "system", "user" or "assistant", "content": str}. With `add_generation_prompt`
    the text ends with the beginning of the assistant's next message. Raises ValueError if there is no chat template, or
    if it rejects the conversation or exceeds its limits, and MissingExtra if the extra `interop` is not installed.
    """
    require("jinja2", extra="interop")
    check_messages(tokenizer, messages)
    names = {"tools": None, "documents": None, **tokenizer.token_names}
    names |= {"messages": messages, "add_generation_prompt": add_generation_prompt}
    try:
        return render(tokenizer.chat_template, names)
    except ValueError as error:
        raise ValueError(f"the chat template failed: {one_line(error)}") from None


def check_messages(tokenizer, messages=()):
    """Raise ValueError if there is no template, or if a message is invalid or not JSON-serializable."""
    if tokenizer.chat_template is None:
        raise ValueError("the model has no chat template, because it was not trained for conversations")
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError(f"a message must be a dictionary with the strings 'role' and 'content', not {message!r}")
        try:
            json.dumps(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"a message must be JSON-serializable: {error}") from None


def encode_chat(tokenizer, messages, add_generation_prompt=True):
    """Return the ids (T,) of a conversation. Arguments and exceptions are those of render_chat.

    Only the template can produce special tokens. While it runs, each special token in a message is replaced with a
    character that no message contains.
    """
    check_messages(tokenizer, messages)
    taken = set().union(*(message["content"] for message in messages))
    free = [chr(point) for point in PRIVATE_USE if chr(point) not in taken]
    stand_in = dict(zip(tokenizer.special_tokens, free, strict=False))
    shown = str.maketrans({character: text for text, character in stand_in.items()})
    harmless = []
    for message in messages:
        pieces = tokenizer.split_at_special_tokens("".join(without_surrogates([message["content"]])))
        content = "".join(stand_in[piece] if i % 2 else piece for i, piece in enumerate(pieces))  # odd: special tokens
        harmless.append({**message, "content": content})
    written = tokenizer.split_at_special_tokens(render_chat(tokenizer, harmless, add_generation_prompt))
    return tokenizer.joined_ids(written, lambda piece: tokenizer.encode(piece.translate(shown)))


class Conversation:
    """A conversation with a model. `messages` is its history.

    system     the first message, with instructions for the model. If it is None, the template may add its own
    settings   temperature, top_k, top_p and rng, as in generation.generate

    A key–value cache keeps the tokens that consecutive turns have in common. If the conversation exceeds the context,
    the oldest turns are removed until it fills at most half of the context, or until only the last message remains.
    Raises ValueError if the model has no chat template.
    """

    def __init__(self, lm: LanguageModel, system: str | None = None, **settings):
        self.lm = lm
        self.settings = settings
        self.messages = [] if system is None else [{"role": "system", "content": system}]
        self.kept = len(self.messages)  # number of messages at the beginning that are never removed
        self.forgotten = 0  # number of messages that have been removed
        self.generated = 0  # number of tokens generated so far
        self.cache = KeyValueCache(lm.model.config)
        self.read = []  # the ids whose keys and values are in the cache
        check_messages(lm.tokenizer)

    def answer(self, content: str, max_new_tokens: int = 512):
        """Add a user message, and yield the answer in pieces. Each yielded piece becomes part of the history.

        Raises ValueError if the message cannot be encoded or leaves no room for an answer in the context.
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
        """Return the ids of the conversation, after removing the oldest turns if there are too many.

        The ids leave room for max_new_tokens or a quarter of the context, whichever is smaller. If only the last
        message remains, they leave room for at least one token.
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
        raise ValueError(f"the message has {len(ids):,} tokens; the model's context allows fewer than {context:,}")

    def answer_ids(self, ids, max_new_tokens):
        """Yield the ids of the answer, except the id that ends the turn."""
        tokenizer, context = self.lm.tokenizer, self.lm.model.config.context
        common = min(len(self.read), len(ids) - 1)
        differs = np.asarray(self.read[:common]) != np.asarray(ids[:common])
        self.cache.truncate(int(differs.argmax()) if differs.any() else common)
        self.read = self.read[: self.cache.length]
        new, most = [], min(max_new_tokens, context - len(ids))
        settings = {"stop": tokenizer.end_ids, "vocab_size": tokenizer.vocab_size, "cache": self.cache, **self.settings}
        for i in stream(self.lm.model, ids, most, **settings):
            self.read = [*ids, *new]
            new.append(int(i))
            self.generated += 1
            if i not in tokenizer.end_ids:
                yield i
