"""Elementwise functions of large arrays, computed in blocks.

An expression such as x · tanh(c x (1 + a x²)) takes about six operations, each of which reads and writes a whole array.
Blocks stay in the processor's cache. They reduce the time of GELU of 800,000 entries to 65 %, and that of 3 million
entries to 40 % if two cores share the blocks. Arrays with fewer than half a million entries fit into the cache, so
blocks save no time.
"""

import numpy as np

from minitransformer.system.cores import ENOUGH_FOR_THREADS, side_by_side

BLOCK = 65536  # entries
ENOUGH_FOR_BLOCKS = 8 * BLOCK


def elementwise(function, *arrays):
    """Apply an elementwise function, which returns a tuple, to arrays of one shape in blocks."""
    size, shape = arrays[0].size, arrays[0].shape
    if size < ENOUGH_FOR_BLOCKS:
        return function(*arrays)
    flat = [array.reshape(-1) for array in arrays]
    first, *others = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
    parts = function(*(array[first] for array in flat))
    results = [np.empty(size, part.dtype) for part in parts]

    def work(block):
        for result, part in zip(results, function(*(array[block] for array in flat)), strict=True):
            result[block] = part

    for result, part in zip(results, parts, strict=True):
        result[first] = part
    if size < ENOUGH_FOR_THREADS:
        for block in others:
            work(block)
    else:
        side_by_side(work, others)
    return tuple(result.reshape(shape) for result in results)
