"""File names of a run folder, and marks by which such a folder is known. No other module spells these names.

runs/NAME/
  run.json                   Identity of the run, and every start (runs/record).
  status.json                State of the run, for watching programs (runs/status).
  .lock                      Process writing in the folder (common/lock).
  attempts.json              Count of starts without a new checkpoint (runs/starts).
  config.toml, config.json   Configuration as given, and as resolved.
  environment.json           Versions, device, engine.
  data_report.json           Use of every row and token.
  samples.json               First rows of every set, decoded.
  metrics.jsonl              Events of training and evaluation; `metrics.csv` is a table of the main figures.
  timing.jsonl               Seconds and tokens of every phase.
  eval/                      Scored rows, samples and distributions of evaluations.
  checkpoints/step-NNNNNN/   Model folder, `training/`, `manifest.json` (runs/checkpoints, runs/manifest).
  model/                     The best model.
  results.json               Final figures of every evaluation set.
  examples.json              Judgments with the largest errors, with texts.
  plots/, report.html        Figures and report.
  logs/, tensorboard/        Output of every further process; events for TensorBoard.
"""

from ..common.ownership import Mark

RECORD, STATUS, STARTS = "run.json", "status.json", "attempts.json"
CONFIG_TOML, CONFIG, ENVIRONMENT = "config.toml", "config.json", "environment.json"
DATA_REPORT, SAMPLES = "data_report.json", "samples.json"
METRICS, METRICS_CSV, TIMING = "metrics.jsonl", "metrics.csv", "timing.jsonl"
EVAL = "eval"
EVAL_SAMPLES, EVAL_DISTRIBUTIONS = "samples.jsonl", "distributions.jsonl"
"""Files in `eval/` other than scored rows."""
CHECKPOINTS, INDEX, MANIFEST, STATE = "checkpoints", "index.json", "manifest.json", "training"
"""Folder of checkpoints with its index; in each checkpoint, the manifest and the folder with the training state."""
MODEL = "model"
RESULTS, EXAMPLES = "results.json", "examples.json"
PLOTS, REPORT = "plots", "report.html"
LOGS, TENSORBOARD = "logs", "tensorboard"

SELECTION = "valid"
"""Evaluation set selecting the best checkpoint; every other set is only reported."""
PROBE = "train_probe"
"""Evaluation set drawn from the training comparisons; high accuracy here means interpolated training data."""
INTERPOLATED = f"eval/{PROBE}/rm/interpolated_at"
"""Field of the probe's lines in `metrics.jsonl`: step of the interpolation point, or null before one is known."""
TEST = "test"
"""Evaluation set scored a single time, at the end."""


RUN_MARKS = (
    Mark(RECORD, frozenset({"identity", "starts"})),
    Mark(STARTS, frozenset({"step", "starts"})),
    Mark(STATUS, frozenset({"state", "code", "what", "where", "fix"})),
)
"""Files by which a folder is known as a run of ours, begun or ended. The folder `checkpoints/` alone is no sign."""
CHECKPOINT_MARK = Mark(MANIFEST, frozenset({"step", "files", "best", "facts"}))
"""File by which a folder is known as a checkpoint."""


def rows_file(name: str, label: str) -> str:
    """Return the name of the file in `eval/` with the scored rows of set `name` at `step-0`, `best` or `last`."""
    return f"{name}-{label}.jsonl"


def step_folder(step: int) -> str:
    """Return the name of a step's folder in `checkpoints/`: `step-000120`."""
    return f"step-{step:06d}"


def rank_log(rank: int) -> str:
    """Return the name of the file in `logs/` with the output of process `rank`."""
    return f"rank-{rank}.log"
