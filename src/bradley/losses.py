"""Losses as pure functions: scores and judgments in, sums out.

Legend: R responses, J judgments, G comparisons. A loss returns a `Term`: a sum, and the unit of the divisor. The
divisor is the total of a whole optimizer step over all micro-batches, so no division into micro-batches can change the
gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

Unit = Literal["judgment_weight", "response", "comparison"]


@dataclass(frozen=True)
class Targets:
    """Judgments on R responses, as tensors.

    Attributes:
        better, worse: [J] int64 indices of responses.
        probability: [J] float32 probability that `better` is preferred, 0.5..1.
        margin: [J] float32 strength of the preference, in units of the source; NaN without a margin.
        weight: [J] float32 weight of the judgment.
        group: [R] int64 comparison of each response.
        rank: [R] float32 place in a full ranking, 0 for the best; NaN without a ranking.
    """

    better: Tensor
    worse: Tensor
    probability: Tensor
    margin: Tensor
    weight: Tensor
    group: Tensor
    rank: Tensor

    def to(self, device: torch.device | str) -> "Targets":
        """Copy the targets to a device."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Targets(**moved)


class Term(NamedTuple):
    """Part of an objective.

    Attributes:
        sum: scalar tensor with gradient.
        unit: kind of step total used as the divisor of the sum.
        metrics: named scalar sums without gradient, divided by the same total when logged.
    """

    sum: Tensor
    unit: Unit
    metrics: dict[str, Tensor]


Loss = Callable[[Tensor, Targets], Term]


def bradley_terry(
    scores: Tensor, targets: Targets, *, beta: float = 1.0, label_smoothing: float = 0.0, margin_scale: float = 0.0
) -> Term:
    """Bradley-Terry negative log-likelihood (Bradley and Terry, 1952), summed over judgments.

        z = beta * (score[better] - score[worse]) - margin_scale * margin
        q = p * (1 - label_smoothing) + (1 - p) * label_smoothing
        sum of weight * (q * softplus(-z) + (1 - q) * softplus(z))

    For q = 1 the cost is -log sigmoid(z); for a tie (p = 0.5) the cost is smallest at equal scores. The margin follows
    Llama 2 (arXiv:2307.09288). A missing margin counts as 0, and so does the margin of a tie, because a tie has no
    better side.

    Args:
        scores: [R] float32.
        targets: J judgments on the R responses.
        beta: scale of the score difference.
        label_smoothing: share s of labels taken to be wrong, as in conservative DPO (Mitchell, 2023). Trainers mixing
            labels with 1/2, q = p * (1 - s) + s / 2, reach the same q with twice the s.
        margin_scale: required difference per unit of margin, after `beta`.

    Returns:
        A term in units of judgment weight.
    """
    z = beta * _differences(scores, targets)
    # An unused margin must not matter: 0 times an infinite margin would be NaN.
    if margin_scale:
        z = z - margin_scale * targets.margin.masked_fill(targets.margin.isnan() | _tied(targets), 0.0)
    nll = _mixed(softplus(-z), softplus(z), targets.probability, label_smoothing)
    return Term((targets.weight * nll).sum(), "judgment_weight", {})


