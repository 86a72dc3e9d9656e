"""bradley: train, evaluate and use reward models from preference data. This module holds the public names.

`import bradley` takes milliseconds: PyTorch, transformers and pydantic are imported by the first call using them.
"""

# ruff: noqa: E402
import sys

# No code runs that the user did not name. `python -m bradley` looks for modules in the current folder first, and would
# import a file there such as `argparse.py`. While Python locates a module given by -m, `sys.argv[0]` is "-m".
_started = sys.orig_argv[-len(sys.argv)] if sys.argv[:1] == ["-m"] and not sys.flags.safe_path else ""
if _started.removeprefix("-m").partition(".")[0] == "bradley":
    del sys.path[0]

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import (
    EXIT_CODES,
    BradleyError,
    CheckpointError,
    DataError,
    DiskError,
    DivergedError,
    HubError,
    Preempted,
    RankError,
    RunFolderError,
    UserError,
)
from .records import Comparison, Judgment, Message, Rejected, Response, ScoredComparison

if TYPE_CHECKING:
    from .config import Config, Data, Model, Render
    from .data.formats import to_comparisons
    from .data.load import load_splits
    from .data.preview import preview
    from .data.scored import read_scores
    from .evaluate.compare import compare
    from .evaluate.evaluation import evaluation
    from .evaluate.power import pairs_needed
    from .evaluate.summary import summarize
    from .evaluate.temperature import fit_temperature
    from .export.folder import export_model
    from .model.folder.save_load import load_model
    from .report.page import plot_run, write_report
    from .scoring.reward_model import RewardModel, score_comparisons
    from .training.results import Run, read_run
    from .training.tracking.log_lines import METRIC_DEFINITIONS

    __version__: str

__all__ = [
    "EXIT_CODES",
    "METRIC_DEFINITIONS",
    "BradleyError",
    "CheckpointError",
    "Comparison",
    "Config",
    "Data",
    "DataError",
    "DiskError",
    "DivergedError",
    "HubError",
    "Judgment",
    "Message",
    "Model",
    "Preempted",
    "RankError",
    "Rejected",
    "Render",
    "Response",
    "RewardModel",
    "Run",
    "RunFolderError",
    "ScoredComparison",
    "UserError",
    "__version__",
    "compare",
    "evaluation",
    "export_model",
    "fit_temperature",
    "load_model",
    "load_splits",
    "pairs_needed",
    "plot_run",
    "preview",
    "read_run",
    "read_scores",
    "score_comparisons",
    "summarize",
    "to_comparisons",
    "train",
    "write_report",
]
HOMES = {
    "Config": "config",
    "Data": "config",
    "METRIC_DEFINITIONS": "training.tracking.log_lines",
    "Model": "config",
    "Render": "config",
    "RewardModel": "scoring.reward_model",
    "Run": "training.results",
    "compare": "evaluate.compare",
    "evaluation": "evaluate.evaluation",
    "export_model": "export.folder",
    "fit_temperature": "evaluate.temperature",
    "load_model": "model.folder.save_load",
    "load_splits": "data.load",
    "pairs_needed": "evaluate.power",
    "plot_run": "report.page",
    "preview": "data.preview",
    "read_run": "training.results",
    "read_scores": "data.scored",
    "score_comparisons": "scoring.reward_model",
    "summarize": "evaluate.summary",
    "to_comparisons": "data.formats",
    "write_report": "report.page",
}
"""Module of each public name imported on first use."""

Rows = Iterable[dict[str, Any] | Comparison]


def train(
    config: "Config | Mapping[str, Any] | str | Path",
    *,
    train: Rows | None = None,
    valid: Rows | None = None,
    test: Rows | None = None,
    eval_sets: Mapping[str, Rows] | None = None,
    output: str | Path | None = None,
    progress: Literal["bar", "quiet", "json"] = "quiet",
    sanity: bool = False,
    resume: bool = False,
    allow_change: Sequence[str] = (),
) -> "Run":
    """Train, evaluate and report a reward model, and return the finished run.

    Example:
        run = bradley.train("preset:quickstart", output="runs/x")
        print(run.summary())

    Args:
        config: a `Config`, nested tables such as `{"optim": {"lr": 1e-4}}`, the path of a TOML file, or the name of a
            configuration that comes with bradley, such as `preset:quickstart`.
        train, valid, test: rows or comparisons in memory, instead of the files named in the configuration; any
            iterable of dicts, such as a dataset of the library `datasets`.
        eval_sets: named evaluation sets in memory, beside or instead of the sets in `data.eval_sets`.
        output: run folder, which must not hold a run yet; by default `runs/<time>`.
        progress: `bar`, `quiet` or `json`, all on stderr.
        sanity: run every stage on 64 comparisons, in seconds.
        resume: resume the run in `output`, if any, from the newest whole checkpoint; return a finished run unchanged.
        allow_change: names of settings, or of other parts of `run.json`, that may differ from the original run.

    Raises:
        BradleyError: bad input, each kind with a separate exit code; no folder is made before every check has passed.
            A stop request to the process, Ctrl-C included, raises `Preempted` after the training state is saved.
    """
    from .common.ownership import named
    from .config import Config
    from .config.load import load_config, read_config
    from .config.toml import config_file, read_source
    from .training.run import train as run

    source = ""
    if isinstance(config, str | Path):
        path = config_file(config)
        config, source = load_config(path, {}), read_source(path)
    elif not isinstance(config, Config):
        config = read_config(config)
    folder = None if output is None else named(output)
    return run(
        config,
        train=train,
        valid=valid,
        test=test,
        eval_sets=eval_sets,
        output=folder,
        progress=progress,
        sanity=sanity,
        source=source,
        resume=resume,
        allow_change=allow_change,
    )


# A type checker would take any name from here, and find no misspelt one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in HOMES:
            from importlib import import_module

            return getattr(import_module(f".{HOMES[name]}", __name__), name)
        if name == "__version__":
            from .common.version import version

            return version()
        raise AttributeError(f"module 'bradley' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
