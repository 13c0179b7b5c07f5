"""The built-in update formulas, each written for scalars.

The arguments are an entry θ of a parameter, the corresponding entry g of the gradient, the state, and the settings. The
state is 0 before the first step. The argument t = 1, 2, … counts the steps. A formula returns θ′ and the new state. All
of them follow PyTorch's conventions. Settings with a default are optional in the code under test. If two conventions
give the same θ, both pass. For example, the velocity may include the factor lr or not.
"""

from numpy import sqrt


def sgd(theta, g, *, lr, weight_decay=0.0):
    """Gradient descent."""
    g = g + weight_decay * theta
    step = lr * g
    return theta - step


def momentum(theta, g, velocity, *, lr, momentum, weight_decay=0.0):
    """Gradient descent with momentum (Polyak, 1964)."""
    g = g + weight_decay * theta
    velocity_new = momentum * velocity + g
    step = lr * velocity_new
    return theta - step, velocity_new


def nesterov(theta, g, velocity, *, lr, momentum, weight_decay=0.0):
    """Gradient descent with Nesterov momentum in PyTorch's form (Sutskever et al., 2013)."""
    g = g + weight_decay * theta
    velocity_new = momentum * velocity + g
    step = lr * (g + momentum * velocity_new)
    return theta - step, velocity_new


def adagrad(theta, g, v, *, lr, eps, weight_decay=0.0):
    """Adagrad (Duchi, Hazan and Singer, 2011)."""
    g = g + weight_decay * theta
    v_new = v + g**2
    root = sqrt(v_new)
    step = lr * g / (root + eps)
    return theta - step, v_new


def rmsprop(theta, g, v, *, lr, rho, eps, weight_decay=0.0):
    """RMSprop (Hinton, 2012)."""
    g = g + weight_decay * theta
    v_new = rho * v + (1 - rho) * g**2
    root = sqrt(v_new)
    step = lr * g / (root + eps)
    return theta - step, v_new


def adam(theta, g, m, v, *, t, lr, beta1, beta2, eps, weight_decay=0.0):
    """Adam (Kingma and Ba, 2015).

    Weight decay, if any, is L2 regularisation, which is added to the gradient.
    """
    g = g + weight_decay * theta
    m_new = beta1 * m + (1 - beta1) * g
    v_new = beta2 * v + (1 - beta2) * g**2
    m_hat = m_new / (1 - beta1**t)
    v_hat = v_new / (1 - beta2**t)
    root = sqrt(v_hat)
    step = lr * m_hat / (root + eps)
    return theta - step, m_new, v_new


def adamw(theta, g, m, v, *, t, lr, beta1, beta2, eps, weight_decay):
    """AdamW (Loshchilov and Hutter, 2019), with the decay multiplied by lr."""
    theta = theta - lr * weight_decay * theta
    m_new = beta1 * m + (1 - beta1) * g
    v_new = beta2 * v + (1 - beta2) * g**2
    m_hat = m_new / (1 - beta1**t)
    v_hat = v_new / (1 - beta2**t)
    root = sqrt(v_hat)
    step = lr * m_hat / (root + eps)
    return theta - step, m_new, v_new


FORMULAS = {formula.__name__: formula for formula in (sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw)}
