"""Numbers that are not finite never reach a weight: the run stops and names the comparison, or passes over the step."""

import json
import math
import re

import numpy as np
import pytest
import torch

from bradley.errors import DivergedError
from bradley.model.folder.save_load import load_model
from bradley.training.guards.culprits import Replay
from bradley.training.guards.nonfinite import Guard
from bradley.training.loop import fit
from bradley.training.metrics import StepSums
from bradley.training.progress import Progress
from tests.helpers import BERT, GPT2
from tests.training.jobs import config, job

POISONED = 5
"""The comparison that turns what it is scored with into nonsense."""
ONE, MANY = 100_000, 250
"""Budgets with one micro-batch to a step, and with several."""


def holds(store, batch, number):
    """Whether a comparison is in a batch, by its tokens."""
    first, last = store.first_segment[number], store.first_segment[number + 1]
    tokens = store.tokens[store.segments[first] : store.segments[last]].astype(np.int64)
    return tokens.tobytes() in batch.tokens.numpy().tobytes()


def nan(scores):
    return scores * math.nan


def infinite(scores):
    """The first response, which is the better one of each judgment, scored at minus infinity: a loss of +infinity."""
    return torch.cat([scores[:1] - math.inf, scores[1:]])


def only_gradient(scores):
    """The same scores, with a slope of infinity."""
    return scores + (scores - scores.detach()).abs().sum().sqrt()


def poison(made, how):
    """Have one comparison spoil the scores of every batch that it is in."""
    forward = made.model.forward
    made.model.forward = lambda batch: (
        how(forward(batch)) if torch.is_grad_enabled() and holds(made.store, batch, POISONED) else forward(batch)
    )
    return made


def weights_after_steps(made):
    """A list that gets a copy of all weights after each step of the optimizer."""
    copies, original = [], made.optimizer.step

    def step(*args, **kwargs):
        original(*args, **kwargs)
        copies.append([p.detach().clone() for p in made.model.parameters()])

    made.optimizer.step = step
    return copies


