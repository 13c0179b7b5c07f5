"""Ranks that share a batch, as threads or as processes of MPI, equal one process."""

import atexit
import copy
import functools
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from locks import another_run
from small_runs import SETTINGS, TEXT, At, assert_same_weights, fail, small_corpus, small_lm, without_seconds
from strategies import configs, random_ids, random_model, rngs

from minitransformer import LanguageModel
from minitransformer.cli import main
from minitransformer.language_model import mean_loss
from minitransformer.system.extras import install_command
from minitransformer.training import pretrain, ranks as ranks_module, read_metrics
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.environment import environment
from minitransformer.training.ranks import ModelOnRanks, Ranks, RanksDiffer, cores_of_a_rank, world
from minitransformer.training.replicas import Replicas

# Ranks that are threads.


class RankLostError(Exception):
    """A rank has failed, and the others wait for it."""


class ThreadRank:
    """The part of an mpi4py communicator that this package uses, for ranks that are threads.

    said: the values that each rank has sent so far. arrived: the ranks at the barrier. lost: ranks that have failed.
    """

    def __init__(self, rank, said, arrived, lost):
        self.rank, self.size, self.said, self.arrived, self.lost = rank, len(said), said, arrived, lost

    def exchange(self, value):
        number = len(self.said[self.rank])
        self.said[self.rank].append(copy.deepcopy(value))
        while True:
            lost = bool(self.lost)  # read first, and so after its last words
            if all(len(values) > number for values in self.said):
                return [copy.deepcopy(values[number]) for values in self.said]
            if lost:
                raise RankLostError
            time.sleep(0)

    def bcast(self, value):
        return self.exchange(value)[0]

    def Iallreduce(self, array, total):  # noqa: N802
        np.sum(self.exchange(array), axis=0, out=total)
        return SimpleNamespace(Test=lambda: True)

    def Ibarrier(self):  # noqa: N802
        self.arrived.append(self.rank)
        return SimpleNamespace(Test=lambda: len(self.arrived) == self.size)

    def Dup(self):  # noqa: N802
        return self

    def Abort(self, status):  # noqa: N802
        pass


def on_ranks(size, function):
    """Return the result or the exception of function(communicator) on each of `size` ranks."""
    said, results, arrived, lost = [[] for _ in range(size)], [None] * size, [], []

    def run(rank):
        try:
            results[rank] = function(ThreadRank(rank, said, arrived, lost))
        except BaseException as error:
            results[rank] = error
            lost.append(rank)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def together(size, function):
    results = on_ranks(size, function)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, RankLostError)):
        raise error
    return results


def gradients(model, source, batches, **options):
    """Return losses, and the gradients of `model` after the backward passes of `source` (the model or its replicas)."""
    losses = []
    for ids, targets in batches:
        loss, backward = source.loss(ids, targets, **options)
        backward(0.7)
        losses.append(float(loss))
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


@given(configs(), rngs, st.integers(1, 3), st.integers(1, 5), st.integers(1, 2))
def test_any_number_of_ranks_has_the_loss_and_gradients_of_one_process(config, rng, size, batch, accumulate):
    model = random_model(config, rng)
    batches = [[random_ids(config, rng, batch, config.context) for _ in range(2)] for _ in range(accumulate)]
    for _, targets in batches:
        targets[rng.random(targets.shape) < 0.3] = -100  # so that the shares weigh differently
    frozen = rng.choice(len(model.parameters()))
    model.parameters()[frozen].requires_grad = False

    def on_rank(communicator):
        own = copy.deepcopy(model)
        return gradients(own, ModelOnRanks(own, Ranks(communicator)), batches)

    alone = copy.deepcopy(model)
    losses, expected = gradients(alone, alone, batches)
    results = together(size, on_rank)
    for shared_losses, shared in results:
        assert shared_losses == pytest.approx(losses, rel=1e-10)
        for name, gradient in expected.items():
            assert (shared[name] is None) == (gradient is None), name
            if gradient is not None:
                np.testing.assert_allclose(shared[name], gradient, rtol=1e-8, atol=1e-10, err_msg=name)
                assert shared[name].dtype == gradient.dtype
                assert shared[name].tobytes() == results[0][1][name].tobytes()


