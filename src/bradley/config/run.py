"""Settings of the course of a run: steps, evaluation, what is written."""

import re
from typing import Annotated, Literal

from pydantic import Field

from .base import Count, NotNegative, Positive, Section, Share, Words


class Train(Section):
    """Steps, batches, selection and stopping."""

    batch_size: Positive = 32
    """Comparisons per optimizer step, whatever their number of responses."""
    micro_batch_tokens: Count = 0
    """Most tokens that go through the model at once, as its engine runs them: a shared prompt once, or padded rows with
    their padding. A comparison is never split. 0: what suits the device, 2,048 on a CPU and 8,192 on CUDA, and a larger
    comparison goes alone."""
    micro_batch_comparisons: Count = 0
    """Most comparisons that go through the model at once in training, besides the limit in tokens (0: only tokens
    count)."""
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the training comparisons (used when `max_steps` is 0)."""
    max_steps: Count = 0
    """Optimizer steps (0: as many as `epochs` needs)."""
    stop_after: Count = 0
    """Stop after this many steps, with the learning rates of the whole run until there (0: do not)."""
    early_stopping: Literal["off", "nll", "accuracy"] = "off"
    """Stop when this figure of the validation set no longer improves."""
    patience: Positive = 5
    """Evaluations without improvement before an early stop."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change that counts as an improvement for early stopping."""
    past_interpolation: Share = 0.0
    """Stop only when the mean probability of the labels of the train probe reaches this, 0.999 for example: training
    past the point where the training data are interpolated (0: off). Refused together with what bounds the margin."""
    select_by: Literal["nll", "accuracy"] = "accuracy"
    """Figure of the validation set that chooses the best checkpoint."""
    divergence_stop: bool = True
    """End a run that has diverged: the running loss has been above 5, and above three times that of the first step, for
    20 steps; or, after the warm-up, all scores have been equal for 20, or the running accuracy has been back at chance
    for 50. Off: it trains on, and the results say when and why it counts as diverged."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA when there is one."""
    time_limit: NotNegative = 0.0
    """Minutes after which the run is saved and stops with exit code 75, as on SIGTERM (0: no limit)."""
    threads: Count = 0
    """CPU threads of PyTorch (0: its own choice, but no more than the cores it may run on and, on cgroup v2, the quota
    of its container)."""


class Eval(Section):
    """When and on what the model is evaluated while it trains."""

    every: Count = 0
    """Steps between evaluations (0: ten over the run). Step 0 and the last step are always evaluated."""
    train_probe: Count = 256
    """Size of the fixed sample of training comparisons evaluated beside the validation set (0: none)."""


class Log(Section):
    """What is written while the model trains, besides `metrics.jsonl` and `metrics.csv`."""

    every: Positive = 10
    """Steps between train lines in `metrics.jsonl`."""
    window: Positive = 50
    """Steps that the windowed train figures average over."""
    trackers: Words = ""
    """Where else figures go, any of: `tensorboard` (extra `tensorboard`), `wandb` (extra `wandb`; WANDB_MODE=offline
    keeps it on this machine), `rm_diag` (one `RM_DIAG {...}` line per evaluation on stderr), `key_value` (one line of
    `name=value` per event on stderr, for clusters that read metrics from the log)."""
    project: str = "bradley"
    """Project of the `wandb` tracker."""
    samples: Count = 5
    """Comparisons of each evaluation set shown with texts and scores at every evaluation, and dumped as the model reads
    them (0: none)."""
    gpu_seconds: NotNegative = 0.0
    """Seconds between readings of the GPU's load, memory and power, into `timing.jsonl` (0: none; needs the extra
    `gpu`)."""


class Checkpoint(Section):
    """When a run is saved so that it can go on; every evaluation saves it too."""

    every: Count = 0
    """Steps between checkpoints, besides those of evaluations (0: none)."""
    minutes: NotNegative = 0.0
    """Save when the last checkpoint is this many minutes old (0: do not look at the clock)."""
    keep: Positive = 2
    """Newest checkpoints that are kept, besides the best. With one alone, a disk that damages it ends the run."""
    grace_seconds: NotNegative = 30.0
    """How long whoever ends the run waits between asking and killing: 30 with Kubernetes and Slurm unless they are told
    otherwise, 120 with SageMaker, N with `#SBATCH --signal=TERM@N`. A checkpoint that takes longer is warned about, the
    first of them before the first step (0: nobody kills)."""
    exact: bool = False
    """Go on only where every bit will be as without the interruption: another number of threads, version of software,
    code or kind of processor (a CPU's by its instruction set) is an error, and not a remark."""


class Parallel(Section):
    """How the processes of a run share it. `torchrun --nproc_per_node N -m bradley train ...` starts N of them; a run
    of one process shares nothing, whatever is set here."""

    mode: Literal["replicate", "shard_optimizer_and_gradients", "shard_all", "hybrid"] = "replicate"
    """`replicate`: a copy of the model in each process. The others cut it (FSDP2): optimizer and gradients, with the
    weights whole from the forward to the backward pass (as ZeRO-2); all of it, with a layer whole only while it is
    computed (as ZeRO-3); or that among a few processes, with copies over the others."""
    processes_per_copy: Count = 0
    """Processes that share one copy of the model in the mode `hybrid` (0: those of one machine)."""
    canonical: Literal["auto", "on", "off"] = "auto"
    """Add up gradients in one fixed order, so that any number of processes gives the same bits, at equal
    `train.threads`. Only in the mode `replicate`. `auto`: on a CPU, not on CUDA, where adding up in the backward pass
    is faster."""
    parts: Positive = 8
    """Parts of a step that are added up in that order; within one, gradients are added as they come. As many processes
    have work at most, best a divisor of it. A process that is alone holds two gradients, of P each up to parts / P."""
    timeout_seconds: Positive = 600
    """How long an exchange of gradients may take before the run ends with exit code 8."""
    hang_seconds: NotNegative = 60.0
    """End a process that has made no progress for so long, or for five times the median step where that is more, with
    exit code 8 and the stacks of its threads in `logs/rank-N.log` (0: never). The first steps and checkpoints may take
    ten times as long. Only where there are several processes."""


class Hub(Section):
    """Where the finished model is uploaded to."""

    push: str = ""
    """Repository of the Hugging Face Hub, owner/name, that gets the exported model with its card and the figures of the
    run when training has ended (empty: nothing is uploaded). Name and token are checked before training starts."""
    private: bool = False
    """Make that repository a private one. A repository that is there already keeps its visibility, and a public one is
    refused."""


def repo_problem(name: str) -> str:
    """Why a text is no name of a repository on the Hub, or ''."""
    owner, slash, repo = name.partition("/")
    if not slash or not all(re.fullmatch(r"\w([\w.-]*\w)?", part, re.ASCII) for part in (owner, repo)):
        return "is no repository of the Hub, wanted owner/name of letters, digits, dots, dashes and underscores"
    if "--" in name or ".." in name or name.endswith(".git") or max(len(owner), len(repo)) > 96:
        return "is refused by the Hub: no --, no .., no .git at the end, and 96 characters at most on either side"
    return ""
