"""The lines of classes, of values with gradients and of Jacobians: the wrong one is named, and no other."""

import importlib.util
import sys

import numpy as np
import pytest
from verdicts import normal

from gradcheck import steps
from gradcheck.adapters import from_derivative, from_jacobian, from_layer, from_value_and_gradient

DENSE = """
import numpy as np

class Dense:
    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(1)
        self.params = {"W": rng.normal(size=(n_in, n_out)), "b": rng.normal(size=n_out)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        self.z = x @ self.params["W"] + self.params["b"]
        self.a = self.activation(self.z)
        return self.a

    def activation(self, z):
        return np.tanh(z)

    def backward(self, dout):
        dz = dout * (1 - self.a ** 2)
        self.grads["W"] = self.x.T @ dz
        self.grads["b"] = dz.sum(axis=0)
        return dz @ self.params["W"].T
"""
LAYER_NORM = """
import numpy as np

class LayerNorm:
    def __init__(self, size, eps=1e-5):
        rng = np.random.default_rng(1)
        self.gamma, self.beta = rng.normal(size=size), rng.normal(size=size)
        self.dgamma, self.dbeta = np.zeros(size), np.zeros(size)
        self.eps = eps
        self.cache = None

    def forward(self, x):
        mu = np.mean(x, axis=-1, keepdims=True)
        xmu = x - mu
        var = np.mean(xmu ** 2, axis=-1, keepdims=True)
        std = np.sqrt(var + self.eps)
        xhat = xmu / std
        out = self.gamma * xhat + self.beta
        self.cache = {"xhat": xhat, "std": std}
        return out

    def backward(self, dout):
        xhat, std = self.cache["xhat"], self.cache["std"]
        self.dgamma += np.sum(dout * xhat, axis=0)
        self.dbeta += np.sum(dout, axis=0)
        dxhat = dout * self.gamma
        dx = dxhat - dxhat.mean(axis=-1, keepdims=True)
        dx = dx - xhat * np.mean(dxhat * xhat, axis=-1, keepdims=True)
        dx = dx / std
        return dx
"""
SOFTMAX_LOSS = """
import numpy as np

class SoftmaxCrossEntropy:
    def forward(self, inputs, targets):
        shifted = inputs - np.max(inputs, axis=1, keepdims=True)
        exps = np.exp(shifted)
        self.probs = exps / np.sum(exps, axis=1, keepdims=True)
        self.targets = targets
        picked = self.probs[np.arange(len(targets)), targets]
        self.output = -np.mean(np.log(picked))

    def backward(self):
        n = len(self.targets)
        self.dinputs = self.probs.copy()
        self.dinputs[np.arange(n), self.targets] -= 1
        self.dinputs = self.dinputs / n
"""
BATCH_NORM = """
import numpy as np

class BatchNorm1d:
    def __init__(self, features, momentum=0.9):
        rng = np.random.default_rng(1)
        self.gamma = rng.normal(size=features)
        self.beta = rng.normal(size=features)
        self.running_mean = np.zeros(features)
        self.running_var = np.ones(features)
        self.momentum = momentum

    def parameters(self):
        return [self.gamma, self.beta]

    def forward(self, x, training=True):
        if not training:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + 1e-5) + self.beta
        self.mean = x.mean(axis=0)
        self.var = ((x - self.mean) ** 2).mean(axis=0)
        self.running_mean *= self.momentum
        self.running_mean += (1 - self.momentum) * self.mean
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * self.var
        self.x_centered = x - self.mean
        self.inv_std = 1.0 / np.sqrt(self.var + 1e-5)
        self.x_norm = self.x_centered * self.inv_std
        return self.gamma * self.x_norm + self.beta

    def backward(self, grad):
        N = grad.shape[0]
        self.grad_gamma = (grad * self.x_norm).sum(axis=0)
        self.grad_beta = grad.sum(axis=0)
        dx_norm = grad * self.gamma
        dvar = np.sum(dx_norm * self.x_centered, axis=0) * -0.5 * self.inv_std ** 3
        dmean = -np.sum(dx_norm * self.inv_std, axis=0)
        dx = dx_norm * self.inv_std + dvar * 2 * self.x_centered / N + dmean / N
        return dx
"""
LSTM = """
import numpy as np

class LSTMCell:
    def __init__(self, n_in, n_hidden):
        rng = np.random.default_rng(1)
        self.Wx = rng.normal(size=(n_in, 4 * n_hidden))
        self.Wh = rng.normal(size=(n_hidden, 4 * n_hidden))
        self.b = rng.normal(size=4 * n_hidden)
        self.dWx = self.dWh = self.db = None
        self.H = n_hidden

    def sigmoid(self, v):
        return 1 / (1 + np.exp(-v))

    def __call__(self, x, h, c):
        H = self.H
        z = x @ self.Wx + h @ self.Wh + self.b
        i, f = self.sigmoid(z[:, :H]), self.sigmoid(z[:, H : 2 * H])
        o = self.sigmoid(z[:, 2 * H : 3 * H])
        g = np.tanh(z[:, 3 * H :])
        c_next = f * c + i * g
        t = np.tanh(c_next)
        h_next = o * t
        self.cache = x, h, c, i, f, o, g, t
        return h_next

    def backward(self, dh_next):
        x, h, c, i, f, o, g, t = self.cache
        do = dh_next * t
        dc_next = dh_next * o * (1 - t * t)
        df = dc_next * c
        di = dc_next * g
        dg = dc_next * i
        dc = dc_next * f
        dz = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)])
        self.dWx = x.T @ dz
        self.dWh = h.T @ dz
        self.db = dz.sum(axis=0)
        dx = dz @ self.Wx.T
        dh = dz @ self.Wh.T
        return dx, dh, dc
"""
OTHER_FORMS = """
import numpy as np

class Affine:  # lists
    def __init__(self, n, m):
        W, b = np.random.default_rng(0).normal(size=(n, m)), np.ones(m)
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        dx = np.dot(dout, W.T)
        dW = np.dot(self.x.T, dout)
        self.grads[0][...] = dW
        self.grads[1][...] = np.sum(dout, axis=0)
        return dx

class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)

class Linear:
    def __init__(self, n, m):
        self.W = Parameter(np.random.default_rng(0).normal(size=(n, m)))

    def forward(self, x):
        self.x = x
        return x @ self.W.data

    def backward(self, g):
        self.W.grad += self.x.T @ g
        return g @ self.W.data.T

class Layers:  # layers within a layer
    def __init__(self):
        self.first, self.second = Linear(3, 4), Linear(4, 2)

    def forward(self, x):
        self.h = self.first.forward(x)
        self.a = np.maximum(self.h, 0)
        return self.second.forward(self.a)

    def backward(self, dy):
        da = self.second.backward(dy)
        dh = da * (self.h > 0)
        return self.first.backward(dh)

class Swish:  # a method that reads what forward has stored
    def __init__(self):
        self.beta, self.dbeta = np.array([1.5]), None

    def gate(self):
        return 1 / (1 + np.exp(-self.beta * self.x))

    def forward(self, x):
        self.x = x
        self.s = self.gate()
        return self.x * self.s

    def backward(self, dout):
        ds = dout * self.x
        dz = ds * self.s * (1 - self.s)
        self.dbeta = np.array([np.sum(dz * self.x)])
        return dout * self.s + dz * self.beta

class MLP:  # keys that are computed
    def __init__(self, *sizes):
        rng = np.random.default_rng(0)
        self.depth, self.params, self.grads, self.cache = len(sizes) - 1, {}, {}, {}
        for i in range(1, len(sizes)):
            self.params["W" + str(i)] = rng.normal(size=(sizes[i - 1], sizes[i]))

    def forward(self, A):
        self.cache["A0"] = A
        for i in range(1, self.depth + 1):
            A = np.tanh(A @ self.params["W" + str(i)])
            self.cache["A" + str(i)] = A
        return A

    def backward(self, dA):
        for i in reversed(range(1, self.depth + 1)):
            A = self.cache["A" + str(i)]
            dZ = dA * (1 - A**2)
            self.grads["W" + str(i)] = self.cache["A" + str(i - 1)].T @ dZ
            dA = dZ @ self.params["W" + str(i)].T
        return dA

class Updating:  # a learning rate
    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.default_rng(0).normal(size=(n_in, n_out)), np.zeros(n_out)

    def forward(self, x):
        self.x = x
        self.y = np.tanh(x @ self.W + self.b)
        return self.y

    def backprop(self, dy, learning_rate):
        dz = dy * (1 - self.y ** 2)
        dx = dz @ self.W.T
        self.W -= learning_rate * (self.x.T @ dz)
        self.b = self.b - dz.sum(axis=0) * learning_rate
        return dx
"""
HELPERS = """
import numpy as np

class Activation:
    def forward(self, x):
        self.x = x
        return self.function(x)

    def backward(self, grad):
        return self.derivative(self.x) * grad

class Sigmoid(Activation):
    def function(self, x):
        return 1.0 / (1.0 + np.exp(-x))

    def derivative(self, x):
        return self.function(x) * (1.0 - self.function(x))

class Leaky(Activation):
    slope = 0.1

    def function(self, x):
        return np.where(x < 0.0, self.slope * x, x)

    def derivative(self, x):
        dx = np.ones_like(x)
        dx[x < 0.0] = self.slope
        return dx

def tanh_prime(z):
    t = np.tanh(z)
    return 1 - t**2

class Net:
    def __init__(self):
        self.W, self.V = np.random.default_rng(0).normal(size=(2, 3, 3))
        self.dW = self.dV = None

    def forward(self, x):
        self.x = x
        self.z = x @ self.W
        self.a = np.tanh(self.z)
        return self.a @ self.V

    def through_tanh(self, d, z):
        slope = tanh_prime(z)
        return d * slope

    def backward(self, dy):
        self.dV = self.a.T @ dy
        dz = self.through_tanh(dy @ self.V.T, self.z)
        self.dW = self.x.T @ dz
        return dz @ self.W.T

class Softmax:
    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.out = e / e.sum(axis=1, keepdims=True)
        return self.out

    def backprop(self, grad):
        total = np.sum(grad * self.out, axis=1, keepdims=True)
        return self.out * (grad - total)

class Encoder:  # another object computes the gradient that is returned
    def __init__(self):
        self.estimator, self.levels = Softmax(), np.arange(3)

    def forward(self, x):
        products = self.estimator.forward(x) * self.levels[None, :]
        self.shape = products.shape
        return products.sum(axis=-1)

    def backprop(self, grad):
        levels = self.levels[None, :]
        tmpbar = np.broadcast_to(grad[:, None], self.shape) * levels
        return self.estimator.backprop(tmpbar)
"""
X = [normal(4, 3)]
CLASSES = {
    "Sigmoid": (HELPERS, (), X, None),
    "Leaky": (HELPERS, (), X, None),
    "Net": (HELPERS, (), X, None),
    "Encoder": (HELPERS, (), X, None),
    "Affine": (OTHER_FORMS, (3, 2), X, None),
    "Linear": (OTHER_FORMS, (3, 2), X, None),
    "Layers": (OTHER_FORMS, (), X, None),
    "Swish": (OTHER_FORMS, (), X, None),
    "Updating": (OTHER_FORMS, (3, 2), X, None),
    "MLP": (OTHER_FORMS, (3, 4, 2), X, None),
    "Dense": (DENSE, (3, 2), X, None),
    "LayerNorm": (LAYER_NORM, (5,), [normal(4, 5)], None),
    "SoftmaxCrossEntropy": (SOFTMAX_LOSS, (), [normal(4, 3), np.array([0, 2, 1, 1])], None),
    "BatchNorm1d": (BATCH_NORM, (3,), [normal(5, 3)], {"gamma": "grad_gamma", "beta": "grad_beta"}),
    "LSTMCell": (LSTM, (2, 2), [normal(4, 2), normal(4, 2, seed=1), normal(4, 2, seed=2)], None),
}
MISTAKES = """
Affine: np.dot(self.x.T, dout) → np.dot(self.x.T, -dout)
Linear: self.x.T @ g → self.x.T @ (2 * g)
Layers: da * (self.h > 0) → da
Sigmoid: * (1.0 - self.function(x)) → / (1.0 - self.function(x))
Sigmoid: self.function(x) * (1.0 - self.function(x)) → self.function(x)
Sigmoid: (1.0 - self.function(x)) → -self.function(x)
Leaky: np.ones_like(x) → -np.ones_like(x)
Leaky: dx[x < 0.0] → dx[x > 0.0]
Net: 1 - t**2 → 1 - t
Net: 1 - t**2 → t**2 - 1
Net: 1 - t**2 → 1 - t**3
Net: d * slope → slope
Net: slope = tanh_prime(z) → slope = tanh_prime(d)
Net: dz @ self.W.T → dz @ self.V.T
Encoder: np.broadcast_to(grad[:, None], self.shape) * levels → levels
Encoder: levels = self.levels[None, :] → levels = -self.levels[None, :]
Encoder: return self.estimator.backprop(tmpbar) → return -self.estimator.backprop(tmpbar)
Encoder: self.out * (grad - total) → self.out * (total - grad)
Encoder: self.out * (grad - total) → self.out + (grad - total)
Swish: dz = ds * self.s → dz = ds
Swish: dz * self.beta → dz
MLP: dA * (1 - A**2) → dA * (1 - A)
Updating: self.x.T @ dz → self.x.T @ dy
Updating: dz.sum(axis=0) → dz.mean(axis=0)
Updating: 1 - self.y ** 2 → 1 - self.y
Dense: dout * (1 - self.a ** 2) → dout * (1 - self.a)
Dense: dout * (1 - self.a ** 2) → dout * (1 + self.a ** 2)
Dense: self.x.T @ dz → self.x.T @ dout
Dense: dz.sum(axis=0) → dz.mean(axis=0)
Dense: dz @ self.params["W"].T → dout @ self.params["W"].T
LayerNorm: self.dbeta += np.sum(dout, axis=0) → self.dbeta += np.mean(dout, axis=0)
LayerNorm: np.sum(dout * xhat, axis=0) → np.sum(dout, axis=0)
LayerNorm: dxhat = dout * self.gamma → dxhat = dout
LayerNorm: dx = dx / std → dx = dx * std
LayerNorm: dx = dx - xhat → dx = dx + xhat
LayerNorm: dxhat - dxhat.mean( → dxhat - dxhat.sum(
SoftmaxCrossEntropy: self.targets] -= 1 → self.targets] += 1
SoftmaxCrossEntropy: self.dinputs / n → self.dinputs * n
BatchNorm1d: grad * self.x_norm → grad * self.x_centered
BatchNorm1d: dx_norm = grad * self.gamma → dx_norm = grad * self.beta
BatchNorm1d: self.inv_std ** 3 → self.inv_std ** 2
BatchNorm1d: dmean = -np.sum → dmean = np.sum
BatchNorm1d: dvar * 2 * → dvar * 3 *
LSTMCell: do = dh_next * t → do = dh_next * g
LSTMCell: dc = dc_next * f → dc = dc_next * i
LSTMCell: (1 - g * g) → (1 - g)
LSTMCell: dz @ self.Wh.T → dz @ self.Wx.T
"""


