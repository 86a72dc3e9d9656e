"""Settings of the course of a run: steps, evaluation, logs, checkpoints, processes, upload."""

import re
from typing import Annotated, Literal

from pydantic import Field

from .base import MOST_STEPS, MOST_TIME, Count, NotNegative, Positive, Section, Share, Steps, Time, Words


class Train(Section):
    """Steps, batches, selection and stopping."""

    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 32
    """Comparisons per optimizer step over all processes, whatever their number of responses."""
    micro_batch_tokens: Count = 0
    """Most tokens in a micro-batch, as the engine runs them: a shared prompt once, or padded rows with padding. A
    comparison is never split; a comparison above a given limit is an error. 0: 2,048 on a CPU and 8,192 on CUDA, and a
    larger comparison goes alone."""
    micro_batch_comparisons: Count = 0
    """Most comparisons in a micro-batch of training, besides the limit in tokens (0: only tokens count)."""
    epochs: Annotated[float, Field(gt=0.0, le=10_000.0, allow_inf_nan=False)] = 1.0
    """Passes over the training comparisons (used when `max_steps` is 0)."""
    max_steps: Steps = 0
    """Optimizer steps (0: as many as `epochs` needs)."""
    stop_after: Steps = 0
    """End the run after this many steps, on the learning-rate schedule of the whole run (0: train to the last step)."""
    early_stopping: Literal["off", "nll", "accuracy"] = "off"
    """Validation figure that ends the run when `patience` evaluations bring no improvement (`off`: none)."""
    patience: Positive = 5
    """Evaluations without improvement before an early stop."""
    min_delta: NotNegative = 0.0
    """Least improvement for early stopping: only a change above this counts."""
    past_interpolation: Share = 0.0
    """Train past interpolation: end the run `interpolation_epochs` after the train probe's figure `interpolation_by`
    has reached this value, such as 0.999 (0: off). The plan may end before. Refused together with `early_stopping`, and
    with settings that bound the margin."""
    interpolation_by: Literal["mean_probability", "share_above_99"] = "mean_probability"
    """Figure of the train probe compared with `past_interpolation`: the mean probability of the labels, or the share of
    labels with a probability above 0.99."""
    interpolation_hold: Positive = 1
    """Evaluations in a row with the figure at `past_interpolation` or above. The first of these is the interpolation
    point, recorded in `results.json` and marked in the figures."""
    interpolation_epochs: Annotated[float, Field(ge=0.0, le=10_000.0, allow_inf_nan=False)] = 1.0
    """Epochs trained after the threshold was held; the run ends at the first evaluation then (0: at once)."""
    interpolation_times: Annotated[float, Field(ge=0.0, le=10_000.0, allow_inf_nan=False)] = 0.0
    """Epochs of the whole run as a multiple of the epochs done when the threshold was held, such as 3.0 (0:
    `interpolation_epochs` decides)."""
    select_by: Literal["nll", "accuracy", "last"] = "accuracy"
    """Validation figure that chooses the best checkpoint. `last`: no figure; `model/` holds the last weights."""
    divergence_stop: bool = True
    """End a diverged run with exit code 5. Diverged means: for 20 steps the running loss is above 5 and above three
    times the loss of the first step. Or, after the warm-up, all scores are equal for 20 steps, or the running accuracy
    is back at chance for 50. Off: training continues, and the results say when and why the run counts as diverged."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on; `auto` takes CUDA if available."""
    time_limit: Time = 0.0
    """Minutes until the run is saved and stops with exit code 75, as on SIGTERM (0: no limit)."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of PyTorch. 0: PyTorch's own choice, but no more than the cores available to the process and, on
    cgroup v2, the quota of its container."""


class Eval(Section):
    """Evaluation during training: times and sets."""

    every: Count = 0
    """Steps between evaluations (0: ten evaluations over the run). Step 0 and the last step are always evaluated."""
    train_probe: Count = 256
    """Size of the train probe: a fixed sample of training comparisons evaluated beside the validation set (0: none)."""


