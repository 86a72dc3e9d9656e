"""Training job: all objects used by the training loop, made by `build.py`."""

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
    """All objects used by the training loop and by a save.

    Attributes:
        config: settings of the run.
        folder: the run folder.
        model, renderer, optimizer: the trained model with renderer and optimizer.
        losses: terms of the objective by name; the objective is the sum, and each term includes the weight.
        store: token store of the training comparisons.
        weights: [J] effective weights of the judgments in `store`.
        plan: the comparisons in every step.
        evaluator: evaluates, selects the best step and decides early stopping.
        checkpoints: folder of checkpoints.
        console: for lines about the training.
        strategy: processes training the model.
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
        """Collate the last micro-batch of a step, run by this process or another."""
        return collate(self.store, step.micro_batches[-1], self.weights).to(self.model.device)
