"""The misconception of intentions: the dialogues, who is pushed where, and who has turned round."""

import numpy as np
import pytest

from minitransformer.config import Config
from minitransformer.experiments.misconceptions import intentions
from minitransformer.experiments.misconceptions.intentions import (
    BETWEEN,
    COLDER,
    CONTEXT,
    DEGREES,
    HEADER,
    NAMES,
    TURNS,
    WARMER,
    beginnings,
    continued,
    courses,
    dialogues,
    is_turn_of_anybody,
    of_same_length,
    towards_colder,
    turned_round,
)
from minitransformer.transformer import Transformer


@pytest.fixture
def model(rng):
    model = Transformer(Config(DEGREES + NAMES, CONTEXT, 8, 2, 2), rng=rng)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.data.shape)
    return model


def test_in_the_dialogues_each_moves_the_temperature_where_the_header_says(rng):
    moved = {WARMER: set(), COLDER: set()}
    for text in dialogues(rng, 200).tolist():
        warmer, colder, temperature = text[:HEADER]
        assert warmer != colder
        for name, after in zip(text[HEADER::2], text[HEADER + 1 :: 2], strict=True):
            assert name in (warmer, colder)
            who = WARMER if name == warmer else COLDER
            if 2 <= temperature < DEGREES - 2:
                moved[who].add(after - temperature)
            assert 0 <= after < DEGREES
            temperature = after
    assert moved == {WARMER: {1, 2}, COLDER: {-1, -2}}


def test_a_name_is_of_one_who_wants_it_warmer_as_often_as_colder(rng):
    headers, speakers = beginnings(rng, 3000)
    assert np.ptp(np.bincount(headers[:, WARMER] - DEGREES)) < 150  # five standard errors of 300
    assert np.ptp(np.bincount(headers[:, COLDER] - DEGREES)) < 150
    assert (np.diff(speakers, axis=1) != 0).all()


def test_what_is_to_be_said_is_the_temperature_after_each_name_but_those_of_the_header(rng):
    texts = dialogues(rng, 20)
    assert is_turn_of_anybody(texts).tolist() == 20 * [HEADER * [False] + TURNS * [True, False]]


def test_the_direction_is_the_difference_of_means_over_those_who_speak(model, rng):
    texts = dialogues(rng, 15)
    seen = {WARMER: [], COLDER: []}
    for text in texts:
        after_first_block = []

        def keep(y, backward, after=after_first_block):
            after.append(y)
            return y, backward

        with model.hooked({BETWEEN: keep}):
            model.predict(text[None])
        for t in range(HEADER, CONTEXT, 2):
            seen[WARMER if text[t] == text[0] else COLDER].append(after_first_block[0][0, t])
    expected = np.mean(seen[COLDER], axis=0) - np.mean(seen[WARMER], axis=0)
    np.testing.assert_allclose(towards_colder(model, texts), expected, atol=1e-10)


def test_a_random_push_is_as_long_and_another_in_each_dialogue(rng):
    pushes = rng.normal(size=(6, 40))
    other = of_same_length(pushes, rng)
    np.testing.assert_allclose(np.linalg.norm(other, axis=1), np.linalg.norm(pushes, axis=1))
    assert np.abs(np.corrcoef(other, pushes) - np.eye(12)).max() < 0.8


def test_only_who_is_pushed_is_pushed_and_only_in_their_turns(model, rng):
    headers, speakers = beginnings(rng, 7)
    who = rng.integers(0, 2, 7)
    pushes = rng.normal(size=(7, 8))
    plain, with_push = [], []

    def keep(into):
        def hook(y, backward):
            into.append(y)
            return y, backward

        return hook

    texts = continued(model, headers, speakers, who, pushes, rng)
    assert (texts[:, :HEADER] == headers).all()
    assert (texts[:, HEADER + 1 :: 2] < DEGREES).all()
    place = np.arange(7)[:, None]
    assert (texts[:, HEADER::2] == headers[place, speakers]).all()

    with model.hooked({BETWEEN: keep(plain)}):
        model.predict(texts[:, :-1])
    replay = iter(texts[:, HEADER + 1 :: 2].T)
    with pytest.MonkeyPatch.context() as patch, model.hooked({"blocks.1.norm1": keep(with_push)}):
        patch.setattr(intentions, "sample", lambda logits, **_: next(replay))
        continued(model, headers, speakers, who, pushes, rng)
    expected = plain[0].copy()
    expected[:, HEADER::2] += (speakers == who[:, None])[..., None] * pushes[:, None]
    mean, variance = expected.mean(axis=-1, keepdims=True), expected.var(axis=-1, keepdims=True)
    norm = model.blocks[1].norm1
    normed = (expected - mean) / np.sqrt(variance + norm.eps) * norm.gamma.data + norm.beta.data
    np.testing.assert_allclose(with_push[-1], normed, atol=1e-9)


def test_the_courses_are_means_with_nobody_and_with_one_or_the_other_pushed_to_change_sides(model):
    headers, speakers = beginnings(np.random.default_rng(1), 6)
    direction = np.random.default_rng(2).normal(size=8)
    found = courses(model, headers, speakers, direction, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    for name, who, push in (
        ("nobody", WARMER, 0 * direction),
        ("both_colder", WARMER, direction),
        ("both_warmer", COLDER, -direction),
    ):
        texts = continued(model, headers, speakers, np.full(6, who), np.tile(push, (6, 1)), rng)
        assert found[name] == texts[:, HEADER - 1 :: 2].mean(axis=0).tolist()


def test_somebody_turned_round_whose_own_turns_together_go_the_other_way():
    text = [30, 31, 10, 30, 12, 31, 11, 30, 11, 31, 13]  # the one: +2 and 0; the other: −1 and +2
    texts, speakers = np.array([text]), np.array([[0, 1, 0, 1]])
    assert turned_round(texts, speakers, np.array([WARMER])) == 0
    assert turned_round(texts, speakers, np.array([COLDER])) == 1
    to_and_fro = np.array([[30, 31, 10, 30, 11, 31, 11, 30, 10, 31, 10]])
    assert turned_round(to_and_fro, speakers, np.array([WARMER])) == 0
    both = np.repeat(texts, 2, axis=0), np.repeat(speakers, 2, axis=0)
    assert turned_round(*both, np.array([WARMER, COLDER])) == 0.5