def rows_of(table):
    """Return (name, change) for each line of a table. All but the first of a name are slow tests."""
    rows = [line.partition(": ")[::2] for line in table.strip().split("\n")]
    first = dict(reversed(rows)).items()
    return [pytest.param(*row, marks=() if row in first else pytest.mark.slow) for row in rows]


@pytest.fixture
def imported(tmp_path):
    """Import source text from a file: imported(text)."""
    names = []

    def import_text(text):
        name = f"student_{len(names)}_{tmp_path.name}"
        path = tmp_path / f"{name}.py"
        path.write_text(text, "utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield import_text
    for name in names:
        del sys.modules[name]


def report_of(imported, name, text):
    _, sizes, inputs, parameters = CLASSES[name]
    return steps(from_layer(getattr(imported(text), name)(*sizes), parameters), *inputs)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CLASSES)
def test_each_line_of_a_right_class_is_right_or_not_followed(imported, name):
    report = report_of(imported, name, CLASSES[name][0])
    assert report.passed and {row.verdict for row in report.rows} <= {"right", "not followed"}
    assert any(row.verdict == "right" for row in report.rows)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, change", rows_of(MISTAKES))
def test_a_mistake_of_one_token_in_a_class_is_placed_on_its_line(imported, name, change):
    old, new = change.split(" → ")
    text = CLASSES[name][0]
    before, found, _ = text.partition(old)
    assert found and text.count(old) == 1
    report = report_of(imported, name, before + new + text[len(before + old) :])
    assert report.first_wrong.line == before.count("\n") + 1, report


