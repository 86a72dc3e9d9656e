"""The loop: the gradient of a whole step however it is cut, the same bytes twice, a stop before nonsense."""

import json
import math

import numpy as np
import pytest
import torch

from bradley.errors import DivergedError, UserError
from bradley.losses import Term, bradley_terry
from bradley.model.engine.batch import collate
from bradley.model.folder.save_load import load_model
from bradley.scoring.core import score_store
from bradley.training.loop import fit
from tests.helpers import GPT2
from tests.training.jobs import VALID, config, job, lines, one_step_gradient

pytestmark = pytest.mark.transformers


def flat(value):
    """The values of a field: itself, or those of the calibration bins in it."""
    return [entry for bin in value for entry in bin.values()] if isinstance(value, list) else [value]


@pytest.mark.parametrize("weight_by", ["prompt", "pair"])
def test_any_cut_into_micro_batches_gives_the_gradient_of_the_whole_step(tmp_path, weight_by):
    whole, one = one_step_gradient(tmp_path / "whole", 100_000, weight_by=weight_by)
    for budget in (110, 200, 350):
        cut, pieces = one_step_gradient(tmp_path / str(budget), budget, weight_by=weight_by)
        assert pieces > one == 1
        assert float((cut - whole).norm() / whole.norm()) < 1e-5


def test_the_gradient_is_that_of_the_weighted_mean_over_the_step(tmp_path):
    """Written out: mean over comparisons of the mean Bradley-Terry loss of their judgments."""
    gradient, _ = one_step_gradient(tmp_path / "run", 300)
    made = job(tmp_path / "other", config())
    chosen = made.plan.step(1).comparisons
    losses = []
    for g in chosen:
        scores = made.model(collate(made.store, np.array([g]), made.weights))
        rows = [
            -torch.nn.functional.logsigmoid(scores[j.better] - scores[j.worse]) for j in made.store.judgments(int(g))
        ]
        losses.append(torch.stack(rows).mean())
    torch.stack(losses).mean().backward()
    expected = torch.cat([p.grad.flatten() for p in made.model.parameters()])
    assert float((gradient - expected).norm() / expected.norm()) < 1e-5


def test_two_runs_of_one_config_write_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        fit(job(tmp_path / name, config(model={"dropout": True}), GPT2))
    for file in (
        "metrics.jsonl",
        "eval/valid-best.jsonl",
        "checkpoints/index.json",
        "checkpoints/step-000006/model.safetensors",
    ):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    fit(job(tmp_path / "c", config(seed=1)))
    assert (tmp_path / "c" / "metrics.jsonl").read_bytes() != (tmp_path / "a" / "metrics.jsonl").read_bytes()


def draws(folder, seed, **train):
    """Train a little, and return the state of the random generator before each forward pass of a step."""
    made, found = job(folder, config(seed=seed, model={"dropout": True}, train=train), GPT2), []

    def look(module, _):
        if module.training:
            found.append(bytes(torch.get_rng_state().numpy()))

    made.model.register_forward_pre_hook(look)
    fit(made)
    assert len(found) == sum(len(made.plan.step(n + 1).micro_batches) for n in range(made.plan.num_steps))
    return found


def test_no_two_micro_batches_of_any_steps_or_runs_draw_the_same_dropout(tmp_path):
    cut = {"max_steps": 3, "micro_batch_tokens": 150}
    first, again = (draws(tmp_path / name, 0, **cut) for name in ("first", "again"))
    other = draws(tmp_path / "other", 1, **cut)
    assert first == again and len(first) > 6
    assert len({*first, *other}) == len(first) + len(other)


def test_train_figures_equal_the_scores_of_the_step(tmp_path):
    made = job(tmp_path / "run", config(train={"max_steps": 1}))
    fresh = job(tmp_path / "fresh", config(train={"max_steps": 1}))
    fit(made)
    event = next(e for e in lines(tmp_path / "run") if e["kind"] == "train")
    with torch.no_grad():
        chosen = fresh.plan.step(1).comparisons
        batch = collate(fresh.store, chosen, fresh.weights)
        scores = fresh.model(batch)
    better, worse = scores[batch.targets.better].numpy(), scores[batch.targets.worse].numpy()
    assert event["episode"] == len(batch.targets.better) and event["epoch"] == pytest.approx(8 / 24)
    assert event["train/rm/accuracy"] == pytest.approx(np.mean(better > worse))
    assert event["train/rm/chosen_rewards"] == pytest.approx(better.mean(), abs=1e-5)
    assert event["train/rm/reward_margin"] == pytest.approx((better - worse).mean(), abs=1e-5)
    nll = np.logaddexp(0, -(better - worse).astype(float))
    assert event["train/rm/nll"] == pytest.approx((nll * batch.targets.weight.numpy()).sum() / 8, abs=1e-6)
    assert event["train/rm/loss"] == pytest.approx(event["train/rm/nll"], rel=1e-6)


