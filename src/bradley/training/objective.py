"""Build the objective of a run from settings, check the options against the data, and find bounds on margins."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ..common.plugins import load_function
from ..config import BOUNDING
from ..config import Loss as Settings
from ..data.plan import Totals
from ..data.token_store import TokenStore
from ..errors import UserError
from ..losses import LOSSES, Loss, Targets, Term, Unit


def objective(settings: Settings) -> dict[str, Loss]:
    """Return the terms of the objective, the likelihood first, weights applied; the loss is their sum.

    Args:
        settings: section `loss` of the configuration.

    Returns:
        Loss functions by name, or by import path for user terms.

    Raises:
        UserError: a user term cannot be imported.
    """
    name, options = _likelihood(settings)
    terms: dict[str, Loss] = {name: functools.partial(LOSSES[name], **options)}
    for name, weight, options in _penalties(settings):
        terms[name] = _weighted(weight, functools.partial(LOSSES[name], **options))
    for path, weight in settings.extra.items():
        terms[path] = _weighted(weight, _checked(path))
    return terms


def share_of_step(terms: Iterable[Term], totals: Totals) -> Tensor:
    """Return a micro-batch's share of the step's loss: the sum over terms of sum / (total of the term's unit).

    Args:
        terms: of the micro-batch.
        totals: of the whole step, over all processes.
    """
    # Divisors of the whole step make gradients of micro-batches add up to the step's gradient, however the step is cut.
    return torch.stack([term.sum / getattr(totals, term.unit) for term in terms]).sum()


def check_objective(settings: Settings, store: TokenStore) -> None:
    """Check the options of the objective against the training data before the run.

    Raises:
        UserError: an option cannot act on the training data, or a user term cannot be imported.
    """
    objective(settings)
    tied = store.probability == 0.5
    if settings.margin_scale and not np.nan_to_num(store.margin[~tied]).any():
        raise UserError(
            f"loss.margin_scale = {settings.margin_scale:g}, but no training judgment has a margin other than 0",
            "leave loss.margin_scale out, or use data with margins",
        )
    if settings.objective == "plackett_luce" and np.isnan(store.rank).all():
        raise UserError(
            "loss.objective = plackett_luce, but no training comparison has a ranking",
            "use --loss.objective bradley_terry, or data with a rank for every response",
        )
    if settings.ties != "half" and not tied.any():
        raise UserError(
            f"loss.ties = {settings.ties}, but no training judgment is a tie",
            "leave loss.ties out, or keep the ties of the data",
        )


def describe_objective(settings: Settings, store: TokenStore) -> list[str]:
    """Return the objective in words: terms with weights, unread parts of the data, and bounds on margins."""
    name, options = _likelihood(settings)
    terms = [" ".join([name, *(f"{key} {value:g}" for key, value in options.items() if value)])]
    terms += [" ".join([f"{weight:g}", name, *options.values()]) for name, weight, options in _penalties(settings)]
    terms += [f"{weight:g} {path}" for path, weight in settings.extra.items()]
    return [" + ".join(terms), *_unread(settings, store), *bounds(settings)]


def bounds(settings: Settings) -> list[str]:
    """Return a sentence for each option that bounds the optimal margin, with the margin at the optimum.

    The optimum is computed for a pair with a certain label and no margin, if likelihood and option were the whole
    objective. For `ties = "half"` closed forms exist. Label smoothing s gives log((1 - s) / s) / beta. An `l1` margin
    penalty of weight w gives log(beta / w - 1) / beta. With several options, the optimum is below each of the values.
    """
    # Each option is judged without the other options: bounds of several options have no simple form.
    off = {**dict.fromkeys(BOUNDING, 0.0), "extra": {}}
    return [
        f"loss.{name} = {weight:g} bounds margins: that of a certain pair is best at "
        f"{best_margin(settings.model_copy(update={**off, name: weight})):.4g}"
        for name in BOUNDING
        if (weight := getattr(settings, name))
    ]


def best_margin(settings: Settings) -> float:
    """Return the score difference at the minimum of the objective, for a pair with a certain label and no margin.

    The slope of the objective rises with the difference, hence bisection finds the minimum. Some option of `BOUNDING`
    must be on; otherwise the slope is nowhere above 0, and no minimum exists.
    """
    low, high = 0.0, 1.0
    while _slope(high, settings) < 0:
        high *= 2
    # Sixty halvings exhaust the 53 bits of a float64.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(middle, settings) < 0 else (low, middle)
    return low


def _likelihood(settings: Settings) -> tuple[str, dict[str, float]]:
    options = {"beta": settings.beta}
    if settings.objective == "plackett_luce":
        return "plackett_luce", options
    options["label_smoothing"] = settings.label_smoothing
    if settings.ties == "half":
        return "bradley_terry", {**options, "margin_scale": settings.margin_scale}
    return settings.ties, {**options, "tie_strength": settings.tie_strength}


def _penalties(settings: Settings) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yield (name, weight, options) of each active penalty."""
    if settings.margin_penalty:
        yield "margin_penalty", settings.margin_penalty, {"kind": settings.margin_penalty_kind}
    if settings.score_penalty:
        yield "score_penalty", settings.score_penalty, {}
    if settings.centering:
        yield "centering", settings.centering, {}


def _weighted(weight: float, loss: Loss) -> Loss:
    def weighted(scores: Tensor, targets: Targets) -> Term:
        term = loss(scores, targets)
        return term._replace(sum=weight * term.sum)

    return weighted


def _checked(path: str) -> Loss:
    """Return a user term that raises `UserError` for a result unfit for the loop's sum."""
    function = load_function(path, "loss.extra")

    def checked(scores: Tensor, targets: Targets) -> Term:
        # A change in place would alter the scores for the terms after this term, and corrupt their gradients.
        version = scores._version
        term = function(scores, targets)
        if scores._version != version:
            raise UserError(
                f"loss.extra: {path} changed the scores in place", "compute with copies: scores + 1, not +="
            )
        if problem := _problem(term):
            raise UserError(
                f"loss.extra: {path} returned {problem}",
                'for a mean over judgments: return Term(a_sum_of_tensors, "judgment_weight", {})',
            )
        return term  # type: ignore[no-any-return]

    return checked


def _problem(term: Any) -> str:
    """Describe the fault in a user term's result, or return ''."""
    if not isinstance(term, Term):
        return f"a {type(term).__name__}, wanted a bradley.losses.Term"
    if term.unit not in get_args(Unit):
        return f"the unit {term.unit!r}, wanted one of {', '.join(get_args(Unit))}"
    if not isinstance(term.sum, Tensor):
        return f"a sum of type {type(term.sum).__name__}, wanted a scalar tensor"
    if term.sum.ndim:
        return f"a sum of shape {tuple(term.sum.shape)}, wanted a scalar tensor"
    # A term without gradient, for example after `.item()`, would be logged but never train anything.
    if not term.sum.requires_grad:
        return "a sum without a gradient, wanted one that depends on the scores"
    if not isinstance(term.metrics, dict) or any(not isinstance(name, str) or "/" in name for name in term.metrics):
        return "metrics that are no dict of names without a slash"
    if any(not isinstance(value, Tensor) or value.ndim for value in term.metrics.values()):
        return "metrics that are not all scalar tensors"
    return ""


def _unread(settings: Settings, store: TokenStore) -> Iterator[str]:
    """Yield a line, with counts, for training data passed over by an option."""
    tied = store.probability == 0.5
    if settings.margin_scale and (without := int((tied | np.isnan(store.margin)).sum())):
        yield f"{without} of {len(tied)} training judgments are ties or have no margin, and count as margin 0"
    if settings.objective == "plackett_luce":
        ranked = ~np.isnan(store.rank[store.first_response[:-1]])
        if unranked := int((~ranked).sum()):
            yield f"{unranked} of {len(ranked)} training comparisons have no ranking and count by their judgments"
        unsure = np.repeat(ranked, np.diff(store.first_judgment)) & (store.probability < 1)
        if count := int(unsure.sum()):
            yield f"{count} of {len(tied)} training judgments are ties or uncertain, where a ranking counts instead"


def _slope(margin: float, settings: Settings) -> float:
    """Return the derivative of a pair's objective by the margin, at scores of plus and minus half the margin."""
    one, none = torch.ones(1, dtype=torch.float64), torch.full((2,), torch.nan, dtype=torch.float64)
    first, second = torch.tensor([0]), torch.tensor([1])
    pair = Targets(first, second, one, none[:1], one, torch.zeros(2, dtype=torch.long), none)
    totals = Totals(judgment_weight=1.0, response=2.0, comparison=1.0)
    # Scores symmetric around 0 are the optimum for penalties on the level of scores, such as centering.
    scores = torch.tensor([margin / 2, -margin / 2], dtype=torch.float64, requires_grad=True)
    terms = [term(scores, pair) for term in objective(settings).values()]
    loss = torch.stack([term.sum / getattr(totals, term.unit) for term in terms]).sum()
    (gradient,) = torch.autograd.grad(loss, scores)
    return float(gradient[0] - gradient[1]) / 2