def plackett_luce(scores: Tensor, targets: Targets, *, beta: float = 1.0) -> Term:
    """Plackett-Luce negative log-likelihood of full rankings (Luce, 1959; Plackett, 1975), summed over comparisons.

    A ranking is a sequence of choices, each among a response and all responses ranked below:

        sum over responses i of log(exp(beta s_i) + sum over j with rank_j > rank_i of exp(beta s_j)) - beta s_i

    times the sum of the comparison's judgment weights. Responses in equal places are no alternatives to each other: the
    choice of a tied response is among the response and the lower places, so the loss says nothing about the difference
    of tied responses. For two responses in different places the loss is Bradley-Terry. A comparison without a ranking
    (NaN) counts through the judgments, by Bradley-Terry.

    Args:
        scores: [R] float32.
        targets: judgments and ranks of the R responses; a comparison has a rank for every response or for none.
        beta: scale of the scores.

    Returns:
        A term in units of judgment weight.
    """
    compared, ranked = targets.group[targets.better], ~targets.rank.isnan()
    # Total weight of each comparison: G <= R, so R entries suffice, and nothing has to count the comparisons first.
    weight = torch.zeros_like(scores).index_put((compared,), targets.weight.to(scores), accumulate=True)
    choices = (weight[targets.group] * _choices(beta * scores, targets.group, targets.rank.nan_to_num())).sum()
    # A ranked comparison already counts in full through the ranking: weight 0 keeps the judgments from counting twice.
    unranked = replace(targets, weight=targets.weight.masked_fill(ranked[targets.better], 0.0))
    return Term(choices + bradley_terry(scores, unranked, beta=beta).sum, "judgment_weight", {})


def rao_kupper(
    scores: Tensor, targets: Targets, *, tie_strength: float, beta: float = 1.0, label_smoothing: float = 0.0
) -> Term:
    """Negative log-likelihood of wins and ties after Rao and Kupper (1967), summed over judgments.

    A difference z below the threshold eta is likely to be judged a tie, with z = beta * (score[better] - score[worse])
    and eta = log(theta) = `tie_strength`:

        P(win)  = sigmoid(z - eta)
        P(loss) = sigmoid(-z - eta)
        P(tie)  = 1 - P(win) - P(loss) = (exp(2 eta) - 1) * P(win) * P(loss)

    A judgment of probability 0.5 is a tie; any other judgment counts as q wins and 1 - q losses, q as in
    `bradley_terry`.

    Args:
        scores: [R] float32.
        targets: J judgments on the R responses.
        tie_strength: eta > 0.
        beta: scale of the score difference.
        label_smoothing: share of labels taken to be wrong; a tie stays a tie.

    Returns:
        A term in units of judgment weight.
    """
    z = beta * _differences(scores, targets)
    win, loss = softplus(tie_strength - z), softplus(tie_strength + z)
    # Equal to log(exp(2 eta) - 1), whose exponential would overflow for a large eta.
    log_factor = 2 * tie_strength + math.log(-math.expm1(-2 * tie_strength))
    nll = _mixed(win, loss, targets.probability, label_smoothing)
    nll = torch.where(_tied(targets), win + loss - log_factor, nll)
    return Term((targets.weight * nll).sum(), "judgment_weight", {})


def davidson(
    scores: Tensor, targets: Targets, *, tie_strength: float, beta: float = 1.0, label_smoothing: float = 0.0
) -> Term:
    """Negative log-likelihood of wins and ties after Davidson (1970), summed over judgments.

    The probability of a tie is nu = `tie_strength` times the geometric mean of the probabilities of win and loss. With
    z = beta * (score[better] - score[worse]):

        P(win) : P(tie) : P(loss) = exp(z / 2) : nu : exp(-z / 2)

    A judgment of probability 0.5 is a tie; any other judgment counts as q wins and 1 - q losses, q as in
    `bradley_terry`.

    Args:
        scores: [R] float32.
        targets: J judgments on the R responses.
        tie_strength: nu > 0; at equal scores a tie has probability nu / (nu + 2).
        beta: scale of the score difference.
        label_smoothing: share of labels taken to be wrong; a tie stays a tie.

    Returns:
        A term in units of judgment weight.
    """
    half = beta * _differences(scores, targets) / 2
    tie = torch.full_like(half, math.log(tie_strength))
    # Normalising in log space stays finite for score differences whose exponential would overflow float32.
    total = torch.stack([half, tie, -half]).logsumexp(0)
    nll = _mixed(total - half, total + half, targets.probability, label_smoothing)
    nll = torch.where(_tied(targets), total - tie, nll)
    return Term((targets.weight * nll).sum(), "judgment_weight", {})


