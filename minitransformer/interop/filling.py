"""From the tensors of a file to the Parameters of a model: every name and shape checked first, then layer by layer.

A source is a file, or several, seen as named tensors:

    source.path                          what messages name
    source.shapes                        name → shape, of every tensor that counts
    source.read(name, rows, columns)     the floating-point numbers of a part of one

Nothing is allocated before every tensor that the configuration asks for is known to be there with its shape, and no
other: since the reader has held the header against the length of the file, a header that lies cannot ask for memory.
Then each Parameter is made, and filled a few rows at a time, so that at the peak there is the model and little else.
"""

import numpy as np

from minitransformer.archive import ArchiveError
from minitransformer.config import Config
from minitransformer.interop.architectures import Layout, StoredTensor, interleaved_rows, tensors
from minitransformer.transformer import Transformer
from minitransformer.unset import unset_model

NUMBERS_AT_ONCE = 1 << 18  # read and converted: large enough to be quick, small beside the smallest of real models


def load_model(source, config: Config, layout: Layout) -> Transformer:
    """Return a Transformer with the numbers of a source. Raises ArchiveError unless its tensors are those to expect."""
    try:
        model = unset_model(config, list(source.shapes.values()))
    except ValueError as error:
        raise ArchiveError(f"{source.path}: {error}") from None
    plan = checked_plan(source, model, layout)
    parameters = dict(model.named_parameters())
    for tensor in plan:
        fill(tensor, parameters, source)
    return model


def checked_plan(source, model: Transformer, layout: Layout) -> list[StoredTensor]:
    """Return the tensors to read. Raises ArchiveError for one that is missing, unexpected, or of another shape."""
    plan = []
    unexpected = set(source.shapes)
    for tensor in tensors(model, layout):
        if tensor.name not in source.shapes:
            raise ArchiveError(f"{source.path}: the tensor {tensor.name} is missing")
        shape = source.shapes[tensor.name]
        if shape != tensor.shape:
            raise ArchiveError(
                f"{source.path}: the tensor {tensor.name} is {shape}, the configuration says {tensor.shape}"
            )
        unexpected.discard(tensor.name)
        plan.append(tensor)
    if model.config.tie_embeddings:
        discard_tied_head(source, layout, unexpected)
    if unexpected:
        raise ArchiveError(f"{source.path}: the configuration has no place for the tensor {min(unexpected)}")
    return plan


def discard_tied_head(source, layout: Layout, unexpected: set) -> None:
    """Take the unembedding of a model that is tied off the unexpected tensors, if it is there and is the embedding."""
    embedding, head = (f"{layout.components[name]}.weight" for name in ("embedding", "lm_head"))
    if head not in unexpected:
        return
    if source.shapes[head] != source.shapes[embedding] or not all(
        np.array_equal(source.read(head, rows, slice(None)), source.read(embedding, rows, slice(None)))
        for rows in some_rows(source.shapes[head])
    ):
        raise ArchiveError(f"{source.path}: the configuration ties {head} to {embedding}, and they differ")
    unexpected.discard(head)


def fill(tensor: StoredTensor, parameters: dict, source) -> None:
    """Give each Parameter that the tensor holds its numbers."""
    order = interleaved_rows(tensor.shape[0], tensor.heads) if tensor.heads else None
    start = 0
    for name in tensor.parameters:
        parameter = parameters[name]
        data = np.empty(parameter.data.shape, parameter.data.dtype)
        stored = data.T if tensor.transposed else data
        # Their outputs, one Parameter after the other, are the last axis of our orientation, the first of the other.
        outputs_first = tensor.transposed or stored.ndim == 1
        first_row, columns = (start, slice(None)) if outputs_first else (0, slice(start, start + stored.shape[1]))
        for rows in some_rows(stored.shape):
            source_rows = slice(first_row + rows.start, first_row + rows.stop)
            with np.errstate(all="ignore"):  # what overflows or is no number is refused below
                stored[rows] = source.read(tensor.name, source_rows if order is None else order[source_rows], columns)
            if not np.isfinite(stored[rows]).all():
                raise ArchiveError(
                    f"{source.path}: the tensor {tensor.name} holds what is no finite {data.dtype} number"
                )
        parameter.data = data
        start += stored.shape[0] if outputs_first else stored.shape[1]


def some_rows(shape):
    """Yield slices that cover the rows of an array of this shape, each of about NUMBERS_AT_ONCE numbers."""
    row = max(int(np.prod(shape[1:])), 1)
    step = max(NUMBERS_AT_ONCE // row, 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))
