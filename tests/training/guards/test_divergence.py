"""The divergence rule on runs that went well, on runs that were to learn nothing, and on runs that were lost."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bradley.training.guards.divergence import PATIENCE, RECOVERY, Divergence, Figures

RUNS = json.loads((Path(__file__).parent / "real_runs.json").read_text(encoding="utf-8"))
"""Train lines of runs of `configs/`, every tenth step, two of them with their signal hidden."""
CHANCE = math.log(2)


def stops(figures, warmup=1):
    """The first step at which the rule says something, and what; (0, "") where it never does."""
    rule = Divergence(warmup)
    for step, each in enumerate(figures, 1):
        if reason := rule.look(step, each):
            return step, reason
    return 0, ""


def drawn(rng, steps, share, comparisons, nll=0.69, noise=0.05):
    """Steps whose judgments are ranked as labelled with a probability of `share`, their likelihoods around `nll`."""
    right = rng.binomial(comparisons, share, steps) / comparisons
    losses = np.abs(nll + noise * rng.standard_normal(steps))
    return [Figures(loss, loss, accuracy, comparisons) for loss, accuracy in zip(losses, right, strict=True)]


@pytest.mark.parametrize("name", RUNS)
def test_the_real_configurations_never_count_as_diverged(name):
    """Each line held until the next, which makes of every lucky or unlucky batch ten in a row."""
    run = RUNS[name]
    rows = list(zip(run["loss"], run["nll"], run["accuracy"], strict=True))
    gaps = np.diff([*run["step"], run["step"][-1] + 10])
    held = [Figures(*row, run["comparisons"]) for row, gap in zip(rows, gaps, strict=True) for _ in range(gap)]
    assert len(held) > 100
    assert stops(held, run["warmup"]) == (0, "")


@pytest.mark.parametrize("comparisons", [1, 4, 32, 256])
@pytest.mark.parametrize(
    "share", [0.47, 0.57, 0.66, *(pytest.param(each, marks=pytest.mark.nightly) for each in (0.5, 0.53, 0.6, 0.63))]
)
def test_data_near_chance_never_count_as_diverged(share, comparisons):
    """Shuffled labels, hidden prompts, hard data: 20,000 steps of luck in both directions."""
    rng = np.random.default_rng(int(1000 * share) + comparisons)
    assert stops(drawn(rng, 20_000, share, comparisons, noise=0.3 / math.sqrt(comparisons))) == (0, "")


def test_learning_by_heart_what_is_wrong_is_no_divergence():
    """Overconfident on noisy labels: the loss doubles while accuracy creeps up; then epochs of interpolation."""
    rng = np.random.default_rng(0)
    rising = [drawn(rng, 1, 0.5 + k / 2000, 16, nll=0.7 + k / 250)[0] for k in range(500)]
    assert stops([*rising, *drawn(rng, 500, 1.0, 16, nll=1e-6, noise=0)]) == (0, "")


def test_single_steps_of_any_loss_are_forgiven_where_the_model_comes_back():
    rng = np.random.default_rng(1)
    run = drawn(rng, 2000, 0.75, 32, nll=0.5)
    for place in (3, 400, 401, 1200):
        run[place] = Figures(1e6, 1e6, 0.4, 32)
    assert stops(run) == (0, "")


def test_scores_that_are_equal_before_the_warm_up_is_over_are_no_divergence():
    """A head that starts at zero gives equal scores until its rate has risen."""
    equal = [Figures(CHANCE, CHANCE, 0.5, 32)] * 100
    learns = drawn(np.random.default_rng(2), 200, 0.7, 32, nll=0.6)
    assert stops([*equal, *learns], warmup=100) == (0, "")
    assert stops(equal, warmup=50) == (50 + PATIENCE, "all responses have had the same score for 20 steps")


def test_a_loss_that_stays_out_of_range_is_found_soon_and_no_sooner_than_it_must_have_stayed():
    rng = np.random.default_rng(3)
    healthy, lost = drawn(rng, 50, 0.6, 32), drawn(rng, 60, 0.5, 32, nll=30, noise=3)
    step, reason = stops([*healthy, *lost])
    assert 50 + PATIENCE <= step <= 50 + PATIENCE + 15
    assert reason.startswith("the loss, ") and reason.endswith(" has been above 5 for 20 steps")
    assert stops([*healthy, *lost[: PATIENCE - 5], *drawn(rng, 300, 0.7, 32)]) == (0, "")


def test_what_is_out_of_range_depends_on_where_the_run_began():
    """A ranking of 16 begins at ln 16! = 30.7: a loss of 40 is nothing there, and one of 100 is."""
    begins = [Figures(30.7, 0.69, 0.5, 32)]
    assert stops([*begins, *[Figures(40.0, 0.7, 0.5, 32)] * 100]) == (0, "")
    assert "above 92.1 for 20 steps" in stops([*begins, *[Figures(150.0, 0.7, 0.5, 32)] * 100])[1]


def test_chance_after_an_explosion_is_divergence():
    rng = np.random.default_rng(4)
    run = [*drawn(rng, 1, 0.5, 32), *[Figures(3160.0, 3160.0, 0.4, 32)] * 3, *drawn(rng, 100, 0.5, 32, nll=0.7)]
    step, reason = stops(run)
    assert step == 2 + RECOVERY - 1
    assert reason.startswith("accuracy is at chance") and reason.endswith("after a loss of 3160 at step 4")


@pytest.mark.parametrize("comparisons", [4, 32, 256])
def test_a_fall_from_what_was_learned_is_divergence(comparisons):
    rng = np.random.default_rng(5)
    learned = 4000 // comparisons + 100
    run = [*drawn(rng, learned, 0.8, comparisons), *drawn(rng, learned, 0.5, comparisons, nll=0.72)]
    step, reason = stops(run)
    assert learned + RECOVERY < step < learned + RECOVERY + 2500 // comparisons + 40
    assert reason.startswith("accuracy is back at chance")


def test_it_goes_on_from_its_state_as_if_nothing_had_happened():
    rng = np.random.default_rng(6)
    run = [*drawn(rng, 150, 0.8, 32), *drawn(rng, 150, 0.5, 32)]
    whole = stops(run)
    assert whole[0] > 150
    for cut in (0, 1, 149, 151, whole[0] - 1):
        first, second = Divergence(1), Divergence(1)
        for step, figures in enumerate(run[:cut], 1):
            assert first.look(step, figures) == ""
        second.restore(json.loads(json.dumps(first.state())))
        said = [(step, second.look(step, run[step - 1])) for step in range(cut + 1, whole[0] + 1)]
        assert said[-1] == whole and not any(reason for _, reason in said[:-1])
