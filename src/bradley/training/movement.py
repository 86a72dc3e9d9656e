"""Whether what is trained moves: every trained weight is looked at early in a run, and what stays is named with the
reason."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..config import Optim
from ..errors import CheckpointError
from ..model.batch import Batch
from ..model.engine import ROUNDING, TOLERANCE
from ..model.reward import RewardModel
from ..seeds import seed_for
from .optim import warmup_steps

LOOK_AT = 3
"""The step at which gradients are looked at. The first is too early: while one half of an adapter is 0, the other has
none."""
NUDGE = 0.1
"""Smallest size of the change by which a weight's part in the scores is found."""
SHOWN = 5


class Movement:
    """Which trained weights have moved since the start of a run.

    Nothing is claimed of a run of one step. A weight that has stayed until `LOOK_AT` and has no gradient is changed for
    a moment, to see what scores owe to it: nothing, or a constant added to all of them, explains it, and more is an
    error. One with a gradient has time until the step after the warm-up, whose small rates may be lost to rounding.
    """

    def __init__(self, model: RewardModel, num_steps: int, plan_steps: int, settings: Optim) -> None:
        self.model = model
        self.start = {name: checksum(weight) for name, weight in trained(model)}
        self.gradients_at = min(LOOK_AT, num_steps) if num_steps > 1 else 0
        self.moved_at = max(LOOK_AT, warmup_steps(plan_steps, settings) + 1)
        self.explained: set[str] = set()

    def look(self, step: int, batch: Batch) -> Iterator[str]:
        """One line for each reason why weights stay, when it is time; to be read after the optimizer's step, before
        gradients are cleared.

        Raises:
            CheckpointError: a weight that scores depend on gets no gradient.
        """
        if step == self.gradients_at:
            yield from self._without_gradient(batch)
        if step == self.moved_at:
            yield from self._lost(step)

    def _still(self) -> dict[str, nn.Parameter]:
        return {
            name: weight
            for name, weight in trained(self.model)
            if name not in self.explained and checksum(weight) == self.start[name]
        }

    def _without_gradient(self, batch: Batch) -> Iterator[str]:
        if not any(has_gradient(weight) for _, weight in trained(self.model)):
            return  # margins so large that the loss is flat say nothing of any one weight
        part: dict[str, list[str]] = {"none": [], "constant": [], "other": []}
        for name, weight in self._still().items():
            if not has_gradient(weight):
                part[part_in_scores(self.model, batch, weight)].append(name)
        if part["other"]:
            raise CheckpointError(
                f"no gradient reaches {named(part['other'])}, though scores depend on it: the model's code cuts it off",
                "train other weights: model.trainable, or other model.adapter.targets",
            )
        self.explained.update(part["constant"], part["none"])
        if part["constant"]:
            yield f"unmoved      {named(part['constant'])}: adds the same to every score, so no comparison can train it"
        if part["none"]:
            yield f"unmoved      {named(part['none'])}: no gradient, and no score of this batch depends on it"

    def _lost(self, step: int) -> Iterator[str]:
        if still := self._still():
            yield (
                f"unmoved      {named(list(still))} after {step} steps, the warm-up among them: raise optim.lr if its "
                "changes are lost to rounding"
            )


def trained(model: RewardModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Names, as the network has them, and values of all weights that are trained."""
    return ((name, weight) for name, weight in model.network.named_parameters() if weight.requires_grad)


def has_gradient(weight: nn.Parameter) -> bool:
    """Whether any number of a weight's gradient is not 0."""
    return weight.grad is not None and bool(weight.grad.any())


def checksum(weight: Tensor) -> int:
    """The sum of a weight's bit patterns: a change of any number in it changes this, but for a coincidence."""
    whole = torch.int32 if weight.element_size() == 4 else torch.int16
    return int(weight.detach().contiguous().view(whole).sum(dtype=torch.int64))


def part_in_scores(model: RewardModel, batch: Batch, weight: nn.Parameter) -> str:
    """What scores owe to a weight, seen by adding noise to it for a moment.

    Returns:
        `none`: no score changes; `constant`: all change alike; `other`.
    """
    source = torch.Generator().manual_seed(seed_for(0, "movement"))
    kept = weight.detach().clone()
    size = max(NUDGE, float(kept.square().mean().sqrt()))
    before = _scores(model, batch)
    with torch.no_grad():
        weight.add_(torch.randn(kept.shape, generator=source).to(kept) * size)
        after = _scores(model, batch)
        weight.copy_(kept)
    change = after - before
    rounding = ROUNDING[model.compute] * float(torch.stack([before, after]).abs().max())
    if float(change.abs().max()) <= rounding:
        return "none"
    allowed = rounding + TOLERANCE[model.compute] * float(change.abs().max())
    return "constant" if float(change.max() - change.min()) <= allowed else "other"


def _scores(model: RewardModel, batch: Batch) -> Tensor:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        scores: Tensor = model(batch)
    model.train(was_training)
    return scores


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
