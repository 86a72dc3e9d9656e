"""Examination: all probes of a configuration or of a model, in order."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..common.console import Console
from ..config import Config
from ..data.load import Splits
from ..data.render import Renderer
from ..data.token_store import TokenStore, build_store
from ..errors import BradleyError, CheckpointError, DataError
from ..model.device import choose_device, keep_freed_memory, set_threads
from ..model.folder.save_load import Loaded
from ..model.folder.tolerance import Check
from ..model.reward import ScoreModel
from ..records import Comparison, ScoredComparison
from ..runs.layout import PROBE
from ..scoring.core import score_store
from ..training.build import Prepared, default_cache, load
from . import independence, leaks, learning, readback, scored, short_run, template
from .results import Advice, ProbeResult, confidence_of, found
from .rows import (
    HELD_OUT,
    Share,
    prompts_for,
    sampled,
    share_of,
    shuffled,
    splits_of,
    with_other_negatives,
    with_other_prompts,
    with_other_responses,
)

OF_CONFIG = (
    leaks.INSIDE,
    scored.LEARNED,
    scored.DIRECTION,
    scored.LENGTH,
    scored.BLIND,
    scored.OWN,
    scored.SHUFFLED,
)
OF_MODEL = (leaks.INSIDE, scored.LEARNED, scored.LENGTH, scored.BLIND, scored.OWN)
"""Statistical probes of a configuration, and of a model."""
FEW, SOME, READ, MANY = 4, 8, 512, 2_000
"""Rows learned by heart, of the probes of scoring, read by the untrained model, and looked at as texts."""
LEARNING = 0.2
"""Share of the time for comparisons learned by heart, at most."""
TRAINED, SHUFFLED = 0.45, 0.25
"""Shares of the time left for the short training, and for the one on shuffled labels."""
LEAST_MEASURED = 100
PASSES = 6
"""Sets scored after the training."""


class Examination(NamedTuple):
    """Results in the order of the probes, and remarks about what was examined.

    Attributes:
        results: a result for each probe.
        notes: sentences.
    """

    results: list[ProbeResult]
    notes: list[str]


def examine_config(config: Config, minutes: float, console: Console) -> Examination:
    """Examine a configuration: its rows, its untrained model, and a short training on a share of the rows.

    Args:
        config: settings of a run.
        minutes: time for the probes, about.
        console: for a line about each probe.

    Raises:
        BradleyError: what stops the run before its first step, and is no subject of a probe.
    """
    began = time.monotonic()
    device = choose_device(config.train.device)
    set_threads(config.train.threads)
    if device.type == "cpu":
        keep_freed_memory()
    confidence = confidence_of(len(OF_CONFIG))
    report = _Report(console)
    # A run stops at shared prompts; here the probe counts these.
    policy = config.data.leaked
    kept = config.data.model_copy(update={"leaked": "keep" if policy == "error" else policy})
    console.say("reading the rows")
    data = load(config.model_copy(update={"data": kept}), {}, default_cache())
    report.add(leaks.repeated_rows(data.splits.train, _evaluations(data.splits), policy))
    report.add(leaks.contained(_texts(data.splits, config.seed), confidence))
    settings, note = short_run.cut_model(config.model)
    report.remark(note)
    small = short_run.short_config(config.model_copy(update={"model": settings}), short_run.LEAST_STEPS)
    first = share_of(data.splits, config.seed, READ, LEAST_MEASURED)
    prepared, unlike = _untrained(small, splits_of(first, config.seed), data.tokenizer, device)
    report.extend(iter(unlike))
    report.extend(_of_untrained(prepared, LEARNING * minutes * 60))
    left = minutes * 60 - (time.monotonic() - began)
    speed = short_run.tokens_per_second(prepared.built.model, prepared.train)
    steps = short_run.steps_in(TRAINED * left, speed, prepared.train, config, len(data.splits.train))
    most = _measured(confidence, speed * left, prepared.train)
    share = share_of(data.splits, config.seed, steps * config.train.batch_size, most)
    console.say(f"short training: {steps} steps on {len(share.train):,} of {len(data.splits.train):,} rows")
    small = prepared.config
    try:
        prepared = _trained(small, share, steps, data.tokenizer, device, console)
    except BradleyError as error:
        # What was found before must be seen: it explains the error more often than not.
        report.add(found(learning.TRAINING, False, error.message, "no error", "a sound set-up trains"))
        return report.examination()
    model, renderer = prepared.built.model, prepared.renderer
    report.remark(f"trained for {steps} steps on {len(share.train):,} of {len(data.splits.train):,} training rows")
    held_out, own = score_store(model, prepared.evals[HELD_OUT], 0), _scored_set(prepared, share)
    report.add(scored.better_than_chance(held_out, confidence))
    if share.name:
        report.add(scored.same_direction(held_out, own, confidence, share.name))
    else:
        report.remark("no evaluation set: the probes of scores read held-out training rows")
    rows = share.evaluation if share.name else share.held_out
    report.extend(_of_scores(model, renderer, list(rows), own or held_out, confidence, config.seed, most))
    enough = minutes * 60 - (time.monotonic() - began)
    if enough < SHUFFLED * left:
        report.remark("no time for a training on shuffled labels: give more --minutes, or use data.diagnostic")
        return report.examination()
    steps = max(short_run.LEAST_STEPS, round(steps * SHUFFLED / TRAINED))
    console.say(f"training on shuffled labels: {steps} steps")
    mixed = shuffled(share, config.seed)
    prepared = _trained(small, mixed, steps, data.tokenizer, device, console)
    sets = [store for name, store in prepared.evals.items() if name != PROBE]
    rows_mixed = [row for store in sets for row in score_store(prepared.built.model, store, 0)]
    report.add(scored.shuffled_labels(rows_mixed, confidence))
    return report.examination()


def examine_model(
    loaded: Loaded,
    rows: Sequence[Comparison],
    name: str,
    minutes: float,
    console: Console,
    *,
    splits: Splits | None = None,
    recorded: Sequence[ScoredComparison] = (),
    verify: Callable[[], Sequence[Check]] | None = None,
    seed: int = 0,
    token_budget: int = 0,
) -> Examination:
    """Examine a trained model on evaluation rows; nothing is trained.

    Args:
        loaded: the model with its renderer.
        rows: evaluation rows.
        name: of the rows.
        minutes: time for the probes, about.
        console: for a line about each probe.
        splits: rows of the run around the model; None without.
        recorded: rows scored by the run.
        verify: runs the checks of `bradley verify`; None to leave these out.
        seed: of the draws.
        token_budget: most tokens at once (0: suitable for the device).

    Raises:
        DataError: a row that the model cannot read.
    """
    began = time.monotonic()
    model, renderer = loaded.model, loaded.renderer
    confidence = confidence_of(len(OF_MODEL))
    report = _Report(console)
    if splits is not None:
        report.add(leaks.repeated_rows(splits.train, _evaluations(splits), "keep"))
    report.add(leaks.contained(sampled(rows, seed, MANY), confidence))
    read, few = sampled(rows, seed, READ), sampled(rows, seed, SOME)
    report.extend(_of_reading({name: (build_store(read, renderer, training=False), read)}, renderer))
    report.extend(_of_scoring(model, renderer, few))
    if verify is not None:
        console.say("verifying in a fresh process")
        report.add(readback.verified(verify()))
    spent = time.monotonic()
    independence.scores_of(model, renderer, few)
    each = (time.monotonic() - spent) / len(few)
    left = minutes * 60 - (time.monotonic() - began)
    most = max(LEAST_MEASURED, min(prompts_for(confidence), int(left / PASSES / max(each, 1e-6))))
    chosen = sampled(rows, seed, most)
    console.say(f"scoring {len(chosen):,} of {len(rows):,} rows of {name}")
    own = score_store(model, build_store(chosen, renderer, training=False), token_budget)
    if recorded:
        report.add(readback.as_recorded(own, recorded, model))
    report.add(scored.better_than_chance(own, confidence, name))
    report.extend(_of_scores(model, renderer, chosen, own, confidence, seed, most, token_budget))
    return report.examination()


class _Report:
    """Results so far; each is announced in a line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.results: list[ProbeResult] = []
        self.notes: list[str] = []

    def add(self, result: ProbeResult) -> None:
        self.results.append(result)
        self.console.say(f"{result.verdict:<10} {result.name}")

    def extend(self, results: Iterator[ProbeResult]) -> None:
        for result in results:
            self.add(result)

    def remark(self, note: str) -> None:
        self.notes += [note] if note else []

    def examination(self) -> Examination:
        return Examination(self.results, self.notes)