def margin_penalty(scores: Tensor, targets: Targets, *, kind: Literal["l1", "l2"] = "l2") -> Term:
    """Penalise score differences: sum over judgments of weight * d^2 (`l2`) or weight * |d| (`l1`).

    d = score[better] - score[worse] is not scaled by beta. [R] scores in, a term in units of judgment weight out.
    """
    d = _differences(scores, targets)
    return Term((targets.weight * (d.abs() if kind == "l1" else d.square())).sum(), "judgment_weight", {})


def score_penalty(scores: Tensor, targets: Targets) -> Term:
    """Penalise large scores: squared scores, summed over responses. [R] scores in, a term in units of responses out."""
    return Term(scores.square().sum(), "response", {})


def centering(scores: Tensor, targets: Targets) -> Term:
    """Pull scores towards 0 and leave differences free (Eisenstein et al., 2023, arXiv:2312.09244).

        sum over judgments of weight * (score[better] + score[worse])^2

    [R] scores in, a term in units of judgment weight out.
    """
    both = scores[targets.better] + scores[targets.worse]
    return Term((targets.weight * both.square()).sum(), "judgment_weight", {})


def _differences(scores: Tensor, targets: Targets) -> Tensor:
    """[J] score of the better response minus score of the worse response."""
    return scores[targets.better] - scores[targets.worse]


def _tied(targets: Targets) -> Tensor:
    """[J] bool, True for a judgment preferring neither response."""
    return targets.probability == 0.5


def _mixed(win: Tensor, loss: Tensor, probability: Tensor, smoothing: float) -> Tensor:
    """[J] expected cost of a label claiming a win with `probability`, a share `smoothing` of labels being wrong."""
    q = probability * (1 - smoothing) + (1 - probability) * smoothing
    return q * win + (1 - q) * loss


def _choices(utility: Tensor, group: Tensor, rank: Tensor) -> Tensor:
    """[R] cost of choosing each response among the response and the lower-ranked responses of the same comparison.

    The cost is 0 for the lowest place. With each comparison laid out from the worst place up, the alternatives of a
    response are the beginning of the comparison's row. A single scan along the rows therefore holds the log-sum-exp of
    every choice.

    Args:
        utility: [R] scaled scores.
        group: [R] comparison of each response.
        rank: [R] place in the ranking, 0 for the best.
    """
    # Two stable sorts order by comparison first and by place second, and keep the result independent of sort internals.
    order = rank.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    group, rank, utility = group[order], rank[order], utility[order]
    number = torch.arange(len(group), device=group.device)
    sizes = group.bincount()
    start = (sizes.cumsum(0) - sizes)[group]
    # Only differences count, and small numbers round less in the scan.
    utility = utility - utility.detach()[start]
    # Rows are padded at the end, beyond every real response, so the running sums of real responses never see padding.
    table = utility.new_zeros(len(sizes), max(sizes.tolist(), default=0))
    scan = table.index_put((group, number - start), utility).logcumsumexp(1)
    # Tied responses share the alternatives of the first of the tie: the scan up to that place excludes the tie.
    opens = (group.diff(prepend=group.new_full((1,), -1)) != 0) | (rank.diff(prepend=rank.new_full((1,), -1)) != 0)
    below = number.where(opens, 0).cummax(0).values - start
    # log(exp(a) + exp(u)) - u = softplus(a - u) needs no exponential of a large number. Lowest places have no
    # alternative: the clamp makes the index valid, and the mask below removes the value and the gradient.
    cost = softplus(scan[group, (below - 1).clamp(min=0)] - utility)
    return cost.where(below > 0, 0.0)[order.argsort()]


LOSSES: dict[str, Callable[..., Term]] = {
    "bradley_terry": bradley_terry,
    "plackett_luce": plackett_luce,
    "rao_kupper": rao_kupper,
    "davidson": davidson,
    "margin_penalty": margin_penalty,
    "score_penalty": score_penalty,
    "centering": centering,
}
"""Losses by name in the `loss` section of a configuration."""
