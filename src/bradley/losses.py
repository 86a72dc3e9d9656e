"""Losses as pure functions: scores and what was judged of them in, sums out.

Legend: R responses, J judgments. A loss returns a `Term`: a sum, and the unit it must be divided by. The division uses
the total of a whole optimizer step over all its micro-batches, so no cut into micro-batches can change the gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

Unit = Literal["judgment_weight", "response", "comparison"]


@dataclass(frozen=True)
class Targets:
    """What was judged of R responses.

    Attributes:
        better, worse: [J] int64 indices of responses.
        probability: [J] float32, that `better` is preferred, 0.5..1.
        margin: [J] float32, how much better; NaN where the source gives none.
        weight: [J] float32.
        group: [R] int64, comparison of each response.
        rank: [R] float32, place in a full ranking; NaN where there is none.
    """

    better: Tensor
    worse: Tensor
    probability: Tensor
    margin: Tensor
    weight: Tensor
    group: Tensor
    rank: Tensor

    def to(self, device: torch.device | str) -> "Targets":
        """The same targets on another device."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Targets(**moved)


class Term(NamedTuple):
    """One part of an objective.

    Attributes:
        sum: scalar tensor with gradient.
        unit: the total of the step that the sum is divided by.
        metrics: named scalar sums without gradient, divided likewise when they are logged.
    """

    sum: Tensor
    unit: Unit
    metrics: dict[str, Tensor]


Loss = Callable[[Tensor, Targets], Term]


def bradley_terry(scores: Tensor, targets: Targets, *, beta: float = 1.0) -> Term:
    """The Bradley-Terry negative log-likelihood (Bradley and Terry, 1952), summed over judgments.

        z = beta * (score[better] - score[worse])
        sum of weight * (p * softplus(-z) + (1 - p) * softplus(z))

    which for p = 1 is -log sigmoid(z), and for a tie (p = 0.5) is smallest at z = 0.

    Args:
        scores: [R] float32.
        targets: J judgments of them.
        beta: scale of the difference.

    Returns:
        A term in units of judgment weight.
    """
    z = beta * (scores[targets.better] - scores[targets.worse])
    p = targets.probability
    nll = p * softplus(-z) + (1 - p) * softplus(z)
    return Term((targets.weight * nll).sum(), "judgment_weight", {})


LOSSES: dict[str, Callable[..., Term]] = {"bradley_terry": bradley_terry}
"""Every loss by its name in the `loss` section of a configuration."""