def _of_untrained(prepared: Prepared, seconds: float) -> Iterator[ProbeResult]:
    """Probes before the first step; `seconds` are for the comparisons learned by heart."""
    model, renderer, config = prepared.built.model, prepared.renderer, prepared.config
    train = list(prepared.splits.train)
    sets: dict[str, tuple[TokenStore, Sequence[Comparison]]] = {"train": (prepared.train, train)}
    sets |= {name: (prepared.evals[name], rows) for name, rows in prepared.splits.evals.items()}
    yield from _of_reading(sets, renderer)
    yield template.same_template(prepared.train, prepared.evals[PROBE])
    for name, rows in prepared.splits.evals.items():
        if name != HELD_OUT:
            yield template.rendered_alike(prepared.evals[name], rows, renderer, name)
    some = [train[int(number)] for number in prepared.train.number[:SOME]]
    yield from _of_scoring(model, renderer, some)
    store = build_store(some, renderer, training=True)
    if prepared.built.head.startswith("drawn"):
        yield learning.first_loss(model, store, config.loss)
    unlike = list({row.prompt_key: row for row in train[:MANY] if not row.judgments[0].tie}.values())
    sizes = [sum(len(response.text) for response in row.responses) for row in unlike]
    chosen = [unlike[place] for place in learning.few(sizes, FEW)]
    # Short rows: the gradient of a bias takes two more passes. A weight outside of their scores is named, and no fault.
    small = build_store(chosen, renderer, training=True)
    yield learning.gradient(model, small, config.loss, config.optim)
    yield learning.overfit(model, small, config.optim, seconds)
    trusted = config.model.trust_remote_code
    yield readback.saved_and_loaded(model, renderer, some, trust_remote_code=trusted)