@pytest.mark.slow
def test_a_rank_may_have_replicas(rng):
    pytest.importorskip("threadpoolctl")
    model = small_lm(dtype="float64").model
    batches = [rng.integers(0, 14, (2, 5, 8))]
    alone = copy.deepcopy(model)
    losses, expected = gradients(alone, alone, batches)

    starting = threading.Lock()  # threads share the environment, which a process inherits

    def on_rank(communicator):
        own = copy.deepcopy(model)
        with starting:
            replicas = Replicas(own, 2)
        return gradients(own, ModelOnRanks(replicas, Ranks(communicator)), batches)

    for shared_losses, shared in together(2, on_rank):
        assert shared_losses == pytest.approx(losses, rel=1e-12)
        for name, gradient in expected.items():
            np.testing.assert_allclose(shared[name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)


def test_each_rank_drops_other_entries_and_the_same_ones_again(rng):
    ids, targets = rng.integers(0, 14, (2, 4, 8))

    def on_rank(communicator, seed):
        spy, generator = Spy(), np.random.default_rng(seed)
        loss, _ = ModelOnRanks(spy, Ranks(communicator)).loss(ids, targets, rng=generator)
        return spy.drawn, loss, generator.random()

    one, two = together(2, functools.partial(on_rank, seed=1))
    assert one[0] != two[0]
    assert one[1:] == two[1:]  # one loss, and generators that are still alike
    assert together(2, functools.partial(on_rank, seed=1)) == [one, two]
    assert together(2, functools.partial(on_rank, seed=2))[0] != one


class Spy:
    """In a model's place: remembers the random number that dropout would begin with, and has it for a loss."""

    parameters = named_parameters = None

    def loss(self, ids, targets, *, rng):
        self.drawn = rng.random()
        return self.drawn, None


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 100])
def test_an_evaluation_in_shares_is_the_whole(rng, tokens):
    model = small_lm(dtype="float64").model
    ids = rng.integers(0, 14, tokens + 1)
    expected = mean_loss(model, ids, 3)
    assert Ranks().mean_loss(model, ids, 3) == expected
    assert together(3, lambda c: Ranks(c).mean_loss(model, ids, 3)) == [pytest.approx(expected, rel=1e-12)] * 3


