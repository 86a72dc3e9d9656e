"""Build a job from a configuration in three steps: load the data, build the model, lay out the optimizer steps."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..common.console import Console
from ..common.lock import FolderLock
from ..common.seeds import generator
from ..config import Config
from ..data.diagnostics import diagnose
from ..data.dropped import check_unread
from ..data.load import Splits, load_splits
from ..data.micro_batches import check_limit
from ..data.plan import Plan, make_plan
from ..data.prefetch import Prefetch
from ..data.render import Renderer
from ..data.table import Selection
from ..data.token_cache import default_cache as default_cache
from ..data.token_report import token_figures
from ..data.token_store import TokenStore, build_store
from ..data.tokenizer import make_tokenizer
from ..model.build import Built
from ..model.choose_engine import describe_engine, prove
from ..model.cost import limit_for, load_on
from ..model.device import choose_device, keep_freed_memory, set_threads
from ..records import Comparison
from ..runs.layout import CHECKPOINTS, EVAL, PROBE
from .checkpoints.identity import provenance
from .checkpoints.store import Checkpoints
from .checks import (
    check_losses,
    check_positions,
    check_push,
    check_readback,
    check_selection,
    check_stop,
    losses_decided,
)
from .distributed.build import build_strategy
from .distributed.process_group import ProcessGroup
from .distributed.strategy import Strategy
from .evaluation import Evaluator
from .job import Job
from .metrics import length_fields
from .objective import check_objective, objective
from .optim import make_optimizer
from .tracking import check_trackers
from .tracking.gpu import check_gpu
from .tracking.samples import choose

Rows = Iterable[dict[str, Any] | Comparison]


class LoadedData(NamedTuple):
    """Comparisons of every split, the tokenizer for the texts, and comparisons encoded while rows were read."""

    splits: Splits
    tokenizer: Any
    prefetch: Prefetch | None


class BuiltModel(NamedTuple):
    """Model on all processes, with renderer and optimizer.

    Attributes:
        built: the model with head and engine.
        strategy: processes training the model.
        renderer: turns texts into token ids.
        optimizer: of the trained weights.
    """

    built: Built
    strategy: Strategy
    renderer: Renderer
    optimizer: torch.optim.Optimizer


class Layout(NamedTuple):
    """Token stores of every split, and the plan of the steps.

    Attributes:
        splits: comparisons, without those that cannot be rendered in evaluation sets and the test split.
        train: token store of the training split.
        probe: training comparisons in the evaluation set `train_probe`.
        evals: token stores of the evaluation sets by name, `train_probe` included.
        test: token store of the test split, if any.
        plan: the comparisons in every step.
        engine: name of the attention engine, and the result of the proof on this model, in words.
    """

    splits: Splits
    train: TokenStore
    probe: list[Comparison]
    evals: dict[str, TokenStore]
    test: TokenStore | None
    plan: Plan
    engine: str


class Prepared(NamedTuple):
    """Checked data, model and plan of a run, before the run folder is made: bad input leaves nothing half written.

    For the fields, see `LoadedData`, `BuiltModel` and `Layout`.
    """

    config: Config
    splits: Splits
    renderer: Renderer
    built: Built
    engine: str
    train: TokenStore
    probe: list[Comparison]
    evals: dict[str, TokenStore]
    test: TokenStore | None
    plan: Plan
    optimizer: torch.optim.Optimizer
    strategy: Strategy

    @property
    def stores(self) -> dict[str, TokenStore]:
        """Token stores read in training, by split: all but the test split."""
        return {"train": self.train, **self.evals}


def prepare(
    config: Config,
    rows: dict[str, Any],
    cache: Path | None,
    threads: int = 0,
    group: ProcessGroup | None = None,
    console: Console | None = None,
) -> Prepared:
    """Load the data, build the model, and lay out the steps; each of the three checks the settings involved.

    Args:
        config: settings of the run.
        rows: rows in memory by split, see `load_splits`.
        cache: folder of rows and token stores, reused by later runs; None to keep the stores in memory.
        threads: number of CPU threads if `train.threads` is 0 (0: PyTorch's default).
        group: processes of the run; None for a single process.
        console: shows the progress of reading; None for no output.

    Raises:
        BradleyError: the configuration, the data or the model has a fault.
    """
    group = group or ProcessGroup()
    device = choose_device(config.train.device)
    # Trackers and the GPU reader are checked before the data: a missing package shows in a second, not after minutes.
    check_trackers(config.log)
    check_gpu(config.log.gpu_seconds, device, console or Console("quiet"))
    # Before the model is built: the number of threads decides the order of sums, and a resume must repeat the order.
    set_threads(config.train.threads or threads)
    if device.type == "cpu":
        keep_freed_memory()
    data = load(config, rows, cache, console)
    model = build(config, data, group, device)
    layout = lay_out(config, data, model, cache)
    return Prepared(config=config, **model._asdict(), **layout._asdict())


def load(config: Config, rows: dict[str, Any], cache: Path | None = None, console: Console | None = None) -> LoadedData:
    """Load every split and the tokenizer, from the sections `data` and `model` and the seed.

    Args:
        config, rows, cache, console: as for `prepare`.

    Raises:
        BradleyError: as `load_splits` and `make_tokenizer`; or a setting needs a missing validation set.
    """
    # `model.tokenizer = "train"` learns a tokenizer from the training texts, and these come first.
    tokenizer = None if config.model.tokenizer == "train" else make_tokenizer(config.model, ())
    # An end token, the only thing that depends on the kind of the model, is added to the ids later. A diagnostic reads
    # other texts than those of the rows.
    prefetch = None
    if tokenizer is not None and config.data.diagnostic == "none":
        prefetch = Prefetch(Renderer(tokenizer, config.render, causal=False))
    splits = load_splits(config.data, config.seed, **rows, cache=cache, console=console, prefetch=prefetch)
    check_selection(config, splits)
    if tokenizer is None:
        tokenizer = make_tokenizer(config.model, splits.train)
    renderer = None if config.data.diagnostic == "none" else Renderer(tokenizer, config.render, causal=False)
    return LoadedData(diagnose(splits, config.data, renderer), tokenizer, prefetch)


def build(config: Config, data: LoadedData, group: ProcessGroup, device: torch.device) -> BuiltModel:
    """Build model and optimizer on all processes, from `model`, `parallel`, `optim`, `render` and the seed.

    Raises:
        BradleyError: as `build_strategy` and `make_optimizer`; or the token limit exceeds the model's positions.
    """
    # The optimizer comes last: the strategy may replace the weights by shards, and the optimizer must hold the shards.
    built, strategy = build_strategy(group, config, data.tokenizer, device)
    renderer = Renderer(data.tokenizer, config.render, causal=built.model.causal, prefetch=data.prefetch)
    check_positions(built.model.network, config.render.max_tokens)
    return BuiltModel(built, strategy, renderer, make_optimizer(built.model, config.optim))


def lay_out(config: Config, data: LoadedData, model: BuiltModel, cache: Path | None) -> Layout:
    """Turn every split into tokens and the training split into steps, from `data`, `loss`, `train` and the seed.

    Raises:
        DataError: rendering drops more than `data.max_rejected_share` allows.
        UserError: a single comparison exceeds the token budget, or the objective has nothing to learn from these data.
        CheckpointError: a folder of this model could not be loaded.
    """
    splits, (built, strategy, renderer, _) = data.splits, model
    store = functools.partial(build_store, renderer=renderer, cache=cache)
    # A single process of each machine renders the texts; the others then find the token stores in the cache.
    with strategy.group.one_first():
        train = store(splits.train, training=True)
        account = splits.report["splits"]["train"]
        check_unread(config.render.max_unread, "train", train.ledger.unread)
        check_losses(train, len(splits.train), account, config.data.max_rejected_share, losses_decided(config))
        check_objective(config.loss, train)
        evals = {name: store(rows, training=False) for name, rows in splits.evals.items()}
        probe = probe_of(splits.train, train, config)
        if probe:
            evals[PROBE] = store(probe, training=False)
        test = store(splits.test, training=False) if splits.test else None
        for name, split in {**evals, **({"test": test} if test else {})}.items():
            check_unread(config.render.max_unread, name, split.ledger.unread)
    # What was prefetched and left out by a policy would stay in memory during the training.
    renderer.prefetch = None
    # Every set is checked now: a comparison above the budget in the test set would otherwise end the run at the end.
    limit = limit_for(built.model, config.train.micro_batch_tokens, config.train.micro_batch_comparisons)
    for split in (*evals.values(), *([test] if test else [])):
        check_limit(split, load_on(built.model, split), limit)
    plan = make_plan(
        train,
        load_on(built.model, train),
        limit,
        batch_size=config.train.batch_size,
        seed=config.seed,
        epochs=config.train.epochs,
        max_steps=config.train.max_steps,
        weight_by=config.loss.weight_by,
    )
    check_stop(config.train.stop_after, plan)
    for name, split in {"train": train, **evals, **({"test": test} if test else {})}.items():
        splits.report["splits"].setdefault(name, {})["tokens"] = token_figures(split)
    engine = describe_engine(built.engine, prove(built.model, train) if built.engine.name != "plain" else None)
    splits = _rendered(splits, evals, test)
    check_push(config, splits, renderer)
    check_readback(config, splits, built.model, renderer, strategy.group)
    return Layout(splits, train, probe, evals, test, plan, engine)


def _rendered(splits: Splits, evals: dict[str, TokenStore], test: TokenStore | None) -> Splits:
    """Return the splits without the evaluation and test comparisons that `render.refused = "drop"` left out."""
    # Texts and scored rows are matched by place.
    kept = {name: _taken(rows, evals[name]) for name, rows in splits.evals.items()}
    return replace(splits, evals=kept, test=splits.test if test is None else _taken(splits.test, test))


def _taken(rows: Sequence[Comparison], store: TokenStore) -> Sequence[Comparison]:
    """Select the comparisons of a token store."""
    if len(store) == len(rows):
        return rows
    places = np.asarray(store.number)
    return rows.take(places) if isinstance(rows, Selection) else [rows[place] for place in places.tolist()]


def make_job(prepared: Prepared, folder: Path, console: Console, lock: FolderLock | None = None) -> Job:
    """Make the job of an existing run folder.

    Args:
        prepared: checked data, model and plan.
        folder: the run folder.
        console: for lines about the training.
        lock: lock of the run folder, checked before each save; None without a lock.
    """
    config = prepared.config
    texts = {**prepared.splits.evals, PROBE: prepared.probe}
    samples = choose({name: texts[name] for name in prepared.evals}, config.log.samples, config.seed)
    return Job(
        config=config,
        folder=folder,
        model=prepared.built.model,
        renderer=prepared.renderer,
        optimizer=prepared.optimizer,
        losses=objective(config.loss),
        store=prepared.train,
        weights=prepared.train.judgment_weights(config.loss.weight_by),
        plan=prepared.plan,
        evaluator=Evaluator(prepared.evals, config.train, config.loss, folder / EVAL, samples),
        checkpoints=Checkpoints(
            folder / CHECKPOINTS,
            provenance(config, prepared.splits, prepared.renderer, prepared.train),
            config.checkpoint.keep,
            console.warn,
            lock,
        ),
        console=console,
        strategy=prepared.strategy,
        lengths=length_fields(prepared.splits.report),
    )


def probe_of(comparisons: Sequence[Comparison], kept: TokenStore, config: Config) -> list[Comparison]:
    """Draw the seeded sample of training comparisons for the evaluation set `train_probe`.

    Args:
        comparisons: of the training split.
        kept: token store of the training split, without comparisons dropped in rendering.
        config: `eval.train_probe` is the size, `seed` the seed.
    """
    size = min(config.eval.train_probe, len(kept))
    indices = generator(config.seed, "train probe").choice(len(kept), size, replace=False)
    return [comparisons[int(kept.number[i])] for i in sorted(indices.tolist())]