def _of_reading(
    sets: Mapping[str, tuple[TokenStore, Sequence[Comparison]]], renderer: Renderer
) -> Iterator[ProbeResult]:
    """Probes of what the model reads."""
    yield leaks.equal_as_read(sets)
    # The worst of the sets is the one to see.
    results = [template.ends_kept(store, rows, renderer) for store, rows in sets.values()]
    yield next((result for result in results if result.verdict == "fail"), results[0])


def _of_scoring(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> Iterator[ProbeResult]:
    """Probes of scoring that need no trained model."""
    yield template.pooled_last(model, renderer, rows)
    yield independence.scored_twice(model, renderer, rows)
    yield independence.without_company(model, renderer, rows)


def _of_scores(
    model: ScoreModel,
    renderer: Renderer,
    rows: list[Comparison],
    own: list[ScoredComparison],
    confidence: float,
    seed: int,
    most: int,
    token_budget: int = 0,
) -> Iterator[ProbeResult]:
    """Probes of a trained model on evaluation rows.

    Args:
        rows: with texts.
        own: the same rows with scores.
        most: rows with other responses, at most.
        token_budget: most tokens at once.
    """

    def score(changed: Sequence[Comparison]) -> list[ScoredComparison]:
        return score_store(model, build_store(changed, renderer, training=False), token_budget)

    yield scored.different_scores(own)
    yield scored.sides_swapped(own, score([row.swap() for row in rows]))
    yield scored.more_than_length(own, confidence)
    yield _or_undecided(
        scored.BLIND, lambda: scored.nothing_beside(score(with_other_responses(rows, seed, most)), confidence)
    )
    if other := with_other_prompts(rows, seed):
        yield scored.prompt_read(own, score(other))
    yield _or_undecided(
        scored.OWN, lambda: scored.own_answer(score(with_other_negatives(rows, seed, most)), confidence)
    )


def _or_undecided(advice: Advice, probe: Callable[[], ProbeResult]) -> ProbeResult:
    """Run a probe that draws responses to other prompts; too few prompts leave the probe undecided."""
    try:
        return probe()
    except DataError as error:
        return found(advice, "undecided", error.message, "more prompts", "responses are drawn from other prompts")


def _untrained(small: Config, splits: Splits, tokenizer: Any, device: Any) -> tuple[Prepared, list[ProbeResult]]:
    """Prepare a short run; where the engine gives other scores than `plain`, on `plain`, with a failed result."""
    try:
        return short_run.prepare(small, splits, tokenizer, device), []
    except CheckpointError as error:
        if small.model.engine == "plain":
            raise
        model = small.model.model_copy(update={"engine": "plain"})
        plain = small.model_copy(update={"model": model})
        why = "a shared prompt computed once gives the scores of the padded path"
        failed = found(learning.ENGINE, False, error.message, "equal scores on every engine", why)
        return short_run.prepare(plain, splits, tokenizer, device), [failed]


def _trained(small: Config, share: Share, steps: int, tokenizer: Any, device: Any, console: Console) -> Prepared:
    prepared = short_run.prepare(short_run.short_config(small, steps), splits_of(share, small.seed), tokenizer, device)
    short_run.train(prepared, console)
    return prepared


def _measured(confidence: float, tokens: float, store: TokenStore) -> int:
    """Count the rows of each set to score: as many as decide, and as fit into the time.

    Args:
        tokens: tokens that could be trained in the time left; scoring takes a third of the time.
        store: token store of a sample.
    """
    each = len(store.tokens) / len(store)
    fitting = int((1 - TRAINED - SHUFFLED) * tokens * 3 / PASSES / each)
    return max(LEAST_MEASURED, min(prompts_for(confidence), fitting))


def _scored_set(prepared: Prepared, share: Share) -> list[ScoredComparison]:
    return score_store(prepared.built.model, prepared.evals[share.name], 0) if share.name else []


def _evaluations(splits: Splits) -> dict[str, Sequence[Comparison]]:
    return {name: rows for name, rows in splits.by_name.items() if name != "train"}


def _texts(splits: Splits, seed: int) -> list[Comparison]:
    """Rows of every set for probes of the texts."""
    return [row for rows in splits.by_name.values() for row in sampled(rows, seed, MANY)]
