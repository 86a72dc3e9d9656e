"""Probes of an untrained model: the first loss, a gradient for every trained weight, and a few comparisons learned."""

import contextlib
import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ..config import Loss, Optim
from ..data.micro_batches import cut_all
from ..data.token_store import TokenStore
from ..errors import CheckpointError
from ..evaluate.judgments import judgment_table
from ..model.cost import limit_for, load_on
from ..model.engine.batch import Batch, collate
from ..model.reward import ScoreModel, is_head_weight
from ..scoring.core import score_store
from ..training.guards.gradient_flow import LOOK_AT, GradientFlow, named, trained
from ..training.objective import objective
from ..training.optim import make_optimizer
from .results import Advice, ProbeResult, found

LN2 = math.log(2)
MOST_SPREAD = 1.0
"""Mean size of a first margin, times beta, above which some pairs start as good as decided."""
SURE = 0.99
STEPS, RATES = 60, (1.0, 10.0, 100.0)
"""Steps of the small fit with each learning rate, as multiples of the configured rate."""
HIGHEST_RATE = 0.03
FIRST_LOSS = Advice(
    "first loss",
    "the loss is summed where it should be averaged, beta is too large, or the head starts with large weights",
    "check loss.beta, loss.extra and the scale of the head; a warm start is no untrained model",
)
GRADIENT = Advice(
    "gradient of every trained weight",
    "a weight is frozen, detached, or not part of the scores; a frozen head reads random features",
    "train the head: see model.trainable and model.adapter; look for requires_grad = False and detach()",
)
ENGINE = Advice(
    "one engine",
    "dropout is on in evaluation, or the model's code and a kernel compute other scores than the padded path",
    "look at the probe of scores scored twice; if scores are equal there, use --model.engine plain",
)
TRAINING = Advice(
    "short training",
    "the loss diverges, a number is not finite, or no gradient reaches a weight",
    "lower optim.lr, and see the message above; the other probes of scores need a trained model",
)
OVERFIT = Advice(
    "few comparisons learned",
    "no gradient reaches what tells the responses apart, or the labels of one pair contradict each other",
    "raise optim.lr; check that both responses differ as read by the model (`bradley data FILE --tokens`)",
)


def first_loss(model: ScoreModel, store: TokenStore, settings: Loss) -> ProbeResult:
    """Compare the likelihood of an untrained model with ln 2.

    Softplus lies within |x| / 2 + x^2 / 8 of ln 2, so the mean size of the margins bounds the distance.

    Args:
        model: with a drawn head.
        store: token store of a few comparisons.
        settings: section `loss`; penalties, margins and tie models are left out.
    """
    value = _likelihood(model, store, settings)
    table = judgment_table(score_store(model, store, 0))
    margins = settings.beta * np.abs(table.margin)
    weights = table.weight / table.weight.sum()
    spread = float(weights @ margins)
    reach = spread / 2 + float(weights @ margins**2) / 8 + 1e-5
    low, high = max(0.0, LN2 - reach), LN2 + reach
    return found(
        FIRST_LOSS,
        low <= value <= high and spread <= MOST_SPREAD,
        f"{value:.4f} nats; first margins of {spread:.3g} on average",
        f"{low:.4f} to {high:.4f}, with margins below {MOST_SPREAD:g}",
        "an untrained model gives each side a probability near 1/2, and ln 2 = 0.6931",
        value=value,
        low=low,
        high=high,
        n=len(table.margin),
    )


def gradient(model: ScoreModel, store: TokenStore, loss: Loss, settings: Optim) -> ProbeResult:
    """Take `LOOK_AT` steps on a batch, and look for trained weights without a gradient; the weights are put back.

    Args:
        model: the model.
        store: token store with a batch of comparisons.
        loss: section `loss` of the configuration.
        settings: section `optim` of the configuration.
    """
    heads = [name for name, _ in model.network.named_parameters() if is_head_weight(model.network, name)]
    frozen = not any(is_head_weight(model.network, name) for name, _ in trained(model))
    lines: list[str] = []
    with _kept(model):
        flow = GradientFlow(model, LOOK_AT + 1, LOOK_AT + 1, settings)
        batch = _batch(model, store)
        optimizer = make_optimizer(model, settings)
        try:
            for _ in _fitted(model, batch, loss, optimizer, LOOK_AT - 1):
                pass
            _backward(model, batch, loss)
            optimizer.step()
            lines = [" ".join(line.split()) for line in flow.look(LOOK_AT, lambda: batch)]
            fault = ""
        except CheckpointError as error:
            fault = error.message
        still = [name for name, weight in trained(model) if weight.grad is None]
        fault = fault or (f"the head is frozen: {named(heads)}" if frozen else "")
    count = len(list(trained(model)))
    return found(
        GRADIENT,
        not fault,
        fault or "; ".join([f"{count} trained weights with the head, {len(still)} without a gradient", *lines]),
        "a gradient, or a proof that no score depends on the weight",
        "a weight without a gradient stays as drawn",
        n=count,
    )


