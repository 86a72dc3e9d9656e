"""Short run of a configuration on a share of its rows, by the loop of training; a large model is cut to few layers."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common.console import Console
from ..config import Config, Eval, Hub, Log, Model
from ..data.load import Splits
from ..data.token_store import TokenStore
from ..data.tokenizer import locate
from ..model.engine.batch import collate
from ..model.network import load_config
from ..model.outline import outline
from ..model.reward import ScoreModel
from ..runs.layout import EVAL, PROBE
from ..training.build import LoadedData, Prepared, build, lay_out, make_job
from ..training.distributed.process_group import ProcessGroup
from ..training.loop import fit

LARGE = 100_000_000
"""Weights from which a model is cut."""
LAYERS = 2
"""Layers of a cut model."""
LEAST_STEPS = 10
TIMED = 16
"""Comparisons of the batch that measures the speed."""
TRAIN_PROBE = 64


def cut_model(settings: Model) -> tuple[Model, str]:
    """Cut a large model to `LAYERS` layers, with weights drawn anew.

    Returns:
        The settings, and a sentence about the cut; "" for a model that stays.

    Raises:
        BradleyError: as `outline`.
    """
    weights = sum(weight.numel() for weight in outline(settings).parameters())
    if weights <= LARGE:
        return settings, ""
    config = settings.config or _read_config(settings)
    kept = min(LAYERS, int(config.get("num_hidden_layers", config.get("n_layer", LAYERS))))
    names = [name for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if name in config]
    cut = {**config, **dict.fromkeys(names or ["num_hidden_layers"], kept)}
    if isinstance(cut.get("layer_types"), list):
        cut["layer_types"] = cut["layer_types"][:kept]
    tokenizer = settings.tokenizer or settings.path
    changes = {"path": "", "revision": "", "config": cut, "tokenizer": tokenizer}
    note = (
        f"a model of {weights:,} weights is examined with {kept} layers and weights drawn anew: "
        "what it learns says little about the whole model"
    )
    return settings.model_copy(update=changes), note


def short_config(config: Config, steps: int) -> Config:
    """Return the configuration of a short run: the same objective, rates and batches, and no output."""
    warmup = config.optim.warmup if config.optim.warmup < 1 else min(config.optim.warmup, steps // 10)
    train = {"max_steps": steps, "stop_after": 0, "early_stopping": "off", "select_by": "last", "time_limit": 0.0}
    return config.model_copy(
        update={
            "train": config.train.model_copy(update={**train, "past_interpolation": 0.0}),
            "optim": config.optim.model_copy(update={"warmup": warmup}),
            "eval": Eval(every=steps, train_probe=TRAIN_PROBE),
            "log": Log(figures=False, samples=0),
            "hub": Hub(),
        }
    )


def prepare(config: Config, splits: Splits, tokenizer: Any, device: torch.device) -> Prepared:
    """Build the model and lay out the steps, as `training.build.prepare` does, for rows already loaded.

    Raises:
        BradleyError: what would stop the run before its first step.
    """
    data = LoadedData(splits, tokenizer, None)
    model = build(config, data, ProcessGroup(), device)
    return Prepared(config=config, **model._asdict(), **lay_out(config, data, model, None)._asdict())


def train(prepared: Prepared, console: Console) -> None:
    """Train in a temporary folder, which is removed; evaluation sets are left to the caller."""
    alone = prepared._replace(evals={name: store for name, store in prepared.evals.items() if name == PROBE})
    with tempfile.TemporaryDirectory(prefix="bradley-doctor-") as folder:
        (Path(folder) / EVAL).mkdir()
        job = make_job(alone, Path(folder), Console("quiet") if console.mode == "quiet" else console)
        with torch.random.fork_rng():
            fit(job)


def tokens_per_second(model: ScoreModel, store: TokenStore) -> float:
    """Measure the speed of training, forward and backward, on a batch; the second of two passes counts."""
    numbers = np.linspace(0, len(store) - 1, min(TIMED, len(store))).astype(np.int64)
    batch = collate(store, numbers, store.judgment_weights("pair")).to(model.device)
    seconds = 1.0
    for _ in range(2):
        began = time.perf_counter()
        scores = model(batch)
        scores.square().sum().backward()
        float(scores.detach().sum())
        seconds = time.perf_counter() - began
    model.zero_grad(set_to_none=True)
    return len(batch.tokens) / max(seconds, 1e-6)


def steps_in(seconds: float, speed: float, store: TokenStore, config: Config, rows: int) -> int:
    """Count the steps of a short run: as many as fit into the time, and no more than the whole run takes.

    Args:
        seconds: for the training.
        speed: tokens a second, see `tokens_per_second`.
        store: token store of a sample.
        config: of the whole run.
        rows: training rows of the whole run.
    """
    tokens = len(store.tokens) / len(store) * config.train.batch_size
    whole = config.train.max_steps or max(1, round(rows * config.train.epochs / config.train.batch_size))
    return max(min(LEAST_STEPS, whole), min(whole, int(seconds * speed / tokens)))


def _read_config(settings: Model) -> dict[str, Any]:
    """Read the config of a pretrained model as settings of a model built from scratch."""
    place = locate(settings.path, revision=settings.revision)
    trusted = settings.trust_remote_code
    config = load_config(
        settings.path, place, dropout=settings.dropout, remote_code=trusted, revision=settings.revision
    )
    known: dict[str, Any] = config.to_diff_dict()
    left = ("architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path", "id2label", "label2id")
    return {**{name: value for name, value in known.items() if name not in left}, "model_type": config.model_type}
