"""A product is the product, in bits that do not depend on how many threads share it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import Config, Transformer, cores
from minitransformer.fast import product as home
from minitransformer.fast.cuts import cuts, in_one_sum, in_slices
from minitransformer.fast.product import (
    BITS_ARE_KNOWN,
    EVEN_TERMS,
    ONE_PART,
    UNSHARED,
    in_two_parts,
    known_kernel,
    product,
)

WAYS = {"as they lie": lambda x: x, "transposed": lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)}


@given(
    shape=st.sampled_from([(5, 4), (70, 90), (2, 3, 40, 80)]),
    inner=st.sampled_from([1, 7, ONE_PART, ONE_PART + 1, 5 * EVEN_TERMS, 1000]),
    way=st.sampled_from(list(WAYS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_product_is_what_einsum_says(shape, inner, way, seed):
    rng = np.random.default_rng(seed)
    *batch, rows, columns = shape
    a, b = WAYS[way](rng.standard_normal((*batch, rows, inner))), rng.standard_normal((*batch, inner, columns))
    for either in (product, in_two_parts):
        assert np.allclose(either(a, b), np.einsum("...pi,...io->...po", a, b), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("columns", [3, 2000])
def test_so_is_one_with_a_vector(rng, columns):
    a, b = rng.standard_normal(700), rng.standard_normal((700, columns))
    assert np.allclose(product(a, b), np.einsum("i,io->o", a, b), rtol=1e-10, atol=1e-10)
    assert np.allclose(product(b.T, a[:, None])[:, 0], np.einsum("io,i->o", b, a), rtol=1e-10, atol=1e-10)


@pytest.fixture
def among(monkeypatch):
    """Return a function that returns a result among so many others."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(cores.crowd, "look", lambda own: None)
    monkeypatch.setattr(cores, "available_cores", lambda: 4)

    def result(others, threads, function, *arguments):
        with threadpoolctl.threadpool_limits(threads):
            monkeypatch.setattr(cores.crowd, "others", others)
            return function(*arguments)

    return result


INNER = [192, 257, 500, 1000, 1531]


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("inner, dtype", [*((inner, np.float32) for inner in INNER), (500, np.float64)])
def test_the_bits_are_the_same_in_a_crowd_and_alone(among, rng, inner, threads, dtype):
    for way in WAYS.values():
        a = way(rng.standard_normal((90, inner)).astype(dtype))
        b = rng.standard_normal((inner, 85)).astype(dtype)
        for x, y in [(a, b), (b.T, a.T)]:
            alone, in_a_crowd = (among(others, threads, product, x, y) for others in (0.0, 99.0))
            assert np.array_equal(alone, in_a_crowd)


