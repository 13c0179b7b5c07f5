"""Load the tensors of a file into the Parameters of a model.

A source is a file or folder. It has the attributes `path` and `shapes`, a dictionary {name: shape} of all tensors
except buffers. The method read(name, rows, columns) returns a part of a tensor as floating-point numbers.

All names and shapes are compared with the configuration before any memory is allocated. Then each Parameter is filled
a few rows at a time, so the peak memory is little more than that of the model.
"""

import math

import numpy as np

from minitransformer.config import Config
from minitransformer.interop.architectures import Layout, StoredTensor, interleaved_rows, tensors
from minitransformer.language_model import unset_model
from minitransformer.system.archive import ArchiveError, archive_errors
from minitransformer.transformer import Transformer

NUMBERS_AT_ONCE = 1 << 18  # numbers that are read and converted at a time


def load_model(source, config: Config, layout: Layout) -> Transformer:
    """Return a Transformer with the tensors of a source. Raises ArchiveError if they do not match the Config."""
    with archive_errors(source.path):
        model = unset_model(config, list(source.shapes.values()))
    plan = list(tensors(model, layout))
    for tensor in plan:
        if tensor.name not in source.shapes:
            raise ArchiveError(f"{source.path}: the tensor {tensor.name} is missing")
        shape = source.shapes[tensor.name]
        if shape != tensor.shape:
            raise ArchiveError(f"{source.path}: the tensor {tensor.name} must have shape {tensor.shape}, not {shape}")
    unexpected = source.shapes.keys() - {tensor.name for tensor in plan}
    if config.tie_embeddings:
        unexpected.discard(tied_head(source, layout))
    if unexpected:
        raise ArchiveError(f"{source.path}: unexpected tensor {min(unexpected)}, which the configuration does not use")
    parameters = dict(model.named_parameters())
    for tensor in plan:
        fill(tensor, parameters, source)
    return model


def tied_head(source, layout: Layout) -> str:
    """Return the name of the unembedding of a model with tied embeddings.

    Raises ArchiveError if the file contains an unembedding that differs from the embedding.
    """
    embedding, head = (f"{layout.components[name]}.weight" for name in ("embedding", "lm_head"))
    if head in source.shapes and (
        source.shapes[head] != source.shapes[embedding]
        or not all(
            np.array_equal(source.read(head, rows, slice(None)), source.read(embedding, rows, slice(None)))
            for rows in some_rows(source.shapes[head])
        )
    ):
        raise ArchiveError(f"{source.path}: {head} must equal {embedding}, because the configuration ties them")
    return head


def fill(tensor: StoredTensor, parameters: dict, source) -> None:
    """Read a tensor from `source` into its Parameters, which may be several that are concatenated in the file."""
    order = interleaved_rows(tensor.shape[0], tensor.heads) if tensor.heads else None
    start = 0
    for name in tensor.parameters:
        parameter = parameters[name]
        data = np.empty(parameter.data.shape, parameter.data.dtype)
        stored = data.T if tensor.transposed else data
        # The Parameters are concatenated along the output axis: the last in our orientation, the first if transposed.
        outputs_first = tensor.transposed or stored.ndim == 1
        first_row, columns = (start, slice(None)) if outputs_first else (0, slice(start, start + stored.shape[1]))
        for rows in some_rows(stored.shape):
            source_rows = slice(first_row + rows.start, first_row + rows.stop)
            with np.errstate(all="ignore"):  # overflow and NaN raise below
                stored[rows] = source.read(tensor.name, source_rows if order is None else order[source_rows], columns)
            if not np.isfinite(stored[rows]).all():
                raise ArchiveError(f"{source.path}: the tensor {tensor.name} must have only finite {data.dtype} values")
        parameter.data = data
        start += stored.shape[0] if outputs_first else stored.shape[1]


def some_rows(shape):
    """Divide the rows of an array into slices with about NUMBERS_AT_ONCE numbers each."""
    step = max(NUMBERS_AT_ONCE // max(math.prod(shape[1:]), 1), 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))
