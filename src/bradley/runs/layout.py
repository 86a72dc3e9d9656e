"""File names of a run folder, each spelled here alone.

runs/NAME/
  run.json                   record: identity of the run, and every start       (runs/record)
  status.json                state of the run, for programs watching            (runs/status)
  .lock  attempts.json       who writes; starts without a new checkpoint        (runs/lock, runs/starts)
  config.toml  config.json   configuration as given, and as resolved
  environment.json           versions, device, engine
  data_report.json           where every row and token went
  samples.json               first rows of every set, decoded
  metrics.jsonl  metrics.csv  timing.jsonl
  eval/                      scored rows, samples and distributions of evaluations
  checkpoints/step-NNNNNN/   model folder, `training/`, `manifest.json`         (runs/checkpoints, runs/manifest)
  model/                     the best model
  results.json  examples.json  plots/  report.html
  logs/  tensorboard/
"""

RECORD, STATUS = "run.json", "status.json"
LOCK, STARTS = ".lock", "attempts.json"
CONFIG_TOML, CONFIG, ENVIRONMENT = "config.toml", "config.json", "environment.json"
DATA_REPORT, SAMPLES = "data_report.json", "samples.json"
METRICS, METRICS_CSV, TIMING = "metrics.jsonl", "metrics.csv", "timing.jsonl"
EVAL = "eval"
EVAL_SAMPLES, EVAL_DISTRIBUTIONS = "samples.jsonl", "distributions.jsonl"
"""Files in `eval/` without scored rows."""
CHECKPOINTS, INDEX, MANIFEST, STATE = "checkpoints", "index.json", "manifest.json", "training"
"""The folder of checkpoints, its index, and in each checkpoint the manifest and the folder for a resume."""
MODEL = "model"
RESULTS, EXAMPLES = "results.json", "examples.json"
PLOTS, REPORT = "plots", "report.html"
LOGS, TENSORBOARD = "logs", "tensorboard"

SELECTION = "valid"
"""Evaluation set that selects the best checkpoint; every other set is only reported."""
PROBE = "train_probe"
"""Evaluation set drawn from the training comparisons; a high figure on this set says that they are interpolated."""
TEST = "test"
"""Evaluation set scored once, at the end."""


def rows_file(name: str, label: str) -> str:
    """File in `eval/` with the scored rows of set `name` at `step-0`, `best` or `last`."""
    return f"{name}-{label}.jsonl"


def step_folder(step: int) -> str:
    """Folder in `checkpoints/` of one step: `step-000120`."""
    return f"step-{step:06d}"


def rank_log(rank: int) -> str:
    """File in `logs/` with the output of one process."""
    return f"rank-{rank}.log"
