"""A text as a stream of chunks, so that a text of any size can be read without holding all of it.

Where a tokenizer is trained or a corpus made, a text is a str or an iterable of str (for a corpus, one that can be read
again), and the answer never depends on where the chunks were cut.
"""

CHUNK = 2**20  # characters of a str, or bytes of a file, handled at a time


def chunks_of(text):
    """Yield `text`, a str or an iterable of str, in order and in pieces; a str in pieces of at most CHUNK characters.

    Raises TypeError for anything else.
    """
    if isinstance(text, str):
        for start in range(0, len(text), CHUNK):
            yield text[start : start + CHUNK]
        return
    if isinstance(text, (bytes, bytearray)) or not hasattr(text, "__iter__"):
        raise TypeError(f"text must be a str or an iterable of str, not {type(text).__name__}")
    for chunk in text:
        if not isinstance(chunk, str):
            raise TypeError(f"text must be a str or an iterable of str, not of {type(chunk).__name__}")
        yield chunk


def slice_characters(chunks, start, stop):
    """Yield the characters from position `start` up to `stop` of the text that `chunks` hold."""
    position = 0
    for chunk in chunks:
        if position >= stop:
            return
        piece = chunk[max(start - position, 0) : stop - position]
        position += len(chunk)
        if piece:
            yield piece