def events(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_with(made, number):
    return [k for k in range(1, made.plan.num_steps + 1) if number in made.plan.step(k).comparisons]


@pytest.mark.parametrize("budget", [ONE, MANY])
@pytest.mark.parametrize(("how", "what"), [(nan, "loss"), (infinite, "loss"), (only_gradient, "gradient")])
def test_the_run_stops_before_the_update_and_names_the_comparison_alone(tmp_path, how, what, budget):
    made = poison(job(tmp_path / "run", config(train={"micro_batch_tokens": budget})), how)
    last = steps_with(made, POISONED)[0]
    pieces = made.plan.step(last).micro_batches
    piece = next(k for k, chosen in enumerate(pieces, 1) if POISONED in chosen)
    assert (len(pieces) > 1) == (budget == MANY)
    copies, before = weights_after_steps(made), [p.detach().clone() for p in made.model.parameters()]
    with pytest.raises(DivergedError) as caught:
        fit(made)
    assert caught.value.exit_code == 5
    first, line = caught.value.message.split("\n")
    assert re.fullmatch(rf"the {what} of step {last} is (nan|inf); the optimizer has not moved", first)
    sizes, row = made.plan.load.sizes, made.store.info[POISONED]
    shape = rf"{re.escape(row.id)} \({sizes.rows[POISONED]} responses of up to {sizes.longest[POISONED]} tokens\)"
    figures = r"loss (nan|inf|[\d.e-]+), gradient norm (nan|inf|[\d.e-]+)"
    assert re.fullmatch(rf"process 0, micro-batch {piece}: {figures}; comparisons: {shape}", line), line
    assert (" loss nan" in line or " loss inf" in line) == (what == "loss")
    assert "norm nan" in line or "norm inf" in line or what == "loss"
    assert len(copies) == last - 1
    for now, kept in zip(made.model.parameters(), copies[-1] if copies else before, strict=True):
        assert torch.equal(now.detach(), kept)
    assert max(event["step"] for event in events(tmp_path / "run")) < last
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert int(newest.name[5:]) < last and load_model(newest)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_another_process_found_stops_this_one_and_is_named(tmp_path, what):
    """Figures and norm of the whole step are not finite, and nothing of this process's own micro-batches is."""
    made = job(tmp_path / "run", config())
    again = Replay(made.model, made.losses, made.store, made.weights, made.plan, 0)
    asked = []

    def exchange(lines):
        asked.append(lines)
        return [*lines, "process 1, micro-batch 2: loss nan, gradient norm nan; comparisons: c7 (2 responses)"]

    guard, step = Guard(made.config, again, exchange=exchange), made.plan.step(1)
    guard.enter(step, 0, step.micro_batches[0])
    sums = finite_sums(made, step)
    if what == "loss":
        sums.sums["term/bradley_terry"] = math.nan
    with pytest.raises(DivergedError, match=f"the {what} of step 1 is nan; .*\n.*process 1, micro-batch 2: .*: c7"):
        guard.allows(step, sums, math.nan if what == "gradient" else 1.0)
    assert asked == [[]]


def finite_sums(made, step):
    sums = StepSums(made.plan.totals(step))
    sums.sums = {"term/bradley_terry": 5.0, "nll": 5.0, "accuracy": 4.0}
    sums.units = {"term/bradley_terry": "judgment_weight", "nll": "judgment_weight", "accuracy": "decided"}
    sums.totals["decided"] = 8.0
    return sums


def test_a_fault_that_does_not_come_again_is_said_to_be_no_comparison_s(tmp_path):
    made = job(tmp_path / "run")
    forward, calls = made.model.forward, []

    def once(batch):
        calls.append(torch.is_grad_enabled())
        return forward(batch) * (math.nan if sum(calls) == 3 else 1.0)

    made.model.forward = once
    with pytest.raises(DivergedError, match="\nno comparison of the step gives it again: look at the machine"):
        fit(made)


@pytest.mark.parametrize("how", [nan, only_gradient])
def test_skipped_steps_leave_everything_but_the_weights_as_it_would_have_been(tmp_path, how):
    """Against a run without poison whose optimizer does nothing at these steps: the same bits, with dropout."""
    settings = {"model": {"dropout": True}, "optim": {"skip_nonfinite": True}}
    made = poison(job(tmp_path / "skipped", config(**settings), GPT2), how)
    skipped = steps_with(made, POISONED)
    assert len(skipped) == 2
    other = job(tmp_path / "idle", config(**settings), GPT2)
    original, count = other.optimizer.step, iter(range(1, 7))
    other.optimizer.step = lambda: None if next(count) in skipped else original()
    outcome, _ = fit(made), fit(other)
    for a, b in zip(made.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
    found = outcome.facts["skipped_steps"]
    assert [entry["step"] for entry in found] == skipped and outcome.steps == 6
    assert all(made.store.info[POISONED].id in cause for entry in found for (cause,) in [entry["causes"]])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    lines = [events(tmp_path / name) for name in ("skipped", "idle")]
    windows = [[event["train_window/rm/loss"] for event in each if event["kind"] == "train"] for each in lines]
    clean = [e["train/rm/loss"] for e in lines[1] if e["kind"] == "train" and e["step"] not in skipped]
    assert windows[0][-1] == pytest.approx(np.mean(clean[-3:]))
    trained = [[event["step"] for event in each if event["kind"] == "train"] for each in lines]
    assert trained == [[k for k in range(1, 7) if k not in skipped], list(range(1, 7))]
    ends = [[event for event in each if event["kind"] == "eval"][-1] for each in lines]
    assert ends[0] == ends[1]


def test_the_fourth_skipped_step_within_a_thousand_ends_the_run(tmp_path):
    settings = config(optim={"skip_nonfinite": True}, train={"max_steps": 12})
    made = poison(job(tmp_path / "run", settings), nan)
    with pytest.raises(DivergedError, match="4 such steps within 1,000, and 3 may be skipped") as caught:
        fit(made)
    assert f"the loss of step {steps_with(made, POISONED)[3]} is nan" in caught.value.message


def test_skipped_steps_are_counted_over_a_window_and_over_a_resume(tmp_path):
    made = job(tmp_path / "run", config(optim={"skip_nonfinite": True}))
    again = Replay(made.model, made.losses, made.store, made.weights, made.plan, 0)
    first, guard = made.plan.step(1), Guard(made.config, again)
    for number in (1, 2, 3, 1001, 1002, 1003):  # each leaves the window when the fourth after it comes
        guard = Guard(made.config, again, json.loads(json.dumps(guard.state())))
        assert not guard.allows(first._replace(number=number), finite_sums(made, first), math.nan)
    with pytest.raises(DivergedError, match="4 such steps"):
        guard.allows(first._replace(number=1500), finite_sums(made, first), math.nan)
    assert [entry["step"] for entry in guard.facts()["skipped_steps"]] == [1, 2, 3, 1001, 1002, 1003]


def test_a_collapsed_model_ends_the_run_or_is_noted_where_the_run_is_to_go_on(tmp_path):
    """An encoder at a hundred thousand times its usual rate gives every response the same score from then on."""
    ruinous = {"optim": {"lr": 1.0}, "eval": {"every": 60}}
    with pytest.raises(DivergedError, match=r"the run has diverged at step \d+: all responses have had the same score"):
        fit(job(tmp_path / "stopped", config(train={"max_steps": 60}, **ruinous), BERT))
    goes_on = config(train={"max_steps": 60, "divergence_stop": False}, **ruinous)
    outcome = fit(job(tmp_path / "run", goes_on, BERT))
    assert outcome.steps == 60 and re.match(r"step \d+: all responses have had the", outcome.facts["diverged"])
    assert fit(job(tmp_path / "healthy")).facts == {"skipped_steps": [], "diverged": ""}


def test_what_the_guard_knows_goes_with_the_checkpoint_and_comes_back(tmp_path):
    settings = config(optim={"skip_nonfinite": True}, eval={"every": 1})
    outcome = fit(poison(job(tmp_path / "run", settings), nan))
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    known = json.loads((newest / "training" / "state.json").read_text())["progress"]["guard"]
    assert known["skipped_steps"] == outcome.facts["skipped_steps"] != []
    first = next(event for event in events(tmp_path / "run") if event["kind"] == "train")
    assert known["divergence"]["start"] == first["train/rm/loss"]
    goes_on = fit(job(tmp_path / "on", settings), Progress(guard={**known, "diverged": "step 1: before"}))
    assert goes_on.facts == {**outcome.facts, "diverged": "step 1: before"}
