"""Who else wants the cores is told from how many threads run, and the cores that are left are what is taken."""

import os
import sys
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import cores, crowd
from minitransformer.crowd import Crowd


@pytest.fixture
def around(monkeypatch):
    """Return a function that looks at every moment, own threads awake and so many running; and the Crowd it fills."""
    seen, now = Crowd(), 100.0

    def look(running, own=1, times=1, every=crowd.EVERY):
        nonlocal now
        monkeypatch.setattr(crowd, "running", lambda: running)
        monkeypatch.setattr(crowd.time, "monotonic", lambda: now)
        for _ in range(times):
            now += every
            seen.look(own)
        return seen

    return look


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/loadavg")
def test_this_very_thread_is_one_that_runs():
    assert crowd.running() >= 1


@pytest.mark.parametrize("content", [b"", b"0.5 0.4 0.3", b"0.1 0.2 0.3 many/100 5"])
def test_where_the_system_does_not_say_there_is_nobody(monkeypatch, content):
    monkeypatch.setattr(os, "pread", lambda *arguments: content, raising=False)
    assert crowd.running() == 0
    monkeypatch.delattr(os, "pread", raising=False)
    assert crowd.running() == 0


def test_nor_is_there_anybody_without_the_file(monkeypatch):
    def missing():
        raise FileNotFoundError("/proc/loadavg")

    monkeypatch.setattr(crowd, "load_average", missing)
    assert crowd.running() == 0


@given(running=st.integers(0, 100), own=st.integers(1, 100))
def test_own_threads_are_no_others(running, own):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowd, "running", lambda: running)
        seen = Crowd()
        for _ in range(2000):
            seen.look(own)
    assert seen.others == pytest.approx(max(running - own, 0), abs=1e-3)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_a_crowd_is_noticed_within_four_looks_and_forgotten_after_some_more(around, others):
    assert not around(2 + others, own=2, times=4).is_small()
    assert not around(1, times=10).is_small()
    assert around(1, times=300).is_small()


def test_a_crowd_is_forgotten_in_as_much_time_however_seldom_it_is_looked(around):
    for every, looks in [(0.001, 300), (0.02, 15), (0.3, 1)]:
        assert not around(4, own=2, times=4).is_small()
        assert around(1, times=looks, every=every).is_small()


def test_one_who_is_gone_in_a_moment_is_no_crowd_however_often_that_happens(around):
    for times, pause in [(1, 5), (2, 9)]:
        for _ in range(50):
            assert around(3, own=2, times=times).is_small()
            assert around(2, own=2, times=pause).is_small()


def test_it_is_not_looked_twice_in_a_moment(monkeypatch):
    seen = Crowd()
    for moments, is_due in [(0, True), (0.5, False), (0.9, False), (1.1, True), (2, False), (2.2, True)]:
        monkeypatch.setattr(crowd.time, "monotonic", lambda now=5 + moments * crowd.EVERY: now)
        assert seen.is_due() == is_due


# What is made of it.


@pytest.mark.parametrize("others, free", [(0, 4), (0.4, 4), (0.6, 3), (1, 3), (2, 2), (3, 1), (9, 1)])
def test_threads_are_free_as_far_as_there_are_cores_that_nobody_wants(monkeypatch, others, free):
    monkeypatch.setattr(cores, "threads", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores.crowd, "others", others)
    assert cores.free_threads() == free


def test_those_who_have_few_threads_give_up_none_while_cores_are_left(monkeypatch):
    monkeypatch.setattr(cores, "threads", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cores.crowd, "others", 20.0)
    assert cores.free_threads() == 4


@pytest.fixture
def two_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(2):
        if cores.threads() < 2:
            pytest.skip("needs two cores")
        yield


def test_in_a_crowd_the_matrix_library_has_one_thread_and_afterwards_what_it_had(two_threads, monkeypatch):
    monkeypatch.setattr(cores.crowd, "look", lambda own: None)
    for others, expected in [(0.0, 2), (8.0, 1), (0.0, 2)]:
        monkeypatch.setattr(cores.crowd, "others", others)
        assert cores.fairly(lambda: cores.threads()) == expected
        assert cores.threads() == 2


@pytest.fixture
def limits_beside(monkeypatch):
    """Return a function that puts six threads on six cores beside so many others; and the limits they are given."""
    had = []
    library = SimpleNamespace(limit=lambda limits: nullcontext(had.append(limits)))
    monkeypatch.setattr(cores, "matrix_library", lambda: library)
    monkeypatch.setattr(cores, "threads", lambda: 6)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(cores.crowd, "look", lambda own: None)

    def beside(others):
        monkeypatch.setattr(cores.crowd, "others", float(others))
        return had

    return beside


@pytest.mark.parametrize("others, evenly", [(0, 6), (1, 3), (2, 3), (3, 3), (4, 2), (9, 1)])
def test_what_is_to_be_shared_evenly_has_as_many_threads_as_divide_those_there_are(limits_beside, others, evenly):
    had = limits_beside(others)
    assert cores.fairly(lambda: "result", evenly=True) == "result"
    assert had == ([evenly] if others else [])


@pytest.mark.parametrize("others, expected", [(0, ("by 6", [])), (2, ("by 6", [6])), (9, ("in place of 6", [1]))])
def test_what_may_be_computed_alone_has_all_threads_or_one_that_takes_their_place(limits_beside, others, expected):
    had = limits_beside(others)
    assert (cores.fairly(lambda: "by 6", alone=lambda count: lambda: f"in place of {count}"), had) == expected
    had.clear()
    assert cores.fairly(lambda: "by 6", alone=lambda count: None) == "by 6"
    assert had == ([6] if others else [])


def test_whoever_looks_says_how_many_threads_the_products_had(two_threads, monkeypatch):
    said = []
    monkeypatch.setattr(cores.crowd, "look", said.append)
    monkeypatch.setattr(cores.crowd, "is_due", lambda: True)
    for others in (0.0, 8.0):
        monkeypatch.setattr(cores.crowd, "others", others)
        cores.fairly(lambda: None)
    assert said == [2, 1]


def test_whoever_has_one_thread_does_not_take_those_it_shares_its_work_with_for_a_crowd(two_threads, monkeypatch):
    monkeypatch.setattr(cores.crowd, "look", pytest.fail)
    monkeypatch.setattr(cores.crowd, "is_due", lambda: True)
    for others in (0.0, 8.0):
        monkeypatch.setattr(cores.crowd, "others", others)
        with cores.matrix_library().limit(limits=1):
            assert cores.fairly(lambda: 5) == 5


def test_an_exception_leaves_the_threads_as_they_were(two_threads, monkeypatch):
    monkeypatch.setattr(cores.crowd, "others", 8.0)
    with pytest.raises(ZeroDivisionError):
        cores.fairly(lambda: 1 / 0)
    assert cores.threads() == 2


def test_in_a_crowd_jobs_are_done_one_after_the_other_and_with_one_thread_as_without(two_threads, monkeypatch):
    for others, expected in [(0.0, 2), (8.0, 1)]:
        monkeypatch.setattr(cores.crowd, "others", others)
        side_by_side = threading.Barrier(expected)

        def work(job, side_by_side=side_by_side):
            side_by_side.wait(timeout=60)
            return cores.threads(), threading.current_thread()

        found = cores.side_by_side(work, [1, 2])
        assert [count for count, _ in found] == [1, 1]
        assert threading.current_thread() in {thread for _, thread in found}
        assert len({thread for _, thread in found}) == expected
        assert cores.threads() == 2
