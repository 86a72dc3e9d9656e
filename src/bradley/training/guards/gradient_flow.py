"""Whether what is trained moves: every trained weight is looked at early in a run, and what stays is named with the
reason."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...common.seeds import seed_for
from ...config import Optim
from ...errors import CheckpointError
from ...model.choose_engine import ROUNDING, TOLERANCE
from ...model.engine.batch import Batch
from ...model.folder.parity import in_float32
from ...model.reward import ScoreModel
from ..distributed.full_tensors import assign, bit_sum, full_tensor
from ..optim import warmup_steps

LOOK_AT = 3
"""The step at which gradients are looked at. The first is too early: while one half of an adapter is 0, the other has
none."""
NUDGE = 1.0
"""Smallest size of the change by which a weight's part in the scores is found."""
NOISE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""A gradient of this share of the largest may be the rounding of one that is 0; optimizers like Adam follow it all the
same."""
SHOWN = 5


class GradientFlow:
    """Which trained weights have moved since the start of a run.

    Nothing is claimed of a run of one step. At `LOOK_AT` a weight that has stayed and has no gradient, or a bias with
    one that may be rounding, is changed for a moment to see what scores owe to it: nothing, or a constant added to all
    of them, explains it; more is an error where there is no gradient at all. One with a gradient has time until the
    step after the warm-up, whose small rates may be lost to rounding.

    Args:
        known: of a run that goes on, what `state` gave.
    """

    def __init__(
        self,
        model: ScoreModel,
        num_steps: int,
        plan_steps: int,
        settings: Optim,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.start = known["start"] if known else {name: checksum(weight) for name, weight in trained(model)}
        self.explained: set[str] = set(known["explained"]) if known else set()
        self.gradients_at = min(LOOK_AT, num_steps) if num_steps > 1 else 0
        self.moved_at = max(LOOK_AT, warmup_steps(plan_steps, settings) + 1)

    def state(self) -> dict[str, Any]:
        """What a run needs to go on, as values of JSON."""
        return {"start": self.start, "explained": sorted(self.explained)}

    def wait(self, step: int) -> None:
        """The optimizer has passed over a step: what was to be looked at there is looked at after the next."""
        self.gradients_at += step == self.gradients_at
        self.moved_at += step == self.moved_at

    def look(self, step: int, batch: Callable[[], Batch]) -> Iterator[str]:
        """One line for each reason why weights do not learn, when it is time: after the optimizer's step and before
        gradients are cleared.

        Args:
            batch: makes some micro-batch of the step, the same in every process.

        Raises:
            CheckpointError: a weight that scores depend on gets no gradient.
        """
        if step == self.gradients_at:
            yield from self._without_gradient(batch())
        if step == self.moved_at:
            yield from self._lost(step)

    def _still(self) -> dict[str, nn.Parameter]:
        return {
            name: weight
            for name, weight in trained(self.model)
            if name not in self.explained and checksum(weight) == self.start[name]
        }

    def _without_gradient(self, batch: Batch) -> Iterator[str]:
        sizes = {name: gradient_size(weight) for name, weight in trained(self.model)}
        noise = NOISE[self.model.compute] * max(sizes.values(), default=0.0)
        if noise == 0:
            return  # margins so large that the loss is flat say nothing of any one weight
        still = self._still()
        part: dict[str, list[str]] = {"none": [], "constant": [], "other": [], "cut off": []}
        for name, weight in trained(self.model):
            cut_off = sizes[name] == 0 and name in still
            if cut_off or (weight.ndim < 2 and sizes[name] <= noise):
                found = part_in_scores(self.model, batch, weight)
                part["cut off" if cut_off and found == "other" else found].append(name)
        if part["cut off"]:
            raise CheckpointError(
                f"no gradient reaches {named(part['cut off'])}, though scores depend on it: its code cuts it off",
                "train other weights: model.trainable, or other model.adapter.targets",
            )
        self.explained.update(part["constant"], part["none"])
        if part["constant"]:
            names = named(part["constant"])
            yield f"untrained    {names}: adds the same to every score, which no comparison can train"
        if part["none"]:
            yield f"untrained    {named(part['none'])}: no gradient, and no score of this batch depends on it"

    def _lost(self, step: int) -> Iterator[str]:
        if still := self._still():
            yield (
                f"unmoved      {named(list(still))} after {step} steps, the warm-up among them: raise optim.lr if its "
                "changes are lost to rounding"
            )


def trained(model: ScoreModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Names, as the network has them, and values of all weights that are trained."""
    return ((name, weight) for name, weight in model.network.named_parameters() if weight.requires_grad)


def gradient_size(weight: nn.Parameter) -> float:
    """The root mean square of a weight's gradient."""
    return 0.0 if weight.grad is None else float(full_tensor(weight.grad).square().mean().sqrt())


def checksum(weight: Tensor) -> int:
    """The sum of a whole weight's bit patterns; all processes that share it have to ask."""
    return int(bit_sum(full_tensor(weight)))


def part_in_scores(model: ScoreModel, batch: Batch, weight: nn.Parameter) -> str:
    """What scores owe to a weight, seen by adding noise to it for a moment.

    Returns:
        `none`: no score changes; `constant`: all change alike; `other`.
    """
    source = torch.Generator().manual_seed(seed_for(0, "movement"))
    kept = full_tensor(weight).detach().clone()
    size = max(NUDGE, float(kept.square().mean().sqrt()))
    before = _scores(model, batch)
    assign(weight, kept + torch.randn(kept.shape, generator=source).to(kept) * size)
    after = _scores(model, batch)
    assign(weight, kept)
    change = after - before
    largest = float(change.abs().max())
    rounding = ROUNDING[torch.float32] * float(torch.stack([before, after]).abs().max())
    if largest <= rounding:
        return "none"
    apart = float(change.max() - change.min())
    return "constant" if apart <= rounding + TOLERANCE[torch.float32] * largest else "other"


def _scores(model: ScoreModel, batch: Batch) -> Tensor:
    """Scores [R] as in evaluation, but in float32, on the engine that computes in any dtype."""
    was_training = model.training
    try:
        with torch.no_grad(), in_float32(model.eval()):
            model.use("plain")
            scores: Tensor = model(batch)
    finally:
        model.train(was_training)
    return scores


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
