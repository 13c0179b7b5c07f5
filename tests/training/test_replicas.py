"""Replicas of a model in processes give the results of the model alone."""

import gc
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archives import load_archive
from hypothesis import given, settings, strategies as st
from small_runs import SETTINGS, TEXT, small_corpus, small_lm
from strategies import configs, random_ids, random_model, rngs

from minitransformer import Config, Transformer
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.timing import peak_above
from minitransformer.cli import main
from minitransformer.experiments.patterns import PatternSettings
from minitransformer.experiments.patterns.training import PatternRun
from minitransformer.system.archive import save_archive
from minitransformer.system.extras import install_command
from minitransformer.training import PreferenceSettings, pretrain, replica_process, replicas as replicas_module
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.replica_process import ReplicaLost, ReplicaProcess
from minitransformer.training.replicas import Replicas, replicas_that_pay

pytest.importorskip("threadpoolctl")


def gradients(model, source, ids, targets, **options):
    loss, backward = source.loss(ids, targets, **options)
    backward(0.7)
    found = [parameter.grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    return float(loss), found


@settings(max_examples=4)  # each starts processes
@given(configs(), rngs, st.integers(1, 4), st.integers(1, 5))
def test_any_number_of_replicas_gives_the_loss_and_gradients_of_the_model(config, rng, count, batch):
    model = random_model(config, rng)
    ids = random_ids(config, rng, batch, config.context)
    targets = random_ids(config, rng, batch, config.context)
    targets[rng.random(targets.shape) < 0.3] = -100  # so that the shares weigh differently
    loss, expected = gradients(model, model, ids, targets)
    shared_loss, shared = gradients(model, Replicas(model, count), ids, targets)
    assert shared_loss == pytest.approx(loss, rel=1e-10)
    for name, a, b in zip(dict(model.named_parameters()), shared, expected, strict=True):
        if b is None:
            assert a is None and name.endswith("balance")  # frozen
        else:
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10, err_msg=name)


def small_model():
    return Transformer(Config(vocab_size=11, context=6, d_model=8, n_heads=2, n_layers=2, dropout=0.3), seed=1)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture(scope="module")
def replicas():
    return Replicas(small_model(), 3)


def batch(rng):
    return rng.integers(0, 11, (5, 6)), rng.integers(0, 11, (5, 6))


def test_the_same_bits_come_out_every_time_dropout_included(replicas, rng):
    model, (ids, targets) = replicas.model, batch(rng)
    runs = [gradients(model, replicas, ids, targets, rng=np.random.default_rng(4)) for _ in range(5)]
    other = gradients(model, replicas, ids, targets, rng=np.random.default_rng(5))
    for loss, found in runs[1:]:
        assert loss == runs[0][0] != other[0]
        assert all(np.array_equal(a, b) for a, b in zip(found, runs[0][1], strict=True))


def test_a_frozen_parameter_has_no_gradient_and_one_that_has_some_gets_more(model, rng):
    ids, targets = batch(rng)
    frozen, added = model.blocks[0].attention.w_q.weight, model.embedding.weight
    frozen.requires_grad = False
    _, expected = gradients(model, model, ids, targets)
    replicas = Replicas(model, 2)
    added.grad = np.full(added.data.shape, 5, np.float32)
    replicas.loss(ids, targets)[1](0.7)
    assert frozen.grad is None
    np.testing.assert_allclose(added.grad - 5, expected[model.parameters().index(added)], rtol=1e-3, atol=1e-5)