def overfit(model: ScoreModel, store: TokenStore, settings: Optim, seconds: float = math.inf) -> ProbeResult:
    """Learn a few comparisons by heart, with the plain likelihood; the weights are put back.

    Args:
        model: the model.
        store: token store of a few comparisons, each with another prompt.
        settings: section `optim`; rate and schedule are the probe's own.
        seconds: time for the steps; a fit without a result by then is undecided.
    """
    batch, best, steps = _batch(model, store), 0.0, 0
    ending = time.monotonic() + seconds
    for factor in RATES:
        changes = {"lr": min(settings.lr * factor, HIGHEST_RATE), "head_lr": 0.0, "weight_decay": 0.0}
        with _kept(model):
            optimizer = make_optimizer(model, settings.model_copy(update=changes))
            for least in _fitted(model, batch, Loss(), optimizer, STEPS):
                best, steps = max(best, least), steps + 1
                if best > SURE or time.monotonic() > ending:
                    break
        if best > SURE or time.monotonic() > ending:
            break
    return found(
        OVERFIT,
        "undecided" if best <= SURE and time.monotonic() > ending else best > SURE,
        f"least probability {best:.4f} of {len(store)} comparisons after {steps} steps",
        f"above {SURE:g}",
        "a model with a million numbers remembers a handful of labels",
        value=best,
        n=len(store),
    )


def few(lengths: Sequence[int], most: int) -> list[int]:
    """Return the places of the `most` smallest lengths, in order of place.

    Example:
        few([9, 3, 5], 2)  # [1, 2]
    """
    return sorted(sorted(range(len(lengths)), key=lambda place: (lengths[place], place))[:most])


def _likelihood(model: ScoreModel, store: TokenStore, settings: Loss) -> float:
    """Mean of the plain likelihood, by the loss function of training."""
    (term,) = objective(Loss(beta=settings.beta)).values()
    weights = store.judgment_weights("pair")
    batches = cut_all(load_on(model, store), limit_for(model, 0), np.arange(len(store)))
    total, was_training = 0.0, model.training
    model.eval()
    try:
        with torch.no_grad():
            for numbers in batches:
                batch = collate(store, numbers, weights).to(model.device)
                total += float(term(model(batch), batch.targets).sum)
    finally:
        model.train(was_training)
    return total / float(weights.sum())


def _batch(model: ScoreModel, store: TokenStore) -> Batch:
    return collate(store, np.arange(len(store)), store.judgment_weights("pair")).to(model.device)


def _fitted(
    model: ScoreModel, batch: Batch, loss: Loss, optimizer: torch.optim.Optimizer, steps: int
) -> Iterator[float]:
    """Take steps on a batch, and yield the least probability of a label before each."""
    for _ in range(steps):
        yield _backward(model, batch, loss)
        torch.nn.utils.clip_grad_norm_([weight for _, weight in trained(model)], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _backward(model: ScoreModel, batch: Batch, loss: Loss) -> float:
    """Add the gradient of the objective, and return the least probability of a label."""
    scores, targets = model(batch), batch.targets
    sizes = {
        "judgment_weight": float(targets.weight.sum()),
        "response": float(len(scores)),
        "comparison": float(targets.group.max() + 1),
    }
    terms = [term(scores, targets) for term in objective(loss).values()]
    torch.stack([term.sum / sizes[term.unit] for term in terms]).sum().backward()  # type: ignore[no-untyped-call]
    margins = (scores[targets.better] - scores[targets.worse]).detach()[targets.probability > 0.5]
    return float(torch.sigmoid(margins).min()) if len(margins) else 0.0


@contextlib.contextmanager
def _kept(model: ScoreModel) -> Iterator[None]:
    """Put trained weights and mode of a model back at the end of a `with` block."""
    before: Mapping[str, torch.Tensor] = {name: copy.deepcopy(weight.data) for name, weight in trained(model)}
    was_training = model.training
    model.train()
    try:
        yield
    finally:
        for name, weight in trained(model):
            weight.data.copy_(before[name])
            weight.grad = None
        model.train(was_training)
