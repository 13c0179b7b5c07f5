"""Run several checkers on the right and wrong gradients of the corpus.

The command is `python -m gradcheck compare`. Each checker has an adapter, a function of (f, inputs) that returns True
if the checker accepts the gradient of f, where f(*inputs) returns (y, backward). A checker that raises an exception
does not accept the gradient.
"""

import contextlib
import functools
import importlib.util
import time

import numpy as np

from gradcheck.cases import quiet
from gradcheck.checking import check
from gradcheck.front.exits import OK, Parser
from gradcheck.front.streams import show
from gradcheck.museum import RIGHTS, corpus
from gradcheck.museum.exhibit import as_tuple


def by_gradcheck(f, inputs):
    return check(f, *inputs, explain=False, raises=False).is_right


def by_torch(f, inputs):
    import torch

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arrays):
            y, ctx.backward_of_f = f(*(array.detach().numpy().copy() for array in arrays))
            return torch.tensor(np.asarray(y))

        @staticmethod
        def backward(ctx, dy):
            return tuple(map(torch.tensor, as_tuple(ctx.backward_of_f(dy.numpy().copy()))))

    return torch.autograd.gradcheck(Wrapped.apply, [torch.tensor(x, requires_grad=True) for x in inputs])


def by_jax(f, inputs):
    import jax
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        y = np.asarray(f(*inputs)[0])
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]

        def backwards(dy, *arrays):
            gradients = as_tuple(f(*map(np.array, arrays))[1](np.array(dy)))
            return tuple(np.broadcast_to(np.asarray(g, float), x.shape) for g, x in zip(gradients, inputs, strict=True))

        @jax.custom_vjp
        def wrapped(*arrays):
            return jax.pure_callback(
                lambda *a: np.asarray(f(*map(np.array, a))[0]), jax.ShapeDtypeStruct(y.shape, y.dtype), *arrays
            )

        wrapped.defvjp(
            lambda *arrays: (wrapped(*arrays), arrays),
            lambda arrays, dy: jax.pure_callback(backwards, tuple(shapes), dy, *arrays),
        )
        check_grads(wrapped, inputs, order=1, modes=["rev"])
    return True


def by_autograd(f, inputs):
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    wrapped = primitive(lambda *arrays: np.asarray(f(*arrays)[0]))

    def vjp(i):
        return lambda y, *arrays: lambda dy: as_tuple(f(*arrays)[1](np.array(dy)))[i]

    defvjp(wrapped, *map(vjp, range(len(inputs))))
    for i in range(len(inputs)):
        check_grads(lambda x, i=i: wrapped(*inputs[:i], x, *inputs[i + 1 :]), modes=["rev"], order=1)(inputs[i])
    return True


def by_scipy(f, inputs):
    """Accept an error of at most 1e-5 · max(1, ‖gradient‖), as check_grad has no threshold."""
    from scipy.optimize import check_grad

    sizes = np.cumsum([x.size for x in inputs])[:-1]
    dy = np.random.default_rng(0).standard_normal(np.shape(f(*inputs)[0]))

    def arrays(flat):
        return [part.reshape(x.shape) for part, x in zip(np.split(flat, sizes), inputs, strict=True)]

    def gradient(flat):
        parts = zip(as_tuple(f(*arrays(flat))[1](dy.copy())), inputs, strict=True)
        return np.concatenate([np.broadcast_to(g, x.shape).ravel() for g, x in parts])

    flat = np.concatenate([x.ravel() for x in inputs])
    error = check_grad(lambda x: float(np.sum(dy * f(*arrays(x))[0])), gradient, flat)
    return error <= 1e-5 * max(1.0, float(np.linalg.norm(gradient(flat))))


# {name: (package, adapter)}
CHECKERS = {
    "gradcheck": ("gradcheck", by_gradcheck),
    "autograd": ("autograd", by_autograd),
    "JAX": ("jax", by_jax),
    "PyTorch": ("torch", by_torch),
    "SciPy": ("scipy", by_scipy),
}


def cases():
    """Yield (name, is_right, function, inputs) for each gradient of the corpus."""
    for case, is_right in (*((case, False) for case in corpus()), *((right, True) for right in RIGHTS)):
        inputs, options = case.draw(np.random.default_rng(0))
        yield case.name, is_right, functools.partial(case.version(not is_right), **options), list(inputs)


def is_accepted(adapter, function, inputs):
    """Run a checker quietly, and return True if it accepts the gradient."""
    np.random.seed(0)  # noqa: NPY002 (autograd draws from it)
    with quiet(), contextlib.suppress(Exception):
        return bool(adapter(function, [x.copy() for x in inputs]))
    return False


def compare_parser():
    parser = Parser(
        "python -m gradcheck compare",
        "Run several checkers on the wrong and the right gradients of the museum's corpus.",
        "The inputs of a case are those for which the wrong gradient differs. Each checker has its own defaults.",
    )
    here = [name for name, (package, _) in CHECKERS.items() if importlib.util.find_spec(package)]
    words = f"{', '.join(CHECKERS)} (default: those that are installed)"
    parser.add_argument("checkers", metavar="CHECKER", nargs="*", choices=[here, *here], default=here, help=words)
    parser.add_argument("--cases", action="store_true", help="list the cases on which a checker is mistaken")
    return parser


def compare(arguments):
    wrong, right, lines = len(corpus()), len(RIGHTS), []
    public = sum(bool(case.sources) for case in corpus())
    show(f"{wrong} wrong gradients, of which {public} are from public code, and {right} right ones")
    show(f"{'checker':<10}  {'caught':>6}  {'missed':>6}  {'false alarms':>12}  {'seconds':>7}")
    for name in arguments.checkers:
        start, (_, adapter) = time.perf_counter(), CHECKERS[name]
        mistaken = [(case, right) for case, right, *given in cases() if is_accepted(adapter, *given) != right]
        missed, seconds = sum(not right for _, right in mistaken), time.perf_counter() - start
        show(f"{name:<10}  {wrong - missed:>6}  {missed:>6}  {len(mistaken) - missed:>12}  {seconds:>7.1f}")
        lines += [f"{name:<10}  {'false alarm' if right else 'missed':<11}  {case}" for case, right in mistaken]
    if arguments.cases and lines:
        show("\n".join(lines))
    return OK
