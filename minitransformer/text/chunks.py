"""A text as a stream of chunks, so that the whole text need not be in memory.

A function that trains a tokenizer or encodes a corpus accepts a str or an iterable of str (for a corpus, one that can
be iterated several times). Its result does not depend on the division into chunks.
"""

CHUNK = 2**20  # characters of a str, or bytes of a file, that are processed at a time


def chunks_of(text):
    """Yield a str in parts of at most CHUNK characters, or the items of an iterable of str."""
    if isinstance(text, str):
        for start in range(0, len(text), CHUNK):
            yield text[start : start + CHUNK]
        return
    if isinstance(text, (bytes, bytearray)) or not hasattr(text, "__iter__"):
        raise TypeError(f"text must be a str or an iterable of str, not {type(text).__name__}")
    for chunk in text:
        if not isinstance(chunk, str):
            raise TypeError(f"text must be a str or an iterable of str, not an iterable of {type(chunk).__name__}")
        yield chunk


def slice_characters(chunks, start, stop):
    """Yield the characters from position `start` up to `stop` of a text in chunks."""
    position = 0
    for chunk in chunks:
        if position >= stop:
            return
        piece = chunk[max(start - position, 0) : stop - position]
        position += len(chunk)
        if piece:
            yield piece
