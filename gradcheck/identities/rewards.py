"""Learning from rewards: the expected gradients of estimators.

A policy is the softmax of logits z (A,), so that ∇ log π(a) = onehot(a) − π. Expectations are sums over all actions.
"""

import numpy as np

from gradcheck.identities.identity import expectation, same_as


def softmax(z):
    e = np.exp(z)
    return e / e.sum()


def score(policy, action):
    """The gradient of log π(action) with respect to the logits."""
    return np.eye(len(policy))[action] - policy


def policy_gradient(z, reward, baseline):
    policy = softmax(z)
    return expectation(lambda a: reward[a] * score(policy, a), policy)


@same_as(policy_gradient, (3,), (3,), (), near_miss=("- baseline", "- baseline * policy[a]"))
def policy_gradient_with_a_baseline(z, reward, baseline):
    """A baseline changes no expected gradient (Williams, 1992).

    E[(r − b) ∇ log π] = E[r ∇ log π], because E[∇ log π] = 0

    Near miss: the baseline depends on the action.
    """
    policy = softmax(z)
    return expectation(lambda a: (reward[a] - baseline) * score(policy, a), policy)


def gradient_of_the_expected_reward(z, reward):
    policy = softmax(z)
    return policy * (reward - policy @ reward)


@same_as(gradient_of_the_expected_reward, (3,), (3,), near_miss=("reward[a] *", "reward[a] * policy[a] *"))
def reinforce(z, reward):
    """REINFORCE estimates the gradient of the expected reward without bias (Williams, 1992).

    E[r ∇ log π] = ∇ Σ π(a) r(a)

    Near miss: the reward is weighted by the probability, which the expectation does already.
    """
    policy = softmax(z)
    return expectation(lambda a: reward[a] * score(policy, a), policy)


def gradient_of_forward_kl(z, z_reference):
    """∇ KL(reference ‖ π) = π − reference."""
    return softmax(z) - softmax(z_reference)


def gradient_of_reverse_kl(z, z_reference):
    """∇ KL(π ‖ reference) = π (ℓ − Σ π ℓ) with ℓ = log π − log reference."""
    policy, reference = softmax(z), softmax(z_reference)
    log_ratio = np.log(policy) - np.log(reference)
    return policy * (log_ratio - policy @ log_ratio)


@same_as(gradient_of_forward_kl, (3,), (3,), near_miss=("1 - ratio[a]", "-np.log(ratio[a])"))
def expected_gradient_of_k3(z, z_reference):
    """The loss k3 has the expected gradient of KL(reference ‖ π), not of KL(π ‖ reference).

    k3 = ratio − 1 − log ratio, ratio = reference / π    E[∇ k3] = E[(1 − ratio) ∇ log π] = ∇ KL(reference ‖ π)

    Near miss: E[−log ratio ∇ log π], the gradient of KL(π ‖ reference), with which k3's is often confused.
    """
    policy, reference = softmax(z), softmax(z_reference)
    ratio = reference / policy
    return expectation(lambda a: (1 - ratio[a]) * score(policy, a), policy)


@same_as(gradient_of_reverse_kl, (3,), (3,), near_miss=("log_ratio[a] *", "(np.exp(log_ratio[a]) - 1) *"))
def expected_gradient_of_k2(z, z_reference):
    """The loss k2 has the expected gradient of KL(π ‖ reference).

    k2 = ½ (log π − log reference)²    E[∇ k2] = E[(log π − log reference) ∇ log π] = ∇ KL(π ‖ reference)

    Near miss: π / reference − 1 in place of its logarithm.
    """
    policy = softmax(z)
    log_ratio = np.log(policy) - np.log(softmax(z_reference))
    return expectation(lambda a: log_ratio[a] * score(policy, a), policy)