def run_on(size, out, *, resume=False, dropout=0.0, act=None, seed=0):
    def on_rank(communicator):
        lm = small_lm(dtype="float64", dropout=dropout, seed=seed)
        observer = At(*act) if act and communicator.rank == 0 else None
        folder = out / str(communicator.rank)
        options = {"out": folder, "resume": resume, "observer": observer, "communicator": communicator}
        return lm, without_seconds(pretrain(lm, small_corpus(), SETTINGS, **options))

    return together(size, on_rank)


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_on_ranks_is_that_of_one_process_and_the_first_alone_writes(tmp_path, size):
    lm = small_lm(dtype="float64", dropout=0.0)
    alone = without_seconds(pretrain(lm, small_corpus(), SETTINGS))
    results = run_on(size, tmp_path)
    for other, records in results:
        assert_same_weights(other, results[0][0])
        assert records == results[0][1]
        for record, expected in zip(records, alone, strict=True):
            assert record.get("sample") == expected.get("sample")
            assert record | {"sample": 0} == pytest.approx(expected | {"sample": 0}, rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert_same_weights(LanguageModel.load(tmp_path / "0" / "model.npz"), results[0][0])


@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_alike_on_as_many_ranks_and_nearly_so_on_others(tmp_path):
    whole = run_on(2, tmp_path / "whole", dropout=0.2)
    with pytest.raises(ZeroDivisionError):
        run_on(2, tmp_path / "a", dropout=0.2, act=(8, fail))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert_same_weights(run_on(2, tmp_path / "a", dropout=0.2, resume=True, seed=1)[1][0], whole[0][0])
    assert without_seconds(tmp_path / "a" / "0" / "metrics.jsonl") == whole[0][1]

    without_dropout = run_on(2, tmp_path / "whole2")
    with pytest.raises(ZeroDivisionError):
        run_on(3, tmp_path / "c", act=(8, fail))
    for name, array in run_on(2, tmp_path / "c", resume=True, seed=1)[1][0].model.named_parameters():
        expected = dict(without_dropout[0][0].model.named_parameters())[name].data
        np.testing.assert_allclose(array.data, expected, rtol=1e-5, atol=1e-8, err_msg=name)


def test_a_run_whose_ranks_differ_in_a_bit_is_stopped_before_its_first_checkpoint(tmp_path):
    def on_rank(communicator):
        lm = small_lm()
        if communicator.rank == 2:
            bias = lm.model.blocks[0].attention.w_q.bias.data
            bias[3] = np.nextafter(bias[3], np.float32(1))
        with pytest.raises(RanksDiffer, match="the weights of rank 2 differ from those of rank 0"):
            pretrain(lm, small_corpus(), SETTINGS, out=tmp_path, communicator=communicator)

    together(3, on_rank)
    assert not (tmp_path / "model.npz").exists()


def test_where_another_run_is_at_work_the_first_rank_says_so_and_the_others_leave(tmp_path):
    def on_rank(communicator):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, communicator=communicator)

    with another_run(tmp_path):
        first, *others = on_ranks(3, on_rank)
    assert isinstance(first, BlockingIOError) and "another run uses this folder" in str(first)
    assert [repr(other) for other in others] == ["SystemExit(0)"] * 2
    assert os.listdir(tmp_path) == []


def failing(communicator, who):
    """Fail on the ranks in `who`, and wait on the others for longer than failures are waited for."""
    with Ranks(communicator).failing_together():
        if communicator.rank in who:
            fail()
        time.sleep(0.2)


def test_a_failure_that_all_share_is_raised_by_the_first(monkeypatch):
    ended = []
    monkeypatch.setattr(atexit, "register", lambda *call: ended.append(call))
    first, *others = on_ranks(3, lambda c: failing(c, {0, 1, 2}))
    assert isinstance(first, ZeroDivisionError)
    assert [(type(other), other.code) for other in others] == [(SystemExit, 0)] * 2
    assert ended == []


def test_a_failure_that_the_others_do_not_share_ends_them(monkeypatch):
    ended = []
    monkeypatch.setattr(atexit, "register", lambda *call: ended.append(call))
    monkeypatch.setattr(ranks_module, "PATIENCE", 0.05)
    results = on_ranks(3, lambda c: failing(c, {1}))
    assert isinstance(results[1], ZeroDivisionError)
    assert [(abort.__name__, status) for abort, status in ended] == [("Abort", 1)]


