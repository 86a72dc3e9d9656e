"""Runs as users hold them: `Run`, a run folder with the model and the comparisons."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.load import read_config
from ..errors import DataError, UserError
from ..runs.run import RunFolder

if TYPE_CHECKING:
    from ..data.load import Splits
    from ..scoring.reward_model import RewardModel


class Run(RunFolder):
    """Run, as returned by `bradley.train` and `bradley.read_run`: figures, scored rows, comparisons and model.

    Attributes:
        folder: the run folder.
        model: folder of the best model.
        results: content of `results.json`: final figures of every evaluation set in `sets`, the best step in `best`.
        config, environment, data_report: content of the JSON files with these names.
        events: lines of `metrics.jsonl`, each with a `kind` ("train" or "eval") and a `step`, in order of step.
        timing: lines of `timing.jsonl`, each with at least `step` and `seconds_since_start`.
        distributions: lines of `eval/distributions.jsonl`: `step`, `set`, and histograms of `chosen` and `rejected`.
        samples: lines of `eval/samples.jsonl`: `step`, `set`, and `rows`, comparisons with texts and scores.
        evals: scored rows by file name without ending, such as "valid-best".
        examples: entries of `examples.json`, the largest error first.

    Each part is read on first use. Only `results` is needed for a finished run; a missing part is empty.

    Example:
        run = bradley.train("preset:quickstart", output="runs/x", sanity=True)
        print(run.summary())
        scores = [row.scores for row in run.rows("valid")]
        texts = run.splits().evals["valid"]
        model = run.reward_model()
    """

    def __init__(self, folder: Path, results: dict[str, Any] | None = None, splits: "Splits | None" = None) -> None:
        super().__init__(folder, results)
        self._splits = splits
        self._reward_model: RewardModel | None = None

    def reward_model(self) -> "RewardModel":
        """Load the best model on the CPU, once; `bradley.RewardModel.from_pretrained(run.model)` has more options.

        Raises:
            CheckpointError: there is no model yet, or the folder is damaged.
        """
        if self._reward_model is None:
            from ..scoring.reward_model import RewardModel

            self._reward_model = RewardModel.from_pretrained(self.model)
        return self._reward_model

    def splits(self) -> "Splits":
        """Return the comparisons of the run; a run read from a folder reads the data again, once.

        Raises:
            UserError: rows were given in memory, and this is not the process that trained.
            DataError: a source has changed since the run, or cannot be read.
        """
        if self._splits is None:
            self._splits = read_splits(self)
        return self._splits


def read_run(folder: Path | str) -> Run:
    """Read a run folder, of a finished or a running run.

    Args:
        folder: folder written by `bradley.train` or `bradley train`, such as `runs/x`.

    Raises:
        UserError: `folder` is not a run folder, because `metrics.jsonl` is missing.
        CheckpointError: the run has ended, and a file has changed since, or is gone.
        DataError: a file is broken; the message names file and line.

    Example:
        run = bradley.read_run("runs/x")
        losses = {event["step"]: event["train/rm/loss"] for event in run.events if event["kind"] == "train"}
        print(losses, len(run.evals["valid-best"]))
    """
    run = Run(Path(folder))
    run.read_all()
    return run


def read_splits(run: Run) -> "Splits":
    """Load the comparisons of a run again, from the sources named in its configuration; raises as `Run.splits`."""
    from ..data.diagnostics import diagnose
    from ..data.load import load_splits

    recorded = _sources(run.data_report)
    memory = [name for name, sources in recorded.items() if any(path == f"{name} rows" for path, *_ in sources)]
    if memory:
        raise UserError(
            f"the rows of {', '.join(memory)} were given in memory, and {run.folder} does not hold the rows",
            "load the same rows, and call bradley.load_splits",
        )
    config = read_config(run.config)
    splits = load_splits(config.data, config.seed)
    # A renderer needs the model, and only the matching of lengths needs a renderer.
    matched = config.data.diagnostic == "length_matched"
    splits = diagnose(splits, config.data, run.reward_model().scorer.loaded.renderer if matched else None)
    if _sources(splits.report) != recorded:
        raise DataError(
            f"the data of {run.folder} have changed since the run", "put back the sources named in data_report.json"
        )
    return splits


def _sources(report: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Path, rows and hash of every source, by split."""
    return {
        name: [(source.get("path"), source.get("rows"), source.get("sha256")) for source in split["sources"]]
        for name, split in (report.get("splits") or {}).items()
        if split.get("sources")
    }
