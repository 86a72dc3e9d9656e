"""From a configuration to a job in three steps: load the data, build the model, lay out the steps."""

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..common.console import Console
from ..common.seeds import generator
from ..config import Config
from ..data.load import Splits, load_splits
from ..data.micro_batches import check_limit
from ..data.plan import Plan, make_plan
from ..data.render import Renderer
from ..data.token_report import token_figures
from ..data.token_store import TokenStore, build_store
from ..data.tokenizer import make_tokenizer
from ..model.build import Built
from ..model.choose_engine import describe_engine, prove
from ..model.cost import limit_for, load_on
from ..model.device import choose_device, keep_freed_memory, set_threads
from ..records import Comparison
from ..runs.layout import CHECKPOINTS, EVAL, PROBE
from ..runs.lock import RunLock
from .checkpoints.identity import provenance
from .checkpoints.store import Checkpoints
from .checks import check_losses, check_positions, check_selection, check_stop
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
    """Comparisons of every split, and the tokenizer that their texts go through."""

    splits: Splits
    tokenizer: Any


class BuiltModel(NamedTuple):
    """A model on its processes, the renderer of its texts, and its optimizer."""

    built: Built
    strategy: Strategy
    renderer: Renderer
    optimizer: torch.optim.Optimizer


class Layout(NamedTuple):
    """Token stores of every split, and the plan of the steps.

    Attributes:
        probe: training comparisons in the evaluation set `train_probe`.
        engine: the chosen engine and its proof on this model, in words.
    """

    train: TokenStore
    probe: list[Comparison]
    evals: dict[str, TokenStore]
    test: TokenStore | None
    plan: Plan
    engine: str


class Prepared(NamedTuple):
    """Everything that is checked before the run folder is made, so that bad input leaves nothing half written."""

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
        """Token stores that training reads, by split: all but the test split."""
        return {"train": self.train, **self.evals}


def prepare(
    config: Config, rows: dict[str, Any], cache: Path | None, threads: int = 0, group: ProcessGroup | None = None
) -> Prepared:
    """Load the data, build the model, lay out the steps; each of the three checks what it reads.

    Args:
        rows: rows in memory by split, see `load_splits`.
        cache: folder of token stores that later runs reuse.
        threads: CPU threads if the settings name none (0: PyTorch's own choice).
        group: the processes of the run, if there are several.

    Raises:
        BradleyError: a fault of the configuration, the data or the model.
    """
    group = group or ProcessGroup()
    device = choose_device(config.train.device)
    check_trackers(config.log)
    check_gpu(config.log.gpu_seconds, device)
    set_threads(config.train.threads or threads)
    if device.type == "cpu":
        keep_freed_memory()
    data = load(config, rows)
    model = build(config, data, group, device)
    layout = lay_out(config, data, model, cache)
    return Prepared(config=config, splits=data.splits, **model._asdict(), **layout._asdict())


def load(config: Config, rows: dict[str, Any]) -> LoadedData:
    """Load every split and its tokenizer, from the sections `data` and `model` and the seed.

    Raises:
        BradleyError: as `load_splits` and `make_tokenizer`; or a setting about a validation set that is not there.
    """
    splits = load_splits(config.data, config.seed, **rows)
    check_selection(config, splits)
    # The tokenizer comes second because `model.tokenizer = "train"` learns one from the training texts.
    return LoadedData(splits, make_tokenizer(config.model, splits.train))


def build(config: Config, data: LoadedData, group: ProcessGroup, device: torch.device) -> BuiltModel:
    """Build the model and its optimizer on all processes, from `model`, `parallel`, `optim`, `render` and the seed.

    Raises:
        BradleyError: as `build_strategy` and `make_optimizer`; or a token limit above the positions of the model.
    """
    built, strategy = build_strategy(group, config, data.tokenizer, device)
    renderer = Renderer(data.tokenizer, config.render, causal=built.model.causal)
    check_positions(built.model.network, config.render.max_tokens)
    return BuiltModel(built, strategy, renderer, make_optimizer(built.model, config.optim))


def lay_out(config: Config, data: LoadedData, model: BuiltModel, cache: Path | None) -> Layout:
    """Turn every split into tokens and the training split into steps, from `data`, `loss`, `train` and the seed.

    Raises:
        DataError: rendering drops more than `data.max_rejected_share` allows.
        UserError: a comparison alone exceeds the token budget, or the objective cannot act on the data.
    """
    splits, (built, strategy, renderer, _) = data.splits, model
    store = functools.partial(build_store, renderer=renderer, cache=cache)
    # One process of each machine renders the texts; the others then find its token stores in the cache.
    with strategy.group.one_first():
        train = store(splits.train, training=True)
        check_losses(train, len(splits.train), splits.report["splits"]["train"], config.data.max_rejected_share)
        check_objective(config.loss, train)
        evals = {name: store(rows, training=False) for name, rows in splits.evals.items()}
        probe = probe_of(splits.train, train, config)
        if probe:
            evals[PROBE] = store(probe, training=False)
        test = store(splits.test, training=False) if splits.test else None
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
    return Layout(train, probe, evals, test, plan, engine)


def make_job(prepared: Prepared, folder: Path, console: Console, lock: RunLock | None = None) -> Job:
    """Return the job of a run folder that exists.

    Args:
        lock: of the run folder, checked before each save.
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
    """A fixed, seeded sample of the comparisons that training uses, evaluated like any other set."""
    size = min(config.eval.train_probe, len(kept))
    chosen = generator(config.seed, "train probe").choice(len(kept), size, replace=False)
    return [comparisons[int(kept.number[i])] for i in sorted(chosen.tolist())]


def default_cache() -> Path:
    """Where token stores are kept: `$BRADLEY_CACHE`, or `bradley/tokens` in the user's cache folder."""
    named = os.environ.get("BRADLEY_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(named) if named else base / "bradley" / "tokens"