@pytest.mark.parametrize("rows, columns", [(1024, 1536), (1000, 1001), (64, 16384), (1216, 320)])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_so_are_those_of_a_sum(among, monkeypatch, rng, rows, columns, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    for a, b in [(np.ones(rows, x.dtype), x), (x[:1, :rows], x[:rows]), (x, np.ones((columns, 1), x.dtype))]:
        if a.shape[-1] == b.shape[0]:
            alone = among(0.0, threads, product, a, b)
            for others in range(1, threads):
                assert np.array_equal(alone, among(float(others), threads, product, a, b))


def test_so_are_those_of_a_whole_step(among, rng):
    model = Transformer(Config(vocab_size=601, context=64, d_model=64, n_heads=4, n_layers=1), seed=3)
    ids, targets = rng.integers(0, 601, (2, 12, 64))

    def step():
        loss, backward = model.loss(ids, targets)
        for parameter in model.parameters():
            parameter.grad = None
        backward()
        return [loss, *(parameter.grad for parameter in model.parameters())]

    for alone, in_a_crowd in zip(among(0.0, 2, step), among(99.0, 2, step), strict=True):
        assert np.array_equal(alone, in_a_crowd)


def test_small_products_and_those_of_one_thread_ask_nobody(rng, monkeypatch):
    monkeypatch.setattr(cores.crowd, "is_small", lambda: pytest.fail("asked"))
    side = round(UNSHARED ** (1 / 3))
    assert product(np.ones((side, side)), np.ones((side, side))).shape == (side, side)


# With the kernels for AVX2, one thread cuts as several do.


@given(
    rows=st.integers(2, 300),
    inner=st.one_of(st.integers(1, 1500), st.sampled_from([320, 321, 640, 641, 960])),
    columns=st.integers(2, 1500),
    count=st.integers(1, 9),
)
def test_slices_hold_each_row_term_and_column_once(rows, inner, columns, count):
    slices = cuts(rows, inner, columns, count)
    if slices is not None:
        held = [
            (range(*i.indices(rows)), range(*k.indices(inner)), range(*j.indices(columns))) for i, k, j, _ in slices
        ]
        assert sum(len(i) * len(k) * len(j) for i, k, j in held) == rows * inner * columns
        assert len({(i.start, k.start, j.start) for i, k, j in held}) == len(held)


@pytest.mark.parametrize("shape", [(96, 40, 300), (512, 33, 80), (64, 700, 100)])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_so_the_product_of_slices_is_the_product(rng, shape, batch):
    rows, inner, columns = shape
    a, b = rng.standard_normal((*batch, rows, inner)), rng.standard_normal((inner, columns))
    for count in (2, 3, 4):
        slices = cuts(rows, inner, columns, count)
        assert len(slices) > 1
        assert np.allclose(in_slices(slices, a, b), np.einsum("...pi,io->...po", a, b), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("columns", [1, 11, 12, 40])
def test_a_product_in_one_sum_is_the_product(rng, columns):
    a, b = rng.standard_normal((2, 9, 30)), rng.standard_normal((2, 30, columns))
    assert np.allclose(in_one_sum(a, b), np.einsum("bpi,bio->bpo", a, b), rtol=1e-10, atol=1e-10)


# Rows of which 8 remain beside twelves, odd numbers of terms and of columns, more columns than rows and fewer.
AVX2 = """
import numpy as np, threadpoolctl
from minitransformer import cores
from minitransformer.fast.cuts import cuts
from minitransformer.fast.product import known_kernel, product

if known_kernel() != "Haswell":
    raise SystemExit(77)
cores.available_cores = lambda: 8
cores.crowd.look = lambda own: None
rng = np.random.default_rng(0)
shapes = [(512, 40, 600), (128, 1024, 128), (300, 1000, 90), (73, 641, 500), (64, 333, 1500), (64, 40, 1297)]
shapes += [tuple(int(x) for x in rng.integers((40, 100, 40), (300, 400, 400))) for _ in range(9)]
differ = cut = 0
for threads, some in ((2, shapes), (4, shapes[:3])):
    cores.os.cpu_count = lambda: threads
    for rows, inner, columns in some:
        a, b = rng.standard_normal((rows, inner), np.float32), rng.standard_normal((columns, inner), np.float32).T
        for x, y in [(a, b), (b.T, a.T), (a, a.T)]:
            results = []
            with threadpoolctl.threadpool_limits(threads):
                for others in (0.0, 99.0):
                    cores.crowd.others = others
                    results.append(product(x, y))
            with threadpoolctl.threadpool_limits(1):
                differ += not np.array_equal(x @ y, results[0])
            assert np.array_equal(*results), (threads, rows, inner, columns)
            cut += cuts(x.shape[0], *y.shape, threads) is not None
print(differ, cut)
"""


def test_with_the_kernels_for_avx2_the_bits_are_the_same_as_well_though_those_of_one_thread_differ():
    pytest.importorskip("threadpoolctl")
    environment = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    command = [sys.executable, "-c", AVX2]
    ended = subprocess.run(command, env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if ended.returncode == 77 or ended.returncode < 0:
        pytest.skip("no library or processor of which this is known")
    assert ended.returncode == 0, ended.stderr
    assert min(int(count) for count in ended.stdout.split()) > 10


# Of which matrix library this is known.


@pytest.fixture
def library(monkeypatch):
    """Return a function that makes the matrix library one of such a kind."""

    def become(*kinds):
        libraries = SimpleNamespace(lib_controllers=kinds) if kinds else None
        monkeypatch.setattr(home, "matrix_library", lambda: libraries)
        known_kernel.cache_clear()

    yield become
    known_kernel.cache_clear()


def kind(version="0.3.31.188.0", architecture="SkylakeX", folder="numpy.libs", internal_api="openblas"):
    filepath = f"/somewhere/{folder}/library.so"
    return SimpleNamespace(version=version, architecture=architecture, filepath=filepath, internal_api=internal_api)


def test_bits_are_known_of_the_kernels_and_versions_that_were_measured(library):
    for version, architecture in BITS_ARE_KNOWN:
        library(kind(version, architecture))
        assert known_kernel() == architecture


def test_whether_they_are_is_a_matter_of_the_library_that_numpy_uses_and_not_of_what_else_is_there(library):
    for other in [kind("0.3.3", folder="scipy.libs"), kind("2026", "", "lib", "mkl")]:
        library(other, kind())
        assert known_kernel() == "SkylakeX"


@pytest.mark.parametrize(
    "other",
    [
        {"version": "0.3.3"},
        {"version": "0.3.31.189.0"},
        {"version": None},
        {"architecture": "Nehalem"},
        {"architecture": "Haswell", "version": "0.3.31.dev"},
        {"folder": "lib"},
        {"internal_api": "mkl"},
    ],
    ids=lambda other: " ".join(map(str, other.values())),
)
def test_of_any_other_they_are_not_and_a_product_has_the_threads_that_there_are(rng, library, monkeypatch, other):
    for kinds in [(kind(**other),), (kind(folder="scipy.libs"), kind(**other)), ()]:
        library(*kinds)
        monkeypatch.setattr(home, "fairly", lambda *arguments, **options: pytest.fail("asked who else is there"))
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((90, 1000), (1000, 88)))
        ones = np.ones(1000, np.float32)
        for x, y in [(a, b), (b.T, a.T), (ones, b), (a, ones[:, None])]:
            assert np.array_equal(product(x, y), x @ y)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["SkylakeX", "Sandybridge", "Haswell", "Nehalem"])
def test_whatever_the_kernel_the_bits_are_the_same_in_a_crowd_and_alone(architecture):
    pytest.importorskip("threadpoolctl")
    environment = os.environ | {"OPENBLAS_CORETYPE": architecture}
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", __file__]
    ended = subprocess.run(tests, env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if ended.returncode < 0:
        pytest.skip("this processor does not have its instructions")
    assert ended.returncode == 0, ended.stdout
