"""A training job: what `build.py` makes, and the loop runs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..common.console import Console
from ..config import Config
from ..data.plan import Plan, Step
from ..data.render import Renderer
from ..data.token_store import TokenStore
from ..losses import Loss
from ..model.engine.batch import Batch, collate
from ..model.reward import ScoreModel
from .checkpoints.store import Checkpoints
from .distributed.strategy import Strategy
from .evaluation import Evaluator
from .metrics import Event


@dataclass
class Job:
    """Everything a training run needs, built by `build.py`.

    Attributes:
        team: the processes that train the model.
        losses: the objective, a sum of these, each with its weight in it.
        store: the training comparisons; `weights` [J] are their effective judgment weights.
        lengths: token figures of every split, as fields of the first event.
    """

    config: Config
    folder: Path
    model: ScoreModel
    renderer: Renderer
    optimizer: torch.optim.Optimizer
    losses: dict[str, Loss]
    store: TokenStore
    weights: np.ndarray
    plan: Plan
    evaluator: Evaluator
    checkpoints: Checkpoints
    console: Console
    strategy: Strategy
    lengths: Event = field(default_factory=dict)

    def last_batch(self, step: Step) -> Batch:
        """The last micro-batch of a step, whichever process has run it."""
        return collate(self.store, step.micro_batches[-1], self.weights).to(self.model.device)