VALUES = """
import numpy as np

def logistic(w, *, X, y):
    z = X @ w
    p = 1 / (1 + np.exp(-z))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    error = p - y
    grad = X.T @ error / len(y)
    return loss, grad

def naive(W, *, X, y, reg=0.3):
    loss, dW = 0.0, np.zeros_like(W)
    N = len(X)
    for i in range(N):
        e = np.exp(X[i] @ W)
        p = e / e.sum()
        loss -= np.log(p[y[i]])
        for k in range(W.shape[1]):
            error = p[k] - (k == y[i])
            dW[:, k] += error * X[i]
    loss = loss / N + 0.5 * reg * np.sum(W ** 2)
    dW /= N
    dW += reg * W
    return loss, dW

def ridge(w, X, y, lam=0.1):
    r = X @ w - y
    return r @ r / (2 * len(y)) + lam * w @ w / 2

def ridge_gradient(w, X, y, lam=0.1):
    r = X @ w - y
    data = X.T @ r / len(y)
    penalty = lam * w
    return data + penalty

def penalized(theta, *, X, y, lam=0.7):
    m = len(y)
    error = X @ theta - y
    J = np.sum(error ** 2) / (2 * m) + lam / (2 * m) * np.sum(theta[1:] ** 2)
    slope = 1 / m * (X.T @ error)
    shrinkage = lam / m * theta
    shrinkage[0] = 0
    return J, slope + shrinkage

def regression(theta, *, X, y, lam=0.7):
    m = len(y)
    J = np.sum((X @ theta - y) ** 2) / (2 * m) + lam / (2 * m) * np.sum(theta[1:] ** 2)
    grad = (1 / m) * X.T @ (X @ theta - y)
    grad[1:] = grad[1:] + (lam / m) * theta[1:]
    return J, grad

def gaussian(theta, *, x):
    mu, log_sigma = theta
    sigma = np.exp(log_sigma)
    z = (x - mu) / sigma
    nll = np.sum(0.5 * z ** 2 + log_sigma)
    dmu = -np.sum(z) / sigma
    dlog_sigma = np.sum(1 - z ** 2)
    return nll, np.array([dmu, dlog_sigma])

def rosenbrock(x):
    value = 0.0
    grad = np.zeros_like(x)
    for i in range(len(x) - 1):
        a = 1 - x[i]
        b = x[i + 1] - x[i] ** 2
        value += a ** 2 + 100 * b ** 2
        grad[i] += -2 * a - 400 * x[i] * b
        grad[i + 1] += 200 * b
    return value, grad

def motion(x, *, u):
    c, s = np.cos(x[2]), np.sin(x[2])
    return np.array([x[0] + u * c, x[1] + u * s * x[0], x[2]])

def jacobian(x, *, u):
    c, s = np.cos(x[2]), np.sin(x[2])
    J = np.eye(3)
    J[0, 2] = -u * s
    J[1, 0] = u * s
    J[1, 2] = u * c * x[0]
    return J

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def sigmoid_prime(x):
    s = sigmoid(x)
    return s * (1 - s)

def network(W1, b1, W2, *, X, y):
    h = X @ W1 + b1
    a = np.maximum(h, 0)
    residual = a @ W2 - y
    loss = np.sum(residual ** 2) / len(X)
    dscores = 2 * residual / len(X)
    dW2 = a.T @ dscores
    da = dscores @ W2.T
    dh = da * (h > 0)
    return loss, (X.T @ dh, dh.sum(axis=0), dW2)
"""
X3, Y = normal(5, 3, seed=1), normal(5, seed=2)
FUNCTIONS = {
    "logistic": (from_value_and_gradient, ["logistic"], [normal(3)], {"X": X3, "y": np.array([0.0, 1, 1, 0, 1])}),
    "naive": (from_value_and_gradient, ["naive"], [normal(3, 3)], {"X": X3, "y": np.array([0, 2, 1, 1, 0])}),
    "ridge": (from_value_and_gradient, ["ridge", "ridge_gradient"], [normal(3)], {"X": X3, "y": Y}),
    "penalized": (from_value_and_gradient, ["penalized"], [normal(3)], {"X": X3, "y": Y}),
    "regression": (from_value_and_gradient, ["regression"], [normal(3)], {"X": X3, "y": Y}),
    "gaussian": (from_value_and_gradient, ["gaussian"], [normal(2)], {"x": normal(6, seed=3)}),
    "rosenbrock": (from_value_and_gradient, ["rosenbrock"], [normal(4)], {}),
    "network": (
        from_value_and_gradient,
        ["network"],
        [normal(3, 4), normal(4, seed=4), normal(4, 2, seed=5)],
        {"X": X3, "y": normal(5, 2, seed=6)},
    ),
    "jacobian": (from_jacobian, ["motion", "jacobian"], [normal(3)], {"u": 0.7}),
    "slope": (from_derivative, ["sigmoid", "sigmoid_prime"], [normal(3)], {}),
}
MISTAKES_OF_VALUES = """
logistic: error = p - y → error = y - p
logistic: X.T @ error / len(y) → X.T @ error
logistic: error = p - y → error = z - y
logistic: X.T @ error / → X.T @ p /
naive: error * X[i] → error * X[k]
naive: error * X[i] → i * X[i]
naive: dW /= N → dW = N
naive: dW += reg * W → dW += reg * N
naive: (k == y[i]) → (k != y[i])
ridge: data + penalty → data - penalty
ridge: penalty = lam * w → penalty = w
ridge: X.T @ r / len(y) → X.T @ r
ridge: X.T @ r / len(y) → X.T @ y / len(y)
ridge: penalty = lam * w → penalty = 2 * lam * w
penalized: shrinkage[0] = 0 → error[0] = 0
penalized: return J, slope + shrinkage → return J, slope
penalized: return J, slope + shrinkage → return J, shrinkage
penalized: shrinkage = lam / m * theta → shrinkage = lam / m / theta
regression: grad[1:] + (lam / m) → grad[1:] - (lam / m)
regression: (lam / m) * theta[1:] → (lam / m)
gaussian: dmu = -np.sum(z) → dmu = np.sum(z)
gaussian: -np.sum(z) / sigma → -np.sum(z) * sigma
gaussian: 1 - z ** 2 → 1 - z
gaussian: 1 - z ** 2 → 1 + z ** 2
gaussian: [dmu, dlog_sigma] → [dlog_sigma, dmu]
rosenbrock: 400 * x[i] * b → 400 * b
rosenbrock: -2 * a - → 2 * a -
rosenbrock: grad[i + 1] += 200 → grad[i + 1] -= 200
rosenbrock: 200 * b → 100 * b
rosenbrock: grad[i] += → grad[i] =
jacobian: J[0, 2] = -u * s → J[0, 2] = u * s
jacobian: J[1, 0] = u * s → J[1, 0] = u * c
jacobian: u * c * x[0] → u * c
jacobian: J[1, 2] = → J[2, 1] =
slope: s * (1 - s) → s * (1 + s)
slope: s * (1 - s) → 1 - s
network: dscores = 2 * residual / → dscores = residual /
network: a.T @ dscores → h.T @ dscores
network: da * (h > 0) → da * h
network: dh.sum(axis=0) → dh.mean(axis=0)
network: X.T @ dh → X.T @ da
"""


