"""Every gradient of minitransformer against central differences, and a proof that none is left out."""

import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation import evaluate

import minitransformer
from gradcheck import adjoint, check_case
from minitransformer.cases import CASES, FUNCTIONS, MODULES, ONE_PAGE
from minitransformer.module import plain

PACKAGE = Path(minitransformer.__file__).parent
MODELS = [case for case in CASES if case.name.startswith(("Transformer,", "Transformer."))]
TWINS = [case for case in CASES if case.name.startswith("fast.")]  # which test_fast_versions.py draws again
WHOLE = ("Transformer", "PairedLoss", "BalancedModel", "RewardedLoss", "PostNormBlock")
MIXING = ("MultiHeadAttention", "LatentAttention", "DeltaMixer", "MixtureOfExperts")  # their functions are compared
LARGE = [case for case in CASES if case.name.startswith((*WHOLE, *MIXING))]  # blocks and whole models
LARGE.append(ONE_PAGE)
ELSEWHERE = {
    "bench/torch_model.py": {"TorchBlock.forward", "TorchTransformer.forward"},  # not ours: PyTorch's
    "training/replicas.py": {"Replicas.loss.<locals>.backward"},  # needs an extra: test_replicas.py
    "training/replica_process.py": {"ReplicaWorker.backward"},  # runs in another process: test_replicas.py
    "training/ranks.py": {"ModelOnRanks.loss.<locals>.backward"},  # needs MPI: test_ranks.py
    "first_steps.py": {  # of numbers and loops, not of arrays: test_first_steps.py
        f"{name}.<locals>.backward"
        for name in ("expression", "fork", "sum_and_share", "neuron", "wrong_neuron", "shares", "attend")
    },
    "learn/lessons.py": {  # solutions of exercises: tests/learn/test_learn.py
        *(f"{name}.<locals>.backward" for name in ("residual", "bare_block", "heads", "tied", "whole_model")),
        *(
            f"{name}.<locals>.backward" for name in ("column_sums", "steep", "with_altered_gradient.<locals>.altered")
        ),  # checked by the learner's checker
    },
    "learn/example_set/convolution.py": {"convolution.<locals>.backward"},  # likewise: test_learn_grading.py
    "learn/vocabulary.py": {"with_result_of.<locals>.adapted.<locals>.backward"},  # likewise: test_learn_vocabulary.py
    "learn/grading_run.py": {"as_promised.<locals>.promised.<locals>.backward"},  # of a learner's function: tests/learn
    "hooks.py": {"Hookable.forward"},  # says only that a subclass must define it
}
OBJECTIVES = ("sequence", "unbounded", "unlikelihood", "direct")
APPLYING = [case for case in (*FUNCTIONS, *MODULES) if case in MODULES or case.name.startswith(OBJECTIVES)]
PLAIN = [(case, 0) for case in CASES if case not in LARGE]
SLOW = [(case, seed) for seed in range(3) for case in CASES if seed == 0 or case not in (*LARGE, *TWINS)]
DRAWS = [*PLAIN, *(pytest.param(*draw, marks=pytest.mark.slow) for draw in SLOW if draw not in PLAIN)]
NAMES = [f"{case.name}-{seed}" for case, seed in [*PLAIN, *(draw for draw in SLOW if draw not in PLAIN)]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_gradient_satisfies_the_adjoint_identity(case):
    # In one forward pass of complex numbers, to thirteen digits. Entries of whole models are compared in slow tests.
    call = case.call(np.random.default_rng(0))
    assert adjoint(call.target, *call.inputs, randomize=False, **call.options).is_right


@pytest.mark.parametrize("case, seed", DRAWS, ids=NAMES)
def test_every_entry_of_every_gradient_equals_its_central_difference(case, seed):
    report = check_case(case, seed=seed)
    assert report.arguments
    for argument in report.arguments:
        assert argument.entries == argument.size
        assert argument.worst_relative <= 1e-6


@pytest.mark.parametrize("case", APPLYING, ids=lambda case: case.name)
def test_what_calls_functions_by_apply_has_the_same_gradients_with_the_engine_and_without(case):
    # So both are right: the test above has held one of them against central differences.
    call = case.call(np.random.default_rng(0))
    dy = np.random.default_rng(1).normal(size=np.shape(call.evaluate()[0]))
    with plain():
        y, gradients = evaluate(call, dy)
    with plain(False):
        y_of_engine, gradients_of_engine = evaluate(call, dy)
    np.testing.assert_allclose(y_of_engine, y, rtol=1e-12, atol=1e-13)
    assert gradients_of_engine.keys() == gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_of_engine[name], gradient, rtol=1e-10, atol=1e-12, err_msg=name)