@same_as(gradient_of_reverse_kl, (3,), (3,), near_miss=("k1[a] * ", ""))
def k1_in_the_reward(z, z_reference):
    """The estimator k1, subtracted from the reward, has the expected gradient of KL(π ‖ reference).

    k1 = log π − log reference    E[k1 ∇ log π] = ∇ KL(π ‖ reference)

    Near miss: k1 as a loss, whose expected gradient E[∇ k1] = E[∇ log π] is 0.
    """
    policy, reference = softmax(z), softmax(z_reference)
    k1 = np.log(policy) - np.log(reference)
    return expectation(lambda a: k1[a] * score(policy, a), policy)


def zero(z, z_reference):
    return 0 * z


@same_as(zero, (3,), (3,), near_miss=("score(policy, a)", "policy[a] * score(policy, a)"))
def expected_gradient_of_k1(z, z_reference):
    """The estimator k1 as a loss has the expected gradient 0.

    ∇ k1 = ∇ log π    E[∇ log π] = 0

    Near miss: the gradients are weighted by the probability once more.
    """
    policy = softmax(z)
    return expectation(lambda a: score(policy, a), policy)


def two_thirds_of_the_policy_gradient(z, reward):
    return 2 / 3 * gradient_of_the_expected_reward(z, reward)


@same_as(two_thirds_of_the_policy_gradient, (2,), (2,), near_miss=("/ len(group)", "/ (len(group) - 1)"))
def gradient_of_a_group(z, reward):
    """The mean of the own group as a baseline shrinks the gradient by (G − 1) / G (Shao et al., 2024, GRPO).

    E[1/G Σ (r_i − mean r) ∇ log π(a_i)] = (1 − 1/G) ∇ E[r], here with G = 3

    Near miss: the sum of the rewards divided by G − 1.
    """
    policy = softmax(z)

    def estimate(*group):
        mean = sum(reward[a] for a in group) / len(group)
        return sum((reward[a] - mean) * score(policy, a) for a in group) / 3

    return expectation(estimate, policy, draws=3)


def gradient_of_a_clipped_ratio(z, advantage):
    policy = softmax(z)
    ratio = policy[1] / policy[1]
    is_clipped = (ratio > 1.2) if advantage > 0 else (ratio < 0.8)
    return 0 * z if is_clipped else advantage * ratio * score(policy, 1)


@same_as(gradient_of_a_clipped_ratio, (3,), (), near_miss=("score(policy, 1)", "policy[1] * score(policy, 1)"))
def gradient_without_clipping(z, advantage):
    """The gradient of PPO's clipped objective at the old policy is that of REINFORCE (Schulman et al., 2017).

    ∇ min(ρ A, clip(ρ, 0.8, 1.2) A) = A ∇ log π at ρ = π / π_old = 1

    Near miss: the gradient of A π.
    """
    policy = softmax(z)
    return advantage * score(policy, 1)


def log_sigmoid_of_the_margin(z, z_reference, beta):
    policy, reference = softmax(z), softmax(z_reference)
    margin = beta * (np.log(policy[0] / reference[0]) - np.log(policy[1] / reference[1]))
    loss = np.log(1 + np.exp(-margin))

    def backward(dloss):
        dmargin = -np.exp(-margin) / (1 + np.exp(-margin)) * dloss
        dlog_policy = beta * dmargin * np.array([1.0, -1.0, 0.0])
        return dlog_policy - policy * dlog_policy.sum()

    return loss, backward


def gradient_of_dpo(z, z_reference, beta):
    return log_sigmoid_of_the_margin(z, z_reference, beta)[1](1.0)


@same_as(gradient_of_dpo, (3,), (3,), (), near_miss=("z_reference[0] - z_reference[1]", "0"))
def weighted_maximum_likelihood(z, z_reference, beta):
    """The gradient of DPO is that of weighted maximum likelihood (Rafailov et al., 2023).

    ∇L = −β σ(−margin) (∇ log π(chosen) − ∇ log π(rejected))

    Near miss: the margin without the reference.
    """
    policy = softmax(z)
    margin = beta * ((z[0] - z[1]) - (z_reference[0] - z_reference[1]))
    weight = beta / (1 + np.exp(margin))
    return -weight * (score(policy, 0) - score(policy, 1))
