"""Check early in a run that every trained weight learns, and name each idle weight with the reason."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...common.seeds import seed_for
from ...common.text import and_more
from ...config import Optim
from ...errors import CheckpointError
from ...model.choose_engine import ROUNDING, TOLERANCE
from ...model.engine.batch import Batch
from ...model.folder.parity import in_float32
from ...model.reward import ScoreModel
from ..distributed.full_tensors import assign, bit_sum, full_tensor
from ..optim import warmup_steps

LOOK_AT = 3
"""Step at which gradients are inspected. The first step is too early: while half of an adapter is 0, the other half has
no gradient."""
NUDGE = 1.0
"""Smallest standard deviation of the noise added to a weight to find the weight's part in the scores."""
NOISE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Share of the largest gradient below which a gradient may be the rounding of 0, by compute dtype. Optimizers like Adam
follow even such a gradient."""
SHOWN = 5
"""Names in a message, at most."""


class GradientFlow:
    """Watch on the trained weights of a run: unmoved weights, and weights without gradient.

    A run of a single step is not checked. At `LOOK_AT` two kinds of weights are perturbed for a moment:
    unmoved weights without gradient, and biases whose gradient may be rounding. Scores that stay the same, or shift by
    a constant, explain the weight. Any other change is an error for a weight without gradient. A weight with gradient
    has time until the step after the warm-up, because rounding may lose the small changes of the warm-up.

    Args:
        model: the trained model.
        num_steps: steps of this run, up to `train.stop_after`.
        plan_steps: steps of the plan, for the length of the warm-up.
        settings: of the optimizer.
        known: result of `state`, for a resumed run.
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
        # Checksums instead of copies: a second set of weights would double the memory of the model.
        self.start = known["start"] if known else {name: checksum(weight) for name, weight in trained(model)}
        self.explained: set[str] = set(known["explained"]) if known else set()
        self.gradients_at = min(LOOK_AT, num_steps) if num_steps > 1 else 0
        self.moved_at = max(LOOK_AT, warmup_steps(plan_steps, settings) + 1)

    def state(self) -> dict[str, Any]:
        """Return the memory of the watch as JSON values, for a resumed run."""
        return {"start": self.start, "explained": sorted(self.explained)}

    def wait(self, step: int) -> None:
        """Postpone a check due at a skipped step to the next step."""
        self.gradients_at += step == self.gradients_at
        self.moved_at += step == self.moved_at

    def look(self, step: int, batch: Callable[[], Batch]) -> Iterator[str]:
        """Yield a line for each reason why weights do not learn, at the steps due for a check.

        Call after the optimizer's step and before gradients are cleared.

        Args:
            step: number of the finished step.
            batch: returns a micro-batch of the step, the same in every process.

        Raises:
            CheckpointError: a weight gets no gradient although scores depend on the weight.
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
            # A loss flat at large margins gives no gradient to any weight, and says nothing about a single weight.
            return
        still = self._still()
        part: dict[str, list[str]] = {"none": [], "constant": [], "other": [], "cut off": []}
        for name, weight in trained(self.model):
            # Matrices with a small gradient are left alone: only a bias can add a constant to all scores. A
            # perturbation costs two forward passes.
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
    """Return names, as in the network, and values of all trained weights."""
    return ((name, weight) for name, weight in model.network.named_parameters() if weight.requires_grad)


def gradient_size(weight: nn.Parameter) -> float:
    """Return the root mean square of a weight's gradient; 0 without gradient."""
    return 0.0 if weight.grad is None else float(full_tensor(weight.grad).square().mean().sqrt())


def checksum(weight: Tensor) -> int:
    """Return the sum of a full weight's bit patterns; all processes holding shards must call together."""
    return int(bit_sum(full_tensor(weight)))


def part_in_scores(model: ScoreModel, batch: Batch, weight: nn.Parameter) -> str:
    """Classify the scores' dependence on a weight, by adding noise to the weight for a moment.

    Returns:
        `none`: no score changes; `constant`: all scores change alike; `other`.
    """
    # A generator of its own leaves the global random state alone, hence the run's dropout stays the same.
    source = torch.Generator().manual_seed(seed_for(0, "movement"))
    original = full_tensor(weight).detach().clone()
    size = max(NUDGE, float(original.square().mean().sqrt()))
    # Noise is drawn on the CPU and added to the full weight: all processes must perturb by the same numbers.
    before = _scores(model, batch)
    assign(weight, original + torch.randn(original.shape, generator=source).to(original) * size)
    after = _scores(model, batch)
    assign(weight, original)
    change = after - before
    largest = float(change.abs().max())
    # Scores come from float32 sums. Equal mathematics still differ by this share of the largest score.
    rounding = ROUNDING[torch.float32] * float(torch.stack([before, after]).abs().max())
    if largest <= rounding:
        return "none"
    spread = float(change.max() - change.min())
    return "constant" if spread <= rounding + TOLERANCE[torch.float32] * largest else "other"


def _scores(model: ScoreModel, batch: Batch) -> Tensor:
    """Return scores [R] as in evaluation, but in float32, on the engine for any dtype."""
    was_training = model.training
    try:
        # bfloat16 rounds away small changes of a score, and would report a used weight as unused.
        with torch.no_grad(), in_float32(model.eval()):
            model.use("plain")
            scores: Tensor = model(batch)
    finally:
        model.train(was_training)
    return scores


def named(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the remaining names."""
    return and_more(names, SHOWN)