def report_of_value(imported, name, text):
    adapter, functions, inputs, options = FUNCTIONS[name]
    module = imported(text)
    return steps(adapter(*(getattr(module, function) for function in functions)), *inputs, **options)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_lines_of_a_right_gradient_or_jacobian_are_right_or_not_followed(imported, name):
    report = report_of_value(imported, name, VALUES)
    assert report.passed and {row.verdict for row in report.rows} <= {"right", "not followed"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, change", rows_of(MISTAKES_OF_VALUES))
def test_a_mistake_of_one_token_in_a_gradient_or_jacobian_is_placed_on_its_line(imported, name, change):
    old, new = change.split(" → ")
    before, found, after = VALUES.partition(old)
    assert found and VALUES.count(old) == 1
    report = report_of_value(imported, name, before + new + after)
    assert report.first_wrong.line == before.count("\n") + 1, report


def test_a_wrong_sign_that_may_be_in_forward_is_not_placed_on_the_line_of_backward_alone(imported):
    text = """
import numpy as np

def squares(w, *, y):
    difference = y - w
    slope = 2 / len(y) * difference
    return np.mean(difference**2), slope
"""
    report = steps(from_value_and_gradient(imported(text).squares), normal(5), y=Y)
    also = "difference has the wrong sign, which does not affect the value"
    assert report.first_wrong.sentence == f"2 stands where -2 belongs; or {also}"


@pytest.mark.slow
def test_a_term_that_may_be_missing_from_either_of_two_lines_is_not_placed_on_one_of_them_alone(imported):
    report = report_of_value(imported, "regression", VALUES.replace("grad[1:] + (lam / m) * theta[1:]", "grad[1:]"))
    sentence = "given the true gradients, this line, or that of grad below, gives a wrong value"
    assert report.first_wrong.sentence == sentence


SHARED = """
import numpy as np

def softmax(W, *, X, y):
    value, dW = 0.0, np.zeros_like(W)
    for i in range(len(X)):
        f = X[i] @ W
        p = np.exp(f) / np.sum(np.exp(f))
        value += -np.log(p[y[i]])
        for j in range(W.shape[1]):
            if j == y[i]:
                dW[:, j] -= p[y[i]] * (np.sum(np.exp(f)) - np.exp(f[j])) / np.exp(f[j]) * X[i]
            else:
                dW[:, j] += p[y[i]] * np.exp(f[j]) / np.exp(f[y[i]]) * X[i]
    value /= len(X)
    value += 0.1 * np.sum(W * W)
    dW += 0.2 * W
    return value, dW
"""


@pytest.mark.slow
def test_a_line_that_defines_the_value_is_not_blamed_for_a_division_that_is_missing(imported):
    function = from_value_and_gradient(imported(SHARED).softmax)
    report = steps(function, normal(3, 4), X=X3, y=np.array([0, 2, 1, 3, 0]))
    assert not report.passed and all(row.name != "p" for row in report.rows if row.verdict == "WRONG"), report


def test_a_class_whose_object_is_passed_on_has_no_lines_and_the_error_says_why(imported):
    text = DENSE.replace("self.activation(self.z)", "type(self).activation(self, self.z)")
    with pytest.raises(ValueError, match=r"Dense: .*self is used as a whole"):
        report_of(imported, "Dense", text)
    text = DENSE.replace("self.activation(self.z)", "super().__new__(self, self.z)")
    with pytest.raises(ValueError, match=r"Dense: its lines cannot be examined, because super\(\) is called"):
        report_of(imported, "Dense", text)


def test_lines_are_refused_if_backward_reads_a_parameter_that_it_has_updated(imported):
    late = OTHER_FORMS.replace("dx = dz @ self.W.T\n", "pass\n").replace(
        "        return dx\n", "        return dz @ self.W.T\n"
    )
    with pytest.raises(ValueError, match=r"Updating: its lines cannot be .* depend on parameters after their update"):
        report_of(imported, "Updating", late)
    twice = OTHER_FORMS.replace("dx = dz @", "self.W -= 0 * learning_rate; dx = dz @")
    with pytest.raises(ValueError, match=r"Updating: .* a parameter is not updated by one statement"):
        report_of(imported, "Updating", twice)


RECOMPUTED = """
import numpy as np

class Tanh:
    slope, shift, height = 1.3, 0.2, 0.4

    def forward(self, x):
        x = x - self.shift
        return np.tanh(self.slope * x) + self.height

    def derivative(self, x):
        y = self.forward(x) - self.height
        return self.slope * (1 - y**2)

class Softplus:
    slope, shift = 1.3, 0.2

    def forward(self, x):
        x = x - self.shift
        return np.log(1 + np.exp(self.slope * x))

    def derivative(self, x):
        x = x - self.shift
        return self.slope / (1 + np.exp(-self.slope * x))
"""


@pytest.mark.parametrize("old, new", [("self.forward(x) -", "self.forward(x) /"), ("(x) - self", "(x) + self")])
def test_a_function_that_defines_the_value_is_not_blamed_if_its_derivative_calls_it(imported, old, new):
    tanh = imported(RECOMPUTED.replace(old, new)).Tanh()
    row = steps(from_derivative(tanh.forward, tanh.derivative), normal(4)).first_wrong
    assert (row.name, RECOMPUTED.split("\n")[row.line - 1]) == ("y", "        y = self.forward(x) - self.height"), row


def test_two_lines_of_which_either_may_have_the_wrong_sign_are_both_named(imported):
    before, _, after = RECOMPUTED.rpartition("x = x - self.shift")
    softplus = imported(f"{before}x = self.shift - x{after}").Softplus()
    row = steps(from_derivative(softplus.forward, softplus.derivative), normal(4)).first_wrong
    here, there = "self.shift and x are subtracted in the wrong order", "the sign of -self.slope is wrong"
    assert (row.name, row.line) == ("x", before.count("\n") + 1)
    assert row.sentence == f"{here}; or where the returned value is computed, {there}"


def test_two_lambdas_in_one_line_are_not_told_apart(imported):
    function = from_value_and_gradient(*(lambda x: np.sum(x**4), lambda x: 5 * x**3))
    with pytest.raises(ValueError, match="two lambdas in one line have no lines"):
        steps(function, normal(3))


def test_a_gradient_that_is_returned_is_not_shown_as_an_attribute(imported):
    text = (
        DENSE.replace("x)", "inputs)", 1)
        .replace("self.x = x", "self.x = x = inputs")
        .replace("return dz @", "return 2 * dz @")
    )
    assert report_of(imported, "Dense", text).first_wrong.name == "dinputs"


def test_a_mistake_in_a_method_that_backward_calls_is_shown_with_its_repair(imported):
    row = report_of(imported, "Net", HELPERS.replace("d * slope", "d / slope")).first_wrong
    assert (row.name, row.sentence) == ("Net.through_tanh", "slope divides where it should multiply")
    assert row.repair == "return d * slope"


@pytest.mark.slow
def test_a_mistake_that_may_be_in_another_function_is_not_placed_on_the_line_that_calls_it_alone(imported):
    report = report_of(imported, "Sigmoid", HELPERS.replace("return self.function(x) * (1.0", "return x**3 * (x"))
    assert "this line, or that of self.x, or one of Sigmoid.derivative, gives a wrong value" in str(report)


def test_a_row_shows_the_code_of_the_class(imported):
    row = report_of(imported, "Updating", OTHER_FORMS.replace("self.x.T @ dz", "self.x.T @ dy")).first_wrong
    assert (row.name, row.sentence) == ("self.W.grad", "dy stands where dz belongs")
    name, old, new = "Dense", "self.x.T @ dz", "self.x.T @ dout"
    row = report_of(imported, name, DENSE.replace(old, new)).first_wrong
    assert (row.name, row.sentence) == ("self.grads['W']", "dout stands where dz belongs")
    assert row.repair == "self.grads['W'] = self.x.T @ dz"
