"""Content of the report page: a run as plain values for the template, including every verdict in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..common.ownership import real_path
from ..evaluate.benchmarks import SUITES, TAG, benchmark_figures, headlines
from ..evaluate.length import length_rule
from ..evaluate.summary import summarize
from ..records import ScoredComparison
from ..runs.reader import Json
from ..runs.run import RunFolder
from .details import calibration_sentences, details, last_samples
from .filters import duration, number, percent
from .scale import accuracy_scale
from .sentences import DEGENERATE, against_ceiling, against_chance, against_length

SELECTED = "The best step was chosen on this set, which flatters it a little."


def page_context(run: RunFolder) -> Json:
    """Collect the variables of the template, except the figures."""
    sets = summaries(run)
    name = primary_set(sets)
    return {
        "name": real_path(run.folder).name,
        "facts": _facts(run),
        "verdict": _verdict(name, sets[name], run.results.get("best")) if name else None,
        "sets": sets,
        "diagnostic": run.results.get("diagnostic"),
        "details": details(sets),
        "samples": last_samples(run.samples),
        "scale": accuracy_scale([figures["accuracy"] for figures in sets.values()]),
        "best": run.results.get("best", {}),
        "history": _history(run.events),
        "groups": [group for name in sets if name != "train_probe" for group in _groups(name, sets[name])],
        "benchmarks": [_benchmark(name, sets[name]) for name in sets if _known_benchmark(sets[name])],
        "splits": run.data_report.get("splits", {}),
        "examples": run.examples,
        "config": json.dumps(run.config, indent=2, ensure_ascii=False) if run.config else "",
        "environment": run.environment,
    }


def summaries(run: RunFolder) -> dict[str, Json]:
    """Summaries of each evaluated set: from `results.json`, else computed from scored rows.

    The order is `test`, `valid`, other sets by name, `train_probe`: the most telling set first.
    """
    known = run.results.get("sets") or _from_rows(run)
    order = {"test": 0, "valid": 1, "train_probe": 3}
    return {name: known[name] for name in sorted(known, key=lambda name: (order.get(name, 2), name))}


def primary_set(sets: Mapping[str, Json]) -> str | None:
    """Name of the set for the verdict: the first with a decided judgment; None without such a set."""
    return next((name for name, figures in sets.items() if figures["accuracy"]["value"] is not None), None)


def scored_rows(run: RunFolder, name: str) -> list[ScoredComparison]:
    """Rows of a set, scored by the best model, or by the last model of a run without a best model."""
    return run.evals.get(f"{name}-best") or run.evals.get(f"{name}-last") or []


def _from_rows(run: RunFolder) -> dict[str, Json]:
    """Summaries computed from scored rows, for a run without `results.json`."""
    loss = run.config.get("loss", {})
    settings = {"beta": loss.get("beta", 1.0), "weight_by": loss.get("weight_by", "prompt")}
    # Rows of step 0 are scores before training, and would be shown as a result.
    names = {stem.removesuffix("-best").removesuffix("-last") for stem in run.evals if not stem.endswith("-step-0")}
    rows = {name: scored_rows(run, name) for name in names}
    return {name: {**summarize(each, **settings), **benchmark_figures(each)} for name, each in rows.items()}


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    """Facts under the title: (name, value), unknown facts left out."""
    model = run.config.get("model", {})
    origin = model.get("path") or f"{model.get('config', {}).get('model_type', 'unknown')}, from scratch"
    facts = {
        "model": origin if model else None,
        "parameters": _known(run.results.get("parameters"), number),
        "steps": _known(run.results.get("steps"), number),
        "interpolated": _known(run.results.get("interpolation"), _interpolated),
        "time": _known(run.results.get("seconds"), duration),
        "device": run.environment.get("device"),
        "engine": run.results.get("engine"),
        "seed": run.config.get("seed"),
        "bradley": run.environment.get("bradley"),
    }
    return [(name, str(fact)) for name, fact in facts.items() if fact is not None]


def _interpolated(point: Json) -> str:
    return f"at step {number(point['step'])}, epoch {point['epoch']:.3g}"


def _known(value: Any, write: Any) -> str | None:
    return None if value is None else str(write(value))


def _verdict(name: str, figures: Json, best: Json | None) -> Json:
    """Headline of the page: accuracy beside its rivals, in a chart and in sentences."""
    rule, length = length_rule(figures)
    rows = [("this model", "model", figures["accuracy"]), (rule, "rival", length)]
    if figures.get("ceiling"):
        rows.append(("the source's own scores (ceiling)", "rival", figures["ceiling"]))
    shown = [(label, kind, interval, percent(interval["value"])) for label, kind, interval in rows if interval]
    sentences = [
        *([DEGENERATE] if figures.get("degenerate") else []),
        against_chance(figures["accuracy"]),
        *against_length(figures),
        *against_ceiling(figures),
        *calibration_sentences(figures),
    ]
    return {
        "set": name,
        "figures": figures,
        "rows": shown,
        "scale": accuracy_scale([interval for _, _, interval, _ in shown]),
        "sentences": [*sentences, SELECTED] if name == "valid" and _selects(best) else sentences,
    }


def _selects(best: Json | None) -> bool:
    """Return True for a best step chosen by a figure; `train.select_by = "last"` chooses nothing."""
    return bool(best) and (best or {}).get("metric") != "last"


def _history(events: Sequence[Json]) -> Json:
    """Figures of all evaluations by step and set."""
    names = list(dict.fromkeys(event["set"] for event in events if event["kind"] == "eval"))
    steps: dict[int, dict[str, Json]] = {}
    for event in events:
        if event["kind"] == "eval":
            prefix = f"eval/{event['set']}/rm/"
            figures = {key.removeprefix(prefix): value for key, value in event.items() if key.startswith(prefix)}
            steps.setdefault(event["step"], {})[event["set"]] = figures
    return {"sets": names, "steps": steps}


def _groups(name: str, figures: Json) -> list[Json]:
    """Tables of accuracy by tag and by source, the least accurate value first."""
    tables = {**figures.get("by_tag", {}), "source": figures.get("by_source", {})}
    return [
        {"set": name, "tag": tag, "rows": rows, "scale": accuracy_scale([row for _, row in rows])}
        for tag, values in tables.items()
        if (rows := sorted(values.items(), key=lambda item: (item[1]["value"] is None, item[1]["value"], item[0])))
    ]


def _known_benchmark(figures: Json) -> bool:
    """Return True for a set with figures of a benchmark; a run of a later version may have others."""
    return (figures.get(TAG) or {}).get("benchmark") in SUITES


def _benchmark(name: str, figures: Json) -> Json:
    """Table of a benchmark's headline figures, on an axis of their own."""
    found = figures[TAG]
    shown = [figure for _, figure in headlines(found)]
    about = {"scheme": found["scheme"], "notes": found["notes"], "title": SUITES[found["benchmark"]].title}
    return {"set": name, "figures": shown, "scale": accuracy_scale(shown), **about}
