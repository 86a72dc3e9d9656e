"""Probes of scored rows, on simulated models: sound, constant, of length alone, and under swapped labels."""

from dataclasses import replace

import numpy as np
import pytest

from bradley.doctor.results import FALSE_ALARMS, confidence_of, failure
from bradley.doctor.rows import prompts_for
from bradley.doctor.scored import (
    better_than_chance,
    different_scores,
    more_than_length,
    nothing_beside,
    own_answer,
    prompt_read,
    same_direction,
    shuffled_labels,
    sides_swapped,
)
from bradley.errors import CheckpointError, DataError
from bradley.records import Judgment, ScoredComparison

SURE = confidence_of(7)


def rows(count, signal=1.0, length=0.0, seed=0, noise=1.0):
    """Rows of two responses, the better first: its score is higher by `signal`; `length` is a taste for tokens."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        tokens = rng.integers(20, 200, 2)
        scores = rng.normal(0, noise, 2) + length * tokens / 50 + (signal, 0.0)
        sizes = tuple(tokens.tolist())
        made.append(
            ScoredComparison(
                f"r{number}", f"p{number}", tuple(scores.tolist()), sizes, sizes, (False, False), (Judgment(0, 1),)
            )
        )
    return made


def reversed_labels(scored):
    return [replace(row, judgments=tuple(Judgment(j.worse, j.better) for j in row.judgments)) for row in scored]


def longer_wins(scored):
    """Labels that mostly prefer a clearly longer response, and are coins at like length."""
    rng = np.random.default_rng(5)
    made = []
    for row in scored:
        longer, like = int(row.tokens[1] > row.tokens[0]), 0.9 * max(row.tokens) <= min(row.tokens)
        side = longer if rng.random() < (0.5 if like else 0.9) else 1 - longer
        made.append(replace(row, judgments=(Judgment(side, 1 - side),)))
    return made


def test_swapped_labels_in_evaluation_fail() -> None:
    train, valid = rows(1500), rows(1500, seed=1)
    assert same_direction(train, valid, SURE).verdict == "pass"
    planted = same_direction(train, reversed_labels(valid), SURE)
    assert planted.verdict == "fail" and planted.high < 0.5 and "swapped" in planted.cause
    short = same_direction(rows(30, 0.2), reversed_labels(rows(30, 0.2, seed=1)), SURE)
    assert short.verdict == "undecided" and short.needed > 500
    # Both below chance cannot be told from a bad model by this probe; chance itself is failed by the other.
    both = [reversed_labels(part) for part in (train, valid)]
    assert same_direction(*both, SURE).verdict == "undecided"
    assert better_than_chance(both[0], SURE).verdict == "fail"


def test_chance_stays_undecided_and_says_how_many_prompts_decide() -> None:
    found = better_than_chance(rows(400, 0.0), SURE)
    assert found.verdict == "undecided"
    assert found.needed == pytest.approx(prompts_for(SURE), rel=0.05)
    assert better_than_chance(rows(400), SURE).verdict == "pass"


def test_constant_scores_fail() -> None:
    assert different_scores(rows(50)).verdict == "pass"
    constant = [replace(row, scores=(0.25, 0.25)) for row in rows(50)]
    assert different_scores(constant).verdict == "fail"
    rounded = [replace(row, scores=(0.25, 0.25 + 1e-6)) for row in rows(50)]
    assert different_scores(rounded).verdict == "fail"


def test_a_score_of_length_alone_fails() -> None:
    assert more_than_length(rows(4000), SURE).verdict == "pass"
    assert more_than_length(rows(4000, 1.0, 0.5), SURE).verdict == "pass"
    pure = more_than_length(longer_wins(rows(1000, 0.0, 1.0, noise=0.01)), SURE)
    assert pure.verdict == "fail" and "rank correlation of score and length 1.00" in pure.measured
    # Noise hides the correlation: the accuracy at like length tells.
    noisy = more_than_length(longer_wins(rows(20_000, 0.0, 1.0)), SURE)
    assert noisy.verdict == "fail" and noisy.high < 0.55
    assert more_than_length(rows(200, 0.0), SURE).verdict == "undecided"


def test_rows_changed_in_a_known_way() -> None:
    chance, told = rows(4000, 0.0), rows(4000, 0.5)
    for probe in (nothing_beside, shuffled_labels):
        assert probe(chance, SURE).verdict == "pass"
        assert probe(told, SURE).verdict == "fail"
        assert probe(chance[:50], SURE).verdict == "undecided"
    assert own_answer(told, SURE).verdict == "pass"
    assert own_answer(chance, SURE).verdict == "undecided"
    assert own_answer(reversed_labels(told), SURE).verdict == "fail"


def test_a_prompt_that_is_not_read_fails() -> None:
    before = rows(50)
    same = [replace(row, tags={"probe": "another_prompt", "probed": "0 1"}) for row in before]
    moved = [replace(row, scores=(row.scores[0] + 0.1, row.scores[1])) for row in same]
    assert prompt_read(before, same).verdict == "fail"
    assert prompt_read(before, moved).verdict == "pass"


def test_sides_that_change_a_score_fail() -> None:
    scored = rows(60)
    swapped = [
        replace(row, scores=row.scores[::-1], judgments=(Judgment(1, 0),), response_tokens=row.response_tokens[::-1])
        for row in scored
    ]
    assert sides_swapped(scored, swapped).verdict == "pass"
    first_wins = [replace(row, scores=(row.scores[0] + 9, row.scores[1])) for row in swapped]
    assert sides_swapped(scored, first_wins).verdict == "fail"


def test_a_sound_model_fails_no_probe_in_many_examinations() -> None:
    assert confidence_of(7) == pytest.approx(1 - FALSE_ALARMS / 7)
    for seed in range(40):
        scored, chance = rows(150, 0.3, 0.2, seed), rows(150, 0.0, 0.2, seed + 1000)
        results = [
            better_than_chance(scored, SURE),
            same_direction(scored, rows(150, 0.3, 0.2, seed + 500), SURE),
            more_than_length(scored, SURE),
            nothing_beside(chance, SURE),
            own_answer(scored, SURE),
            shuffled_labels(chance, SURE),
        ]
        assert failure(results) is None, seed


def test_a_failure_has_the_error_of_its_kind() -> None:
    model, data = different_scores([replace(rows(1)[0], scores=(1.0, 1.0))]), nothing_beside(rows(4000, 0.5), SURE)
    assert isinstance(failure([model, data]), CheckpointError)
    error = failure([data, model])
    assert isinstance(error, DataError) and "2 of 2 probes failed: nothing beside the texts, " in error.message