def test_figures_do_not_depend_on_the_token_budget(tmp_path):
    events = []
    for budget in (250, 100_000):
        fit(job(tmp_path / str(budget), config(train={"micro_batch_tokens": budget, "max_steps": 3})))
        events.append(lines(tmp_path / str(budget)))
    for a, b in zip(*events, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            for mine, other in zip(*map(flat, (value, b[key])), strict=True):
                assert other == pytest.approx(mine, rel=2e-4, abs=2e-4) if isinstance(mine, float) else other == mine


def test_the_logged_norm_is_that_before_clipping(tmp_path):
    settings = {"lr": 1.0, "warmup": 0, "schedule": "constant"}
    gradient, _ = one_step_gradient(tmp_path / "free", 600)
    fit(job(tmp_path / "clipped", config(optim={**settings, "max_grad_norm": 1e-3}, train={"max_steps": 1})))
    event = next(e for e in lines(tmp_path / "clipped") if e["kind"] == "train")
    assert event["train/rm/grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_the_windowed_mean_covers_the_last_steps_only_and_a_short_step_weighs_less(tmp_path):
    made = job(tmp_path / "run", config(train={"batch_size": 9}))  # 24 comparisons: steps of 9, 9 and 6
    fit(made)
    train = [e for e in lines(tmp_path / "run") if e["kind"] == "train"]
    losses = [e["train/rm/loss"] for e in train]
    assert train[-1]["train_window/rm/loss"] == pytest.approx(np.average(losses[-3:], weights=[9, 9, 6]))
    assert train[0]["train_window/rm/loss"] == pytest.approx(losses[0])


def test_the_plain_nll_is_logged_beside_a_loss_with_more_terms(tmp_path):
    made = job(tmp_path / "more", config(train={"max_steps": 1}))
    made.losses["squares"] = lambda scores, targets: Term((scores**2).sum(), "response", {})
    fit(made)
    fit(job(tmp_path / "plain", config(train={"max_steps": 1})))
    more, plain = (next(e for e in lines(tmp_path / n) if e["kind"] == "train") for n in ("more", "plain"))
    assert more["train/rm/nll"] == pytest.approx(plain["train/rm/nll"], rel=1e-6)
    assert more["train/rm/loss"] > more["train/rm/nll"] + 1e-3
    first = [next(e for e in lines(tmp_path / n) if e["kind"] == "eval") for n in ("more", "plain")]
    assert first[0]["eval/valid/rm/loss"] == first[1]["eval/valid/rm/loss"]


def test_evaluation_weighs_the_nll_as_training_does(tmp_path):
    """All training rows evaluated at step 0 against the first step that holds all of them."""
    for weight_by in ("prompt", "pair"):
        settings = config(train={"batch_size": 24, "max_steps": 1}, loss={"weight_by": weight_by})
        made = job(tmp_path / weight_by, settings)
        made.evaluator.stores = {"valid": made.store}
        fit(made)
        first, step = lines(tmp_path / weight_by)[:2]
        assert (first["kind"], step["kind"]) == ("eval", "train")
        assert first["eval/valid/rm/nll"] == pytest.approx(step["train/rm/nll"], rel=1e-5)


def test_the_schedule_reaches_its_end_and_the_rate_starts_above_zero(tmp_path):
    fit(job(tmp_path / "run", config(optim={"lr": 1e-3, "warmup": 2, "floor": 0.1})))
    rates = [e["train/rm/lr"] for e in lines(tmp_path / "run") if e["kind"] == "train"]
    assert rates[0] == pytest.approx(5e-4) and max(rates) == rates[1] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)


def squares(scores, targets):
    """A term of another unit than the likelihood, that brings a figure of its own."""
    return Term((scores**2).sum(), "response", {"mean_score": scores.detach().sum()})


def test_the_terms_of_a_line_add_up_to_its_loss_each_over_its_own_unit(tmp_path):
    """Steps of 9, 9 and 6 comparisons with 2 or 4 responses: three units that grow apart."""
    made = job(tmp_path / "run", config(train={"batch_size": 9, "micro_batch_tokens": 300}))
    made.losses["squares"] = squares
    fit(made)
    train = [e for e in lines(tmp_path / "run") if e["kind"] == "train"]
    responses = [made.plan.totals(made.plan.step(number)).response for number in range(1, 7)]
    weights = [len(made.plan.step(number).comparisons) for number in range(1, 7)]
    assert len(set(zip(responses, weights, strict=True))) > 2
    for event in train:
        for kind in ("train", "train_window"):
            shares = [event[f"{kind}/rm/term/{name}"] for name in ("bradley_terry", "squares")]
            assert sum(shares) == pytest.approx(event[f"{kind}/rm/loss"], rel=1e-12)
        assert event["train/rm/term/bradley_terry"] == pytest.approx(event["train/rm/nll"], rel=1e-6)
    for name in ("term/squares", "mean_score"):
        each = [event[f"train/rm/{name}"] for event in train]
        assert train[-1][f"train_window/rm/{name}"] == pytest.approx(np.average(each[-3:], weights=responses[-3:]))
    fresh = job(tmp_path / "fresh", config(train={"batch_size": 9}))
    with torch.no_grad():
        scores = fresh.model(collate(fresh.store, fresh.plan.step(1).comparisons, fresh.weights)).double()
    assert train[0]["train/rm/term/squares"] == pytest.approx(float((scores**2).mean()), rel=1e-5)
    assert train[0]["train/rm/mean_score"] == pytest.approx(float(scores.mean()), abs=1e-6)


def test_a_single_term_is_the_loss_and_is_not_logged_twice(tmp_path):
    fit(job(tmp_path / "run", config(train={"max_steps": 1})))
    assert not [key for event in lines(tmp_path / "run") for key in event if "/term/" in key]


@pytest.mark.parametrize("name", ["accuracy", "loss", "nll", "mean_score", "lr", "lr_head", "grad_norm"])
def test_a_figure_that_has_a_name_that_is_taken_stops_the_run(tmp_path, name):
    made = job(tmp_path / "run")
    made.losses["squares"] = squares
    made.losses["mine"] = lambda scores, targets: Term(scores.sum(), "comparison", {name: scores.detach().sum()})
    with pytest.raises(UserError, match=f"are called {name}"):
        fit(made)


def test_a_head_of_its_own_rate_is_logged(tmp_path):
    fit(job(tmp_path / "run", config(optim={"lr": 1e-3, "head_lr": 1e-2, "warmup": 2})))
    train = [e for e in lines(tmp_path / "run") if e["kind"] == "train"]
    assert all(e["train/rm/lr_head"] == pytest.approx(10 * e["train/rm/lr"]) for e in train)


def test_a_run_that_stops_early_is_the_beginning_of_the_whole_one(tmp_path):
    whole, short = job(tmp_path / "whole"), job(tmp_path / "short", config(train={"stop_after": 3}))
    assert fit(whole).reason == "every step of the plan"
    outcome = fit(short)
    assert (outcome.steps, outcome.reason) == (3, "train.stop_after = 3")
    first = lines(tmp_path / "short")
    assert first[-1] == {**first[-1], "kind": "eval", "step": 3}  # the last step is evaluated off schedule
    assert first[:-1] == lines(tmp_path / "whole")[: len(first) - 1]


def interpolating(folder, **train):
    made = job(folder, config(optim={"lr": 1e-2}, train={"max_steps": 24, **train}, eval={"every": 3}))
    made.evaluator.stores["train_probe"] = made.store
    return made, fit(made)


def test_what_is_interpolated_from_the_start_is_not_trained_at_all(tmp_path):
    _, outcome = interpolating(tmp_path / "run", past_interpolation=0.01, interpolation_epochs=0)
    assert outcome.steps == 0 and outcome.reason.startswith("train.past_interpolation = 0.01 was reached")
    assert not [e for e in lines(tmp_path / "run") if e["kind"] == "train"]


def test_every_step_that_is_evaluated_is_logged_and_so_is_the_one_of_an_early_stop(tmp_path):
    stopping = {"early_stopping": "nll", "patience": 1, "min_delta": 10.0}
    settings = config(train=stopping, eval={"every": 2}, log={"every": 5})
    outcome = fit(job(tmp_path / "run", settings))
    steps = [e["step"] for e in lines(tmp_path / "run") if e["kind"] == "train"]
    assert steps == [1, 2, outcome.steps] and outcome.steps == 4


def test_training_goes_on_until_the_probe_is_interpolated(tmp_path):
    _, outcome = interpolating(tmp_path / "run", past_interpolation=0.7, interpolation_epochs=0)
    probability = {
        e["step"]: e["eval/train_probe/rm/mean_probability"]
        for e in lines(tmp_path / "run")
        if e.get("set") == "train_probe"
    }
    assert outcome.steps == max(probability) < 24
    assert [step for step, value in probability.items() if value >= 0.7] == [outcome.steps]
    said = f"train.past_interpolation = 0.7 was reached at step {outcome.steps}, epoch "
    assert outcome.reason.startswith(said)
    _, longer = interpolating(tmp_path / "longer", past_interpolation=0.7, interpolation_epochs=1, max_steps=40)
    epochs = {e["step"]: e["epoch"] for e in lines(tmp_path / "longer") if e.get("set") == "train_probe"}
    enough = [step for step, epoch in epochs.items() if epoch >= epochs[outcome.steps] + 1]
    assert longer.reason.startswith(said) and enough == [longer.steps] and longer.steps < 40
    _, outcome = interpolating(tmp_path / "short", past_interpolation=0.99, max_steps=6)
    value = lines(tmp_path / "short")[-1]["eval/train_probe/rm/mean_probability"]
    assert outcome.steps == 6
    assert outcome.reason == (
        f"every step of the plan; train.past_interpolation = 0.99 was not reached: the train probe is at {value:.6g}"
    )


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_nonsense_stops_the_run_before_the_optimizer_moves(tmp_path, what):
    calls = 0

    def poisoned(scores, targets):
        nonlocal calls
        calls += 1
        term = bradley_terry(scores, targets)
        if calls < 5:
            return term
        if what == "loss":
            return Term(term.sum * math.nan, term.unit, {})
        return Term(
            term.sum + (scores - scores.detach()).abs().sum().sqrt(), term.unit, {}
        )  # value kept, slope infinite

    made = job(tmp_path / "run", config(train={"micro_batch_tokens": 100_000}), losses={"poisoned": poisoned})
    weights = []
    original = made.optimizer.step

    def step(*args, **kwargs):
        result = original(*args, **kwargs)
        weights.append([p.detach().clone() for p in made.model.parameters()])
        return result

    made.optimizer.step = step
    with pytest.raises(DivergedError, match=f"the {what} of step 5 is (nan|inf)") as caught:
        fit(made)
    assert caught.value.exit_code == 5
    assert any(row.id in caught.value.message for row in made.store.info)
    assert len(weights) == 4
    assert all(torch.equal(a, b.detach()) for a, b in zip(weights[-1], made.model.parameters(), strict=True))
    assert max(e["step"] for e in lines(tmp_path / "run")) == 4
    assert load_model(tmp_path / "run" / "checkpoints" / "step-000004")


def test_the_best_checkpoint_re_evaluates_to_the_logged_best(tmp_path):
    """Early stopping on a rate that ruins the model: best is kept apart from last, and scores what was logged."""
    settings = config(
        optim={"lr": 0.05, "warmup": 0},
        train={"max_steps": 40, "early_stopping": "nll", "patience": 3, "select_by": "nll"},
        eval={"every": 1},
    )
    made = job(tmp_path / "run", settings)
    outcome = fit(made)
    assert outcome.steps < 40 and outcome.reason == "no improvement in 3 evaluations"
    index = json.loads((tmp_path / "run" / "checkpoints" / "index.json").read_text())
    assert index["last"]["step"] == outcome.steps == index["best"]["step"] + 3
    history = {e["step"]: e["eval/valid/rm/nll"] for e in lines(tmp_path / "run") if e["kind"] == "eval"}
    assert history[index["best"]["step"]] == min(history.values()) == index["best"]["valid"]["nll"]
    model = load_model(made.checkpoints.publish(tmp_path / "run" / "model")).model
    rows = score_store(model, made.evaluator.stores["valid"], 600)
    kept = (tmp_path / "run" / "eval" / "valid-best.jsonl").read_text().splitlines()
    assert [json.loads(line)["scores"] for line in kept] == [list(row.scores) for row in rows]


def test_every_evaluation_covers_every_row_whatever_the_budget(tmp_path):
    """9 rows with a budget that leaves a lone last one: nothing is dropped, and the mean is over rows, not batches."""
    for budget in (200, 400, 100_000):
        made = job(tmp_path / str(budget), config(train={"max_steps": 1, "micro_batch_tokens": budget}))
        fit(made)
        rows = [
            json.loads(line) for line in (tmp_path / str(budget) / "eval" / "valid-last.jsonl").read_text().splitlines()
        ]
        assert [row["id"] for row in rows] == [row.id for row in VALID]
        last = [e for e in lines(tmp_path / str(budget)) if e["kind"] == "eval"][-1]
        correct = [row["scores"][0] > row["scores"][1] for row in rows]
        assert last["eval/valid/rm/accuracy"] == pytest.approx(np.mean(correct))
        assert last["eval/valid/rm/judgments"] == 9


def test_every_trainable_tensor_moves(tmp_path):
    made = job(
        tmp_path / "run",
        config(optim={"lr": 3e-6, "warmup": 0, "schedule": "constant"}, model={"precision": "bfloat16"}),
    )
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    fit(made)
    for name, parameter in made.model.named_parameters():
        assert parameter.dtype == torch.float32
        moved = float((parameter.detach() != before[name]).float().mean())
        assert moved > (0.05 if "embed" in name else 0.9), name  # most of the vocabulary does not occur
