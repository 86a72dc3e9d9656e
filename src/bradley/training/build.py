"""From a configuration to a job: splits, tokenizer, stores, model, optimizer, plan. The only place that knows all."""

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
from ..data.report import unusable
from ..data.token_report import token_figures
from ..data.token_store import TokenStore, build_store
from ..data.tokenizer import make_tokenizer
from ..errors import DataError, UserError
from ..model.build import Built
from ..model.choose_engine import describe_engine, prove
from ..model.cost import limit_for, load_on
from ..model.device import keep_freed_memory, set_threads
from ..records import Comparison
from ..runs.layout import PROBE, SELECTION
from .checkpoints.identity import provenance
from .checkpoints.store import Checkpoints
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


def prepare(
    config: Config, rows: dict[str, Any], cache: Path | None, threads: int = 0, group: ProcessGroup | None = None
) -> Prepared:
    """Load, check and lay out everything that the configuration names; `rows` are those in memory, see `load_splits`.

    Of several processes, one on each machine renders the texts, and the others read the token stores that it leaves.

    Args:
        group: the processes of the run, if there are several.
        threads: of the CPU where the settings name none (0: PyTorch's own choice).

    Raises:
        BradleyError: whatever is wrong with configuration, data or model.
    """
    group = group or ProcessGroup()
    device = choose_device(config.train.device)
    check_trackers(config.log)
    check_gpu(config.log.gpu_seconds, device)
    set_threads(config.train.threads or threads)
    if device.type == "cpu":
        keep_freed_memory()
    splits = load_splits(config.data, config.seed, **rows)
    check_selection(config, splits)
    tokenizer = make_tokenizer(config.model, splits.train)
    built, strategy = build_strategy(group, config, tokenizer, device)
    renderer = Renderer(tokenizer, config.render, causal=built.model.causal)
    check_positions(built.model.network, config.render.max_tokens)
    optimizer = make_optimizer(built.model, config.optim)
    store = functools.partial(build_store, renderer=renderer, cache=cache)
    with group.one_first():
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
    return Prepared(config, splits, renderer, built, engine, train, probe, evals, test, plan, optimizer, strategy)


def make_job(prepared: Prepared, folder: Path, console: Console) -> Job:
    """The job of a run folder that exists."""
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
        evaluator=Evaluator(prepared.evals, config.train, config.loss, folder / "eval", samples),
        checkpoints=Checkpoints(
            folder / "checkpoints",
            provenance(config, prepared.splits, prepared.renderer, prepared.train),
            config.checkpoint.keep,
            console.warn,
        ),
        console=console,
        strategy=prepared.strategy,
        lengths=length_fields(prepared.splits.report),
    )


def choose_device(name: str) -> torch.device:
    """The device to train on; `auto` takes CUDA where there is one.

    Raises:
        UserError: CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device = cuda, but PyTorch sees no CUDA device", "use --train.device cpu")
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_stop(stop_after: int, plan: Plan) -> None:
    """Raise `UserError` where training is to stop after the end of the plan."""
    if stop_after > plan.num_steps:
        raise UserError(
            f"train.stop_after = {stop_after}, but the plan has {plan.num_steps} steps",
            f"use --train.stop_after {plan.num_steps} or less, or raise train.max_steps or train.epochs",
        )


def check_selection(config: Config, splits: Splits) -> None:
    """Raise `UserError` for a setting about the validation set where there is none."""
    if SELECTION in splits.evals:
        return
    for name in ("early_stopping", "select_by"):
        if getattr(config.train, name) != type(config.train).model_fields[name].default:
            raise UserError(
                f"train.{name} = {getattr(config.train, name)}, but there is no validation set",
                "give one with data.valid, or hold out a share with data.valid_share",
            )


def check_positions(network: Any, max_tokens: int) -> None:
    """Raise `UserError` where the limit asks for more positions than the model has."""
    text_config = network.config.get_text_config()
    places = getattr(text_config, "max_position_embeddings", None)
    tables = [module for name, module in network.named_modules() if name.endswith("position_embeddings")]
    offsets = [module.padding_idx + 1 for module in tables if getattr(module, "padding_idx", None) is not None]
    if places is not None and places <= 0:
        return  # how XLNet says that there is no limit
    if places is not None:
        places -= max(offsets, default=0)  # RoBERTa counts its positions from the one after padding
    if places is not None and max_tokens > places:
        raise UserError(
            f"render.max_tokens = {max_tokens}, but the model has {places} positions",
            f"use --render.max_tokens {places} or less",
        )


def check_losses(train: TokenStore, given: int, account: dict[str, Any], max_share: float) -> None:
    """Raise `DataError` where rendering, on top of what loading lost, takes a larger share than was allowed."""
    lost = unusable(account["rejected"], account["findings"])
    before, dropped = sum(lost.values()) / account["rows"], train.ledger.dropped
    if dropped and before + dropped / given > max_share:
        causes = ", ".join(f"{row['dropped']} {cause}" for cause, row in train.ledger.causes.items() if row["dropped"])
        raise DataError(
            f"rendering would drop {dropped} of {given} training comparisons ({causes}); with the {before:.1%} of "
            f"rows lost before that is above data.max_rejected_share = {max_share}",
            "raise render.max_tokens, choose another render.over_long, or raise data.max_rejected_share",
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