def test_without_mpirun_a_process_is_alone(monkeypatch):
    for name in (*ranks_module.SIZE_VARIABLES, *ranks_module.RANK_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    assert world().communicator is None
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert world().communicator is None and world().first
    assert "ranks" not in environment()["threads"]


@pytest.mark.parametrize("variables", [("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK")])
def test_without_mpi4py_mpirun_is_refused_in_one_line(monkeypatch, capsys, tmp_path, variables):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv(variables[0], "2")
    monkeypatch.setenv(variables[1], "0")
    assert main(["train", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"minitransformer: error: mpi4py is not installed: install it with {install_command('mpi')}, "
        "or run the command without mpirun\n"
    )
    monkeypatch.setenv(variables[1], "1")
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().err == ""


def test_the_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(ranks_module, "available_cores", lambda: 8)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    for name in ranks_module.NEIGHBOURS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    found = [cores_of_a_rank()]
    for neighbours in ("1", "2", "3", "16"):
        monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", neighbours)
        found.append(cores_of_a_rank())
    assert found == [8, 8, 4, 2, 1]
    monkeypatch.setattr(ranks_module, "available_cores", lambda: 1)  # mpirun has bound the process to one core
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
    assert cores_of_a_rank() == 1
    assert " 4 ranks" in environment()["threads"]


# Real processes.

mpi = pytest.mark.skipif(
    shutil.which("mpirun") is None or not all(map(importlib.util.find_spec, ("mpi4py", "threadpoolctl"))),
    reason="needs mpirun, mpi4py and threadpoolctl",
)


def begin(folder, size, *options):
    """Start `train` on `size` ranks, which write their process's number to `folder`."""
    (folder / "text.txt").write_text(TEXT)
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl": "^tcp",  # a machine without a network has no other complaint
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OPENBLAS_NUM_THREADS": "1",
    }
    note = 'echo $$ > "$0.$OMPI_COMM_WORLD_RANK"; exec "$@"'
    train = [sys.executable, "-m", "minitransformer", "train", "--text", "text.txt", "--out", "out", *SMALL, *options]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = ["mpirun", "-n", str(size), "sh", "-c", note, "pid", *train]
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


SMALL = shlex.split(
    "--layers 1 --heads 2 --width 8 --context 8 --batch-size 5 --dtype float64 --sample-every 0 --eval-every 4 "
    "--checkpoint-every 3 --quiet --no-plot"
)


@pytest.mark.slow
@mpi
def test_mpirun_trains_what_one_process_trains(tmp_path):
    process = begin(tmp_path, 2, "--steps", "12")
    said, errors = process.communicate(timeout=100)
    assert (process.returncode, said) == (0, "out/model.npz\n"), errors
    arguments = ["train", "--text", str(tmp_path / "text.txt"), "--out", str(tmp_path / "alone"), *SMALL]
    assert main([*arguments, "--steps", "12"]) == 0
    together, alone = (without_seconds(tmp_path / name / "metrics.jsonl") for name in ("out", "alone"))
    for record, expected in zip(together, alone, strict=True):
        assert record == pytest.approx(expected, rel=1e-7)
    assert "2 ranks" in Checkpoint.read(tmp_path / "out" / "model.npz").training["environment"]["threads"]


def killed(folder, rank, how):
    """Begin an endless run on two ranks, send one of them a signal when it is under way. Returns (status, errors)."""
    process = begin(folder, 2, "--steps", "1000000", "--eval-every", "0")
    try:
        metrics, deadline = folder / "out" / "metrics.jsonl", time.monotonic() + 60
        while not (metrics.exists() and len(read_metrics(metrics)) > 20):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        os.kill(int((folder / f"pid.{rank}").read_text()), how)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, errors


@pytest.mark.slow
@mpi
def test_a_lost_rank_ends_the_run_in_words_and_leaves_the_last_checkpoint(tmp_path):
    status, errors = killed(tmp_path, 1, signal.SIGKILL)
    assert status != 0
    assert "Traceback" not in errors
    step = Checkpoint.read(tmp_path / "out" / "model.npz").training["step"]
    assert step >= 15 and step % 3 == 0


@pytest.mark.slow
@mpi
def test_ctrl_c_on_any_rank_ends_all_after_the_same_step(tmp_path):
    status, errors = killed(tmp_path, 1, signal.SIGINT)
    assert status == 130
    step = Checkpoint.read(tmp_path / "out" / "model.npz").training["step"]
    assert read_metrics(tmp_path / "out" / "metrics.jsonl")[-1]["step"] == step
    assert errors.count("minitransformer: ") == 1
    assert f"minitransformer: interrupted after step {step} of 1000000, saved in out; to resume: " in errors
