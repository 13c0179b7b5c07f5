"""The measurements of the misconceptions: their exercises and scores, against models with known answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from strategies import random_model

from minitransformer import ByteTokenizer, Config, LanguageModel
from minitransformer.analysis.hooks import record
from minitransformer.experiments.emergence.alphabet import ADD, ANSWER, LETTERS, NUMBERS
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.misconceptions import (
    attention_explains,
    bigger,
    falling_loss,
    intentions,
    leaps,
    long_context,
    memorising,
    passing_tests,
    training_determines,
    weight_decay,
)
from minitransformer.layers.activations import gelu, relu
from minitransformer.layers.attention import attention
from minitransformer.layers.dropout import dropout
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.module import faster, plain
from minitransformer.text import IGNORE_INDEX
from minitransformer.transformer import Transformer


def small_model(rng, vocab_size, context, **fields):
    """Return a float64 model in which every parameter matters."""
    return random_model(Config(vocab_size, context, d_model=8, n_heads=2, dtype="float64", **fields), rng)


class Answering:
    """A model that gives the answer to a row of ids a probability of 0.8, at one position."""

    def __init__(self, answer, vocab_size, position):
        self.answer, self.V, self.position = answer, vocab_size, position

    def predict(self, inputs):
        logits = np.full((*inputs.shape, self.V), np.log(0.2 / (self.V - 1)))
        for row, ids in zip(logits, inputs, strict=True):
            row[self.position, self.answer(ids)] = np.log(0.8)
        return logits


# attention-explains


def test_attention_is_compared_with_the_change_of_the_likeliest_answer_without_each_token(rng):
    from scipy.stats import spearmanr  # takes a second to import

    model, ids = small_model(rng, 256, 16, positions="rotary"), rng.integers(0, 256, 14)
    names = [f"blocks.{block}.attention.weights" for block in range(2)]
    weights = np.stack(list(record(model, ids, names).values()))
    log_p = log_softmax(model.predict(ids)[-1])[0]
    answer = log_p.argmax()

    def without(position):
        def hidden(weights, backward):
            weights = weights.copy()
            weights[..., position + 1 :, position] = 0
            return weights / weights.sum(axis=-1, keepdims=True), backward

        with model.hooked(dict.fromkeys(names, hidden)):
            return log_softmax(model.predict(ids)[-1])[0][answer]

    lost = np.array([log_p[answer] - without(position) for position in range(1, 13)])
    mean, last = weights.mean(axis=(0, 1))[-1, 1:-1], weights[-1].mean(axis=0)[-1, 1:-1]
    found = attention_explains.compare(LanguageModel(model, ByteTokenizer()), ids)
    assert found["attention"] == pytest.approx(spearmanr(mean, abs(lost)).statistic)
    assert found["which_way"] == pytest.approx(spearmanr(mean, lost).statistic)
    assert found["last_layer"] == pytest.approx(spearmanr(last, abs(lost)).statistic)
    assert found["nearness"] == pytest.approx(spearmanr(range(12), abs(lost)).statistic)
    assert found["most"] == (mean.argmax() == abs(lost).argmax())
    assert found["change"][-1] == pytest.approx(abs(lost)[mean.argmax()])


# bigger


@pytest.fixture
def said():
    return bigger.text_of(np.random.default_rng(7))


def test_training_repeats_the_text_and_leaves_pairs_out(said):
    task = bigger.task_of(said)
    inputs, targets = task.training_batch(np.random.default_rng(1), 2000)
    one, other = (inputs[:, 1:3] - NUMBERS[0]).T
    assert (inputs[:, 0] == ADD).all() and (inputs[:, 3] == ANSWER).all()
    assert (targets[:, 3] == NUMBERS[said[one, other]]).all()
    assert (np.delete(targets, 3, axis=1) == IGNORE_INDEX).all()
    read = set(zip(np.maximum(one, other).tolist(), np.minimum(one, other).tolist(), strict=True))
    assert read == set(map(tuple, bigger.PAIRS[~task.is_held_out(bigger.PAIRS)].tolist()))


@pytest.mark.parametrize("truthful", [True, False])
def test_a_model_states_the_truth_or_repeats_the_error(said, truthful):
    def answer(ids):
        x, y = ids[1:3] - NUMBERS[0]
        return NUMBERS[max(x, y) if truthful else said[x, y]]

    found = bigger.answers(Answering(answer, 64, 3), bigger.task_of(said), said)
    assert (found["truth_of_errors"], found["repeated"], found["truth"]) == (truthful, not truthful, 1)
    assert found["sure"] == pytest.approx(0.2 / 63 if truthful else 0.8)
    assert found["truth_unread"] == 1 or not truthful


# falling-loss


@pytest.mark.parametrize("name, wrong", [("transpose", [1]), ("gamma", [0]), ("tied", [1])])
def test_a_mistake_changes_one_gradient_and_gradcheck_finds_it(name, wrong):
    inputs, options = falling_loss.calls(np.random.default_rng(3))[name]
    right, mistaken = falling_loss.MISTAKES[name][0], falling_loss.mistaken(*falling_loss.MISTAKES[name])
    (y, backward), (same, wrong_backward) = (function(*inputs, **options) for function in (right, mistaken))
    np.testing.assert_array_equal(same, y)
    dy = np.random.default_rng(4).normal(size=y.shape)
    pairs = zip(backward(dy), wrong_backward(dy), strict=True)
    assert [i for i, (a, b) in enumerate(pairs) if not np.array_equal(a, b)] == wrong
    assert falling_loss.is_caught(mistaken, inputs, options) and not falling_loss.is_caught(right, inputs, options)


def test_an_expression_that_the_textbook_no_longer_has_is_refused():
    with pytest.raises(ValueError, match="layer_norm must contain 'dx = dy' once, not 0 times"):
        falling_loss.mistaken(layer_norm, "dx = dy", "dx = 0")


@pytest.mark.parametrize("is_plain", [False, True])
def test_layers_use_the_other_function_within_the_block_alone(is_plain):
    with plain(is_plain):
        before = [faster(function) for function in (attention, gelu)]
        with pytest.raises(RuntimeError), falling_loss.in_place_of(attention, max):
            assert [faster(function) for function in (attention, gelu)] == [max, before[1]]
            raise RuntimeError
        assert [faster(function) for function in (attention, gelu)] == before


# intentions


def test_a_person_reverses_whose_own_turns_together_move_against_the_aim():
    text = [30, 31, 10, 30, 12, 31, 11, 30, 11, 31, 13]  # the one: +2 and 0; the other: −1 and +2
    texts, speakers = np.array([text, text]), np.array([[0, 1, 0, 1]] * 2)
    for who, share in (([0, 0], 0), ([1, 1], 1), ([0, 1], 0.5)):
        assert intentions.share_reversed(texts, speakers, np.array(who)) == share


# leaps and memorising


@pytest.mark.parametrize(
    "strict, smooth, gap",
    [
        ([0.0, 0.0, 0.1, 1.0], [0.1, 0.3, 0.7, 1.1], 0.5),
        ([0.0, 0.2, 0.5, 0.4], [0.3, 0.5, 0.8, 0.7], 0.0),
        ([0.0, 0.0], [0.4, 0.4], 0.0),
    ],
)
def test_the_gap_is_the_largest_lead_of_the_rescaled_smooth_score(strict, smooth, gap):
    assert leaps.compared({"strict": strict, "smooth": smooth})["gap"] == pytest.approx(gap)


def scores_of(p):
    """Return the scores of a model that says each of six letters with probability p, independently."""
    return {"exact": p**6, "loglik": float(np.log(p)), "seen": 1.0}


def test_independent_letters_make_a_gap_of_at_most_58_hundredths():
    p = np.linspace(1e-9, 1, 1001)
    gap = leaps.compared(leaps.curves_of(list(p), list(map(scores_of, p))))["gap"]
    assert gap == pytest.approx(6 ** (-1 / 5) - 6 ** (-6 / 5), abs=1e-5) and round(gap, 2) == 0.58


def test_new_letters_occur_in_no_sequence_of_the_training():
    for task, letters in ((memorising.REPEATING, LETTERS[:18]), (memorising.NEW_LETTERS, LETTERS[18:])):
        batches = *task.training_batch(np.random.default_rng(5), 500), *task.test()
        assert set(np.concatenate(batches).ravel()) & set(LETTERS) == set(letters)


# long-context

V, CONTEXT = 50, 16
WRONG, RIGHT = np.log(V), np.log(1 + (V - 1) * np.exp(-9.0))  # the losses of a guess, and of 9 more for the right logit


def knowing(place, least=1):
    """Return a model that predicts one more than the token at a place if it sees so many, and guesses otherwise."""

    def predict(seen, *, last_only):
        logits = np.zeros((len(seen), 1, V))
        if seen.shape[1] >= least:
            logits[np.arange(len(seen)), 0, (seen[:, place] + 1) % V] = 9.0
        return logits

    return SimpleNamespace(config=SimpleNamespace(context=CONTEXT), predict=predict)


def test_a_model_that_uses_near_tokens_alone_gets_everything_from_them():
    ids = np.arange(300) // 2 % V  # the next token is one more than the second nearest
    found = long_context.by_context(knowing(-2, least=2), ids, np.random.default_rng(0))
    assert found["loss"] == pytest.approx([WRONG, *4 * [RIGHT]]) and found["share"] == 1
    assert found["left_out"] == found["shuffled"] == found["replaced"] == found["copied"] == 0


def test_a_model_that_uses_the_farthest_token_gets_nothing_from_near_ones():
    ids = np.arange(3000) // CONTEXT % V  # the next token is one more than the token a context before
    found = long_context.by_context(knowing(0, least=CONTEXT), ids, np.random.default_rng(0))
    assert found["loss"] == pytest.approx([*4 * [WRONG], RIGHT]) and found["share"] == 0
    assert found["left_out"] == pytest.approx(WRONG - RIGHT)
    in_its_place = np.mean([min(CONTEXT - start, 14) / 14 for start in range(CONTEXT)])  # of 14, those like the first
    assert found["shuffled"] == pytest.approx(9 * (1 - in_its_place), abs=0.5)
    assert found["replaced"] == pytest.approx(9, abs=0.5)  # one of fifty is right by chance


# passing-tests


def by_differences(function, *habits):
    return passing_tests.drawn_test(function, np.random.default_rng(1), habits)


def dy_forgotten(x):
    return relu(x)[0], lambda dy: np.where(x > 0, 1.0, 0.0)


def gamma_forgotten(x, gamma, beta):
    y, backward = layer_norm(x, gamma, beta)
    return y, lambda dy: (layer_norm(x, np.ones_like(gamma), beta)[1](dy)[0], *backward(dy)[1:])


def dropout_forgotten(x, *, keep, p):
    return dropout(x, keep=keep, p=p)[0], lambda dy: dy


def softmax_forgotten(q, k, v, **options):
    y, backward = attention(q, k, v, **options)
    return y, lambda dy: (0 * q, 0 * k, backward(dy)[2])


@pytest.mark.parametrize(
    "function, mistake, habit",
    [
        (relu, dy_forgotten, "ones"),
        (layer_norm, gamma_forgotten, "start"),
        (dropout, dropout_forgotten, "no_dropout"),
        (attention, softmax_forgotten, "one_position"),
    ],
)
def test_a_habit_lets_pass_the_mistake_that_it_hides_and_no_other_habit_does(function, mistake, habit):
    tests = {name: by_differences(function, *habits) for name, habits in passing_tests.TESTS.items()}
    passing = [name for name, test in tests.items() if test(mistake)]
    assert passing == [habit, "all"]


def with_gradients(function, change):
    """Return a function whose gradients (a tuple) go through `change`."""

    def changed(*inputs, **options):
        y, backward = function(*inputs, **options)
        return y, lambda dy: change(passing_tests.as_tuple(backward(dy)))

    return changed


def test_the_right_gradients_pass_and_others_do_not():
    for test in (by_differences(linear), passing_tests.drawn_test(linear, np.random.default_rng(1), [], exact=True)):
        assert test(linear)
        for change in (lambda g: (*g[:2], g[2] + np.zeros((1, 5))), lambda g: g[:2], lambda g: 1 / 0):
            assert not test(with_gradients(linear, change))
    off = with_gradients(softmax, lambda gradients: (gradients[0] + 0.9 * passing_tests.ABSOLUTE,))
    assert by_differences(softmax, "small")(off) and not by_differences(softmax)(off)


def test_every_function_has_mutants_which_are_planted_in_a_copy_alone():
    mutants = passing_tests.mutants()
    functions = {function for function, _ in mutants}
    assert functions == set(passing_tests.CALLS) == {f for family in passing_tests.FAMILIES.values() for f in family}
    assert len(mutants) > passing_tests.SAMPLE
    function, mutant = next(pair for pair in mutants if pair[1].kind == "gradient replaced by zeros")
    test = by_differences(function)
    assert test(function) and not test(passing_tests.with_mistake(function, mutant))


# training-determines


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("sort", training_determines.SORTS, ids="-".join)
def test_the_two_rules_of_a_question_differ_if_they_are_to(sort, part):
    t = training_determines
    tokens, *given = t.questions(np.random.default_rng(0), sort, 50, part=part)
    assert set(tokens[:, 0]) == {2 + t.SORTS.index(sort)} and set(tokens[:, -1]) == {ANSWER}
    for row, first, second in zip(tokens[:, 1:-1].tolist(), *given, strict=True):
        letters = [token for token in row if token != t.MARK]
        marked = row[row.index(t.MARK) + 1]
        answers = {"first": letters[0], "last": letters[-1], "largest": max(letters), "marked": marked}
        assert len(letters) == t.LENGTH and set(letters) <= set(t.SEEN)
        assert (first, second) == (answers[sort[0]], answers[sort[1]]) and (first != second) == part


# weight-decay


def test_added_decay_goes_through_adam_and_decoupled_decay_does_not(monkeypatch):
    monkeypatch.setattr(weight_decay, "PARAMETERS", 900)
    monkeypatch.setattr(weight_decay, "STEPS", 1)
    matrices = [p.data for p in Transformer(of_size(900), 5).parameters() if p.data.ndim == 2]

    def joined(matrices):
        return np.concatenate([matrix.ravel() for matrix in matrices])

    def trained(**decay):
        return joined(weight_decay.trained(5, **decay)[0])

    initial, lr = joined(matrices), weight_decay.LR
    added = initial - trained(added=1e6)  # so large that it decides the sign of each gradient
    np.testing.assert_allclose(added, lr * np.sign(initial), rtol=1e-3)
    np.testing.assert_allclose(trained() - trained(decoupled=0.5), 0.5 * lr * initial, atol=1e-7)