def test_gradients_that_come_in_many_loads_are_those_that_come_in_one_to_the_bit(monkeypatch, model, rng):
    ids, targets = batch(rng)
    model.blocks[1].feed_forward.up.weight.requires_grad = False
    found, loads = [], []
    for size in (1 << 20, 1):
        monkeypatch.setattr(replica_process, "LOAD", size)
        replicas = Replicas(model, 3)
        loads.append(len(replicas.memory.loads))
        found.append([gradients(model, replicas, ids, targets)[1] for _ in range(2)])
    assert loads == [1, len(model.parameters())]
    for other in (found[0][1], *found[1]):
        for a, b in zip(found[0][0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_backward_that_comes_too_late_is_refused(model, rng):
    replicas = Replicas(model, 2)
    _, backward = replicas.loss(*batch(rng))
    _, other_backward = replicas.loss(*batch(rng))
    with pytest.raises(RuntimeError, match="which release activations"):
        backward()
    other_backward()
    with pytest.raises(RuntimeError, match="can be called only once"):
        other_backward()


def test_a_model_with_hooks_and_an_empty_set_of_replicas_are_refused(model):
    hooks = {"blocks.1.attention.q": lambda y, backward: (y, backward)}
    words = r"a model with replicas must not have hooks, but blocks\.1\.attention\.q has one"
    with model.hooked(hooks), pytest.raises(ValueError, match=words):
        Replicas(model, 2)
    with pytest.raises(ValueError, match="count, which includes the model itself, must be at least 1, not 0"):
        Replicas(model, 0)


@pytest.mark.slow
def test_what_a_process_raises_leaves_the_replicas_in_order(replicas, rng):
    model, (ids, targets) = replicas.model, batch(rng)
    for row in (0, 4):  # in the share of this process, and in that of another
        wrong = ids.copy()
        wrong[row, 1] = -7
        with pytest.raises(ValueError, match="not -7"):
            replicas.loss(wrong, targets)
    assert float(replicas.loss(ids, targets)[0]) == pytest.approx(float(model.loss(ids, targets)[0]), rel=1e-5)


KILLED = "the process of a replica was ended by SIGKILL (perhaps because the memory was full; use fewer replicas)"


SCRIPT = """
import numpy as np
from minitransformer import Config, Module, Transformer
from minitransformer.training import Replicas

print("begins", flush=True)
ids = np.arange(12).reshape(2, 6)
"""
BARE = """
replicas = Replicas(Transformer(Config(vocab_size=12, context=6, d_model=8, n_heads=2, n_layers=1)), 2)
print(replicas.loss(ids, ids)[0])
"""
GUARDED = """
class Own(Module):
    def __init__(self, model):
        self.model = model

    def loss(self, *arguments, **options):
        return self.model.loss(*arguments, **options)

if __name__ == "__main__":
    replicas = Replicas(Own(Transformer(Config(vocab_size=12, context=6, d_model=8, n_heads=2, n_layers=1))), 2)
    print(replicas.loss(ids, ids)[0])
"""


@pytest.mark.parametrize(
    "program, begins", [(BARE, 1), pytest.param(GUARDED, 2, marks=pytest.mark.slow)], ids=["plain", "own classes"]
)
def test_a_script_needs_no_guard_unless_the_model_has_classes_of_its_own(tmp_path, program, begins):
    (tmp_path / "script.py").write_text(SCRIPT + program, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "script.py"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    *first, loss = ended.stdout.splitlines()
    assert first == ["begins"] * begins
    model = Transformer(Config(vocab_size=12, context=6, d_model=8, n_heads=2, n_layers=1))
    ids = np.arange(12).reshape(2, 6)
    assert float(loss) == pytest.approx(model.loss(ids, ids)[0], rel=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_process_that_is_killed_is_one_clear_error_and_then_there_are_new_ones(model, rng):
    replicas, (ids, targets) = Replicas(model, 3), batch(rng)
    before = replicas.loss(ids, targets)[0]
    processes = [replica.process for replica in replicas.processes]
    processes[1].kill()
    with pytest.raises(ReplicaLost, match=re.escape(KILLED)):
        replicas.loss(ids, targets)
    assert not any(process.is_alive() for process in processes)
    assert replicas.loss(ids, targets)[0] == before


def test_the_processes_end_with_the_replicas(model, rng):
    replicas = Replicas(model, 3)
    processes = [replica.process for replica in replicas.processes]
    replicas.loss(*batch(rng))
    del replicas
    gc.collect()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells which signals a process blocks")
def test_ctrl_c_which_a_terminal_sends_to_all_never_reaches_a_process_not_even_one_that_begins(model):
    (one,) = Replicas(model, 2).processes
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    (blocked,) = re.findall(r"SigBlk:\s*([0-9a-f]+)", status)
    assert int(blocked, 16) & (1 << (signal.SIGINT - 1))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_the_processes_heed_the_error_state_of_this_one():
    model = Transformer(Config(vocab_size=11, context=6, d_model=8, n_heads=2, n_layers=1, tie_embeddings=False))
    replicas = Replicas(model, 2)
    model.embedding.weight.data[7] = 1e38
    ids = np.array([[1, 2, 3], [1, 7, 3]])  # the second process meets it
    with np.errstate(over="ignore", invalid="ignore"):
        replicas.loss(ids, ids)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        replicas.loss(ids, ids)


def test_replicas_follow_a_model_that_gets_other_arrays(replicas, rng):
    model, (ids, targets) = replicas.model, batch(rng)
    before = float(replicas.loss(ids, targets)[0])
    for parameter in model.parameters():
        parameter.data = parameter.data + rng.normal(size=parameter.data.shape).astype(np.float32)
    after = float(replicas.loss(ids, targets)[0])
    assert after == pytest.approx(float(model.loss(ids, targets)[0]), rel=1e-5) != before


def test_a_checkpoint_from_before_there_were_replicas_had_one(tmp_path):
    pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path)
    arrays, description = load_archive(tmp_path / "model.npz")
    del description["training"]["settings"]["replicas"]
    save_archive(tmp_path / "model.npz", arrays, description)
    assert Checkpoint.read(tmp_path / "model.npz").settings == SETTINGS


def test_runs_that_do_not_share_their_batches_refuse_replicas():
    model = Transformer(Config(vocab_size=1000, context=40, d_model=8, n_heads=2, n_layers=1))
    with pytest.raises(ValueError, match="replicas must be 1 for training on simple patterns, not 2"):
        PatternRun(model, PatternSettings(replicas=2))
    assert PreferenceSettings().replicas == 1


def test_the_default_is_one_a_core_but_at_most_one_a_sequence_where_threadpoolctl_is(monkeypatch):
    monkeypatch.setattr(replicas_module, "available_cores", lambda: 4)
    assert [replicas_that_pay(batch_size) for batch_size in (1, 3, 4, 12)] == [1, 3, 4, 4]
    assert replicas_that_pay(12, 2) == 2
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert replicas_that_pay(12) == 1


SMALL = shlex.split(
    "--layers 1 --heads 2 --width 8 --context 8 --steps 2 --batch-size 3 --sample-every 0 --quiet --no-plot"
)


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return ["train", "--text", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]


@pytest.mark.parametrize("options, expected", [([], 3), pytest.param(["--replicas", "2"], 2, marks=pytest.mark.slow)])
def test_train_uses_the_cores_unless_told_otherwise_and_remembers(monkeypatch, tmp_path, arguments, options, expected):
    monkeypatch.setattr("minitransformer.commands.train.cores_of_a_rank", lambda: 4)
    assert main([*arguments, *options]) == 0
    assert Checkpoint.read(tmp_path / "run" / "model.npz").settings.replicas == expected
    monkeypatch.setattr("minitransformer.commands.train.cores_of_a_rank", lambda: 1)
    assert main([*arguments, "--resume"]) == 0


def test_replicas_without_threadpoolctl_are_one_line(monkeypatch, capsys, arguments):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert main([*arguments, "--replicas", "2"]) == 1
    words = f"threadpoolctl is not installed: install it with {install_command('app')}, or train without"
    assert capsys.readouterr().err == f"minitransformer: error: {words} replicas: --replicas 1\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_run_that_loses_a_replica_is_one_line_and_can_go_on(monkeypatch, tmp_path, capsys, arguments):
    send, requests = ReplicaProcess.send, []

    def send_or_lose(self, *request):
        requests.append(request)
        if len(requests) == 3:  # the loss of the second step
            self.process.kill()
            self.process.join()
        send(self, *request)

    monkeypatch.setattr(ReplicaProcess, "send", send_or_lose)
    assert main([*arguments, "--replicas", "2"]) == 1
    assert capsys.readouterr().err == f"minitransformer: error: {KILLED}\n"
    assert main(["train", "--out", str(tmp_path / "run"), "--resume", "--quiet", "--no-plot"]) == 0
    assert Checkpoint.read(tmp_path / "run" / "model.npz").training["step"] == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured on Linux")
@pytest.mark.slow
def test_the_bench_counts_the_memory_of_the_processes(rng):
    config = Config(vocab_size=500, context=64, d_model=256, n_heads=4, n_layers=2)
    ids, targets = rng.integers(0, 500, (2, 8, 64))
    peaks = []
    for threads in (2, 1):
        engine = NumPyEngine(config, threads=threads)
        engine.training_step(ids, targets)
        engine.restart_replicas()
        peaks.append(peak_above(lambda engine=engine: engine.training_step(ids, targets)))
    weights = sum(parameter.data.nbytes for parameter in engine.model.parameters())
    assert peaks[0] > peaks[1] + 0.5 * weights  # the gradients of two replicas are in memory together