class Log(Section):
    """Output during training, besides `metrics.jsonl` and `metrics.csv`."""

    every: Positive = 10
    """Steps between train lines in `metrics.jsonl`."""
    window: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 50
    """Steps averaged by the windowed train figures."""
    trackers: Words = ""
    """Further outputs for figures, any of these. `tensorboard`: event files (extra `tensorboard`). `wandb`: Weights &
    Biases (extra `wandb`; WANDB_MODE=offline keeps figures on this machine). `rm_diag`: one `RM_DIAG {...}` line per
    evaluation on stderr. `key_value`: one line of `name=value` per event on stderr, for clusters that read metrics from
    the log."""
    project: str = "bradley"
    """Project of the `wandb` tracker."""
    samples: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Comparisons of each evaluation set shown with texts and scores at every evaluation, and dumped as read by the
    model (0: none)."""
    gpu_seconds: Time = 0.0
    """Seconds between readings of the GPU's load, memory and power, into `timing.jsonl` (0: none; needs the extra
    `gpu`). A run on a CPU says that there is nothing to read."""
    figures: bool = True
    """Draw the figures and write `report.html` at the end of the run; off, `bradley plot` does so later."""


class Checkpoint(Section):
    """Saving and resuming. Every evaluation saves a checkpoint too."""

    every: Count = 0
    """Steps between checkpoints, besides the checkpoints of evaluations (0: none)."""
    minutes: Time = 0.0
    """Save when the last checkpoint is this many minutes old (0: never by the clock)."""
    keep: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 2
    """Newest checkpoints to keep, besides the best. With 1, a disk that damages the only checkpoint ends the run."""
    grace_seconds: Time = 30.0
    """Seconds between the scheduler's stop signal and SIGKILL: 30 on Kubernetes and Slurm by default, 120 on SageMaker,
    N with `#SBATCH --signal=TERM@N`. Slower checkpoints are warned about, the first of them before the first step (0:
    never)."""
    exact: bool = False
    """Resume only if every bit will be as without the interruption. Other threads, software versions, code, order of
    gradient sums or kind of processor (a CPU's by instruction set) are an error, not a remark."""


class Parallel(Section):
    """Sharing of a run among processes.

    `torchrun --nproc_per_node N -m bradley train ...` starts N of them. A run of a single process shares nothing,
    whatever is set here.
    """

    mode: Literal["replicate", "shard_optimizer_and_gradients", "shard_all", "hybrid"] = "replicate"
    """Parallel strategy. `replicate`: a copy of the model in each process. The other modes shard (FSDP2).
    `shard_optimizer_and_gradients`: optimizer and gradients, with weights whole from the forward to the backward pass
    (as ZeRO-2). `shard_all`: everything, with a layer whole only while computed (as ZeRO-3). `hybrid`: `shard_all`
    among a few processes, with copies over the others."""
    processes_per_copy: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Processes that share a copy of the model in the mode `hybrid` (0: the processes of each machine)."""
    canonical: Literal["auto", "on", "off"] = "auto"
    """Sum gradients in a fixed order that does not depend on the number of processes: 1, 2 and 8 processes give the
    same bits at equal `train.threads`. Only in the mode `replicate`. `auto`: on for a CPU; off on CUDA, because summing
    in the backward pass is faster."""
    parts: Annotated[int, Field(gt=0, le=65_536)] = 8
    """Most parts of a step, summed one after another in the fixed order of `canonical`; within a part, gradients are
    added as computed. At most this many processes have work; best is a divisor of this number. A single process holds
    two gradients; each of P processes holds up to parts / P."""
    timeout_seconds: Annotated[int, Field(gt=0, le=int(MOST_TIME))] = 600
    """Seconds that an exchange of gradients may take before the run ends with exit code 8."""
    hang_seconds: Time = 60.0
    """Seconds without progress before a process is ended with exit code 8, or five times the median step if longer (0:
    never). The stacks of its threads go to `logs/rank-N.log`. The first steps and checkpoints may take ten times as
    long. Only in runs of several processes."""


class Hub(Section):
    """Upload of the finished model."""

    push: str = ""
    """Repository of the Hugging Face Hub, owner/name, for the exported model with its card and the run's figures. The
    upload follows the end of training (empty: no upload). Name and token are checked before training starts."""
    private: bool = False
    """Make a new repository private. An existing repository keeps its visibility, and an existing public repository is
    refused."""


def repo_problem(name: str) -> str:
    """Return the reason why a text is no name of a repository on the Hub, or ''."""
    owner, slash, repo = name.partition("/")
    if not slash or not all(re.fullmatch(r"\w([\w.-]*\w)?", part, re.ASCII) for part in (owner, repo)):
        return "is no repository of the Hub, wanted owner/name of letters, digits, dots, dashes and underscores"
    if "--" in name or ".." in name or name.endswith(".git") or max(len(owner), len(repo)) > 96:
        return "is refused by the Hub: no --, no .., no .git at the end, and 96 characters at most on either side"
    return ""