def test_no_gradient_is_zero_throughout_unless_the_function_ignores_the_argument():
    # A gradient of zero shows no mistake. The softmax ignores the bias of a key, which is added to all its scores.
    for case in CASES:
        rng = np.random.default_rng(0)
        call = case.call(rng)
        _, gradients = evaluate(call, rng.normal(size=np.shape(call.evaluate()[0])))
        for name, gradient in gradients.items():
            assert name.endswith("w_k.bias") or np.abs(gradient).max() > 1e-4, (case.name, name)


def nested_code(code):
    """Yield the code of every function and class within `code`."""
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield constant
            yield from nested_code(constant)


def differentiable_code(path):
    """Return {(line, qualified name)} of every backward closure and every module's forward in a source file."""
    code = compile(path.read_text("utf-8"), path, "exec")
    return {
        (inner.co_firstlineno, inner.co_qualname)
        for inner in nested_code(code)
        if inner.co_name.endswith("backward") or inner.co_name == "forward"
    }


def executed_code(cases):
    """Run every case forward and backward. Return {(file, line, qualified name)} of each function that was entered."""
    entered = set()

    def record(frame, event, _):
        if event == "call":
            entered.add(frame.f_code)

    for case in cases:
        rng = np.random.default_rng(0)
        call = case.call(rng)
        before = sys.getprofile()
        sys.setprofile(record)
        try:
            y, backward = call.evaluate()
            backward(rng.normal(size=np.shape(y)))
        finally:
            sys.setprofile(before)
    return {(Path(code.co_filename), code.co_firstlineno, code.co_qualname) for code in entered}


def unexecuted(path, executed):
    """Return the names of the backward closures and forwards of a source file that are not among `executed`."""
    return {name for line, name in differentiable_code(path) if (path, line, name) not in executed}


@pytest.fixture(scope="module")
def executed():
    return executed_code(CASES)


def test_every_backward_and_every_forward_in_the_source_is_run_by_the_cases(executed):
    left_out = {path.relative_to(PACKAGE).as_posix(): unexecuted(path, executed) for path in PACKAGE.rglob("*.py")}
    assert {name: names for name, names in left_out.items() if names} == ELSEWHERE


def test_a_backward_that_no_case_runs_is_found():
    without = executed_code([case for case in CASES if "tanh" not in case.name])
    assert unexecuted(PACKAGE / "layers" / "activations.py", without) == {"gelu_tanh.<locals>.backward"}
    without = executed_code([case for case in CASES if case not in MODELS])
    assert unexecuted(PACKAGE / "layers" / "positions.py", without) == {
        "SinusoidalPositions.forward",
        "fixed_rows.<locals>.backward",
    }


def test_every_public_differentiable_function_and_module_has_a_case_of_its_own():
    targets = [case.draw(np.random.default_rng(0)).target for case in CASES]
    missing = []
    for name in minitransformer.__all__:
        member = getattr(minitransformer, name)
        if isinstance(member, type):
            forward = getattr(member, "forward", None)
            if forward is not None and forward not in [getattr(type(target), "forward", None) for target in targets]:
                missing.append(name)
        elif any(code.co_name == "backward" for code in nested_code(member.__code__)) and member not in targets:
            missing.append(name)
    assert missing == ["Module", "apply"]  # the framework: every case of a module runs them
