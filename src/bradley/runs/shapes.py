"""Kinds of the values in the JSON files of a run folder, checked whenever such a file is read back.

`common.json_files.read_json` and `check_shape` take these shapes. Keys that a shape does not name may hold anything.
Keys are required only where every version of bradley has written the key.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict

Number = float
"""A JSON number; `check_shape` accepts an integer for a float, and no bool."""


class Start(TypedDict):
    """A start of a run, in `run.json`."""

    step: int
    changed: dict[str, Any]


class Record(TypedDict):
    """`run.json`."""

    format: NotRequired[int]
    identity: dict[str, dict[str, Any]]
    starts: list[Start]
    record_sha256: NotRequired[str]


class Threads(TypedDict):
    """Entry `threads` of the identity in `run.json`."""

    number: int


class Status(TypedDict):
    """`status.json`; `files` holds SHA-256 by file name, in a run ended well by a bradley that hashes its files."""

    state: str
    code: int | None
    what: NotRequired[str]
    fix: NotRequired[str]
    files: NotRequired[dict[str, str]]
    status_sha256: NotRequired[str]


class Starts(TypedDict):
    """`attempts.json`."""

    step: int | None
    starts: int


class FileEntry(TypedDict):
    """A file in the manifest of a checkpoint."""

    sha256: str
    bytes: int


class Manifest(TypedDict):
    """`manifest.json` of a checkpoint."""

    format: int
    step: int
    files: dict[str, FileEntry]
    best: int
    facts: dict[str, Any]


class JudgmentRow(TypedDict):
    """A judgment in a scored row."""

    better: int
    worse: int
    probability: NotRequired[Number]
    margin: NotRequired[Number | None]
    weight: NotRequired[Number]


class ScoredRow(TypedDict):
    """A line of `eval/SET-LABEL.jsonl`."""

    id: str
    prompt_key: str
    scores: list[Number]
    tokens: list[int]
    response_tokens: list[int]
    truncated: list[bool]
    judgments: list[JudgmentRow]
    source_scores: list[Number] | None
    source: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    beta: NotRequired[Number | None]
    scale: NotRequired[Number | None]
    length_unit: NotRequired[str]


class EventLine(TypedDict):
    """A line of `metrics.jsonl`."""

    kind: str
    step: int
    set: NotRequired[str]


class TimingLine(TypedDict):
    """A line of `timing.jsonl`."""

    step: int
    seconds_since_start: Number


class Histogram(TypedDict):
    """B + 1 edges and B counts."""

    edges: list[Number]
    counts: list[Number]


class Side(Histogram):
    """Scores of a side in a line of `eval/distributions.jsonl`."""

    p05: NotRequired[Number]
    p25: NotRequired[Number]
    p50: NotRequired[Number]
    p75: NotRequired[Number]
    p95: NotRequired[Number]


class DistributionLine(TypedDict):
    """A line of `eval/distributions.jsonl`."""

    step: int
    set: str
    chosen: Side
    rejected: Side


class SampleRow(TypedDict):
    """A comparison in a line of `eval/samples.jsonl`."""

    id: NotRequired[str]
    prompt: NotRequired[str]
    chosen: NotRequired[str]
    rejected: NotRequired[str]
    chosen_score: Number
    rejected_score: Number
    correct: NotRequired[bool | None]


class SamplesLine(TypedDict):
    """A line of `eval/samples.jsonl`."""

    step: int
    set: str
    rows: list[SampleRow]


class Measured(TypedDict):
    """An accuracy with the 95 % interval."""

    value: Number
    low: Number
    high: Number
    n: int
    clusters: int


class Unmeasured(TypedDict):
    """An accuracy without a decided judgment."""

    value: None
    n: int


Interval = Measured | Unmeasured


class Margin(TypedDict):
    """Quantiles of the score differences."""

    mean: Number | None
    std: Number | None
    p05: Number | None
    p95: Number | None


class Bin(TypedDict):
    """A bin of the calibration."""

    low: Number
    high: Number
    n: int
    confidence: Number | None
    accuracy: Number | None


class Calibration(TypedDict):
    """Calibration of a set."""

    ece: Number | None
    bins: list[Bin]


class BenchmarkFigure(TypedDict):
    """A figure of a benchmark."""

    name: str
    scheme: str
    value: Number | None
    low: Number | None
    high: Number | None
    n: int
    clusters: int


class Benchmark(TypedDict):
    """Figures of a set that is a benchmark."""

    benchmark: str
    scheme: str
    figures: list[BenchmarkFigure]
    notes: list[str]


class Figures(TypedDict):
    """Summary of an evaluation set in `results.json`."""

    accuracy: Interval
    nll: Number | None
    margin: Margin
    length: NotRequired[Interval | None]
    above_length: NotRequired[Interval | None]
    ceiling: NotRequired[Interval | None]
    degenerate: NotRequired[bool]
    calibration: NotRequired[Calibration | None]
    length_difference: NotRequired[dict[str, Any] | None]
    by_tag: NotRequired[dict[str, dict[str, Interval]]]
    by_source: NotRequired[dict[str, Interval]]
    benchmark: NotRequired[Benchmark]


class Best(TypedDict):
    """Best step in `results.json`."""

    step: int
    metric: NotRequired[str]


class InterpolationPoint(TypedDict):
    """First evaluation at which a run past interpolation was at the threshold, in `results.json`."""

    step: int
    epoch: Number
    value: Number


class Results(TypedDict):
    """`results.json`, as read for the report: each part may be missing."""

    interpolation: NotRequired[InterpolationPoint | None]
    best: NotRequired[Best]
    sets: NotRequired[dict[str, Figures]]
    diagnostic: NotRequired["DiagnosticResult | None"]
    parameters: NotRequired[int | None]
    steps: NotRequired[int | None]
    seconds: NotRequired[Number | None]


class DiagnosticResult(TypedDict):
    """Entry `diagnostic` of `results.json`: the verdict of a run with `data.diagnostic`."""

    name: str
    set: str
    verdict: str
    text: str


class FinalResults(TypedDict):
    """`results.json` of a finished run, as read for the summary."""

    best: Best
    sets: dict[str, Figures]
    headline: str
    compute: str
    diagnostic: NotRequired[DiagnosticResult | None]


class Turn(TypedDict):
    """A turn of a conversation."""

    role: str
    content: str


class Example(TypedDict):
    """An entry of `examples.json`."""

    set: str
    id: str
    tags: NotRequired[dict[str, str] | None]
    prompt: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    chosen_score: Number
    rejected_score: Number


class SourceEntry(TypedDict):
    """A source in `data_report.json`."""

    path: NotRequired[str]
    format: NotRequired[str]
    rows: NotRequired[int]
    sha256: NotRequired[str | None]


class Tokens(TypedDict):
    """Token counts of a split in `data_report.json`."""

    prompt: NotRequired[dict[str, Any] | None]
    response: NotRequired[dict[str, Any] | None]
    histograms: NotRequired[dict[str, Histogram] | None]
    ledger: NotRequired[dict[str, dict[str, Any]] | None]


class Reason(TypedDict):
    """Rows of a split with a fault of a kind, in `data_report.json`."""

    examples: NotRequired[list[Any]]


class Split(TypedDict):
    """A split in `data_report.json`."""

    sources: NotRequired[list[SourceEntry] | None]
    rejected: NotRequired[dict[str, Reason] | None]
    findings: NotRequired[dict[str, Reason] | None]
    tokens: NotRequired[Tokens | None]


class DataReport(TypedDict):
    """`data_report.json`."""

    splits: NotRequired[dict[str, Split] | None]


class ModelSettings(TypedDict):
    """Section `model` of `config.json`."""

    path: NotRequired[str | None]
    config: NotRequired[dict[str, Any]]


class LossSettings(TypedDict):
    """Section `loss` of `config.json`."""

    beta: NotRequired[Number]
    weight_by: NotRequired[str]


class Settings(TypedDict):
    """`config.json`, as read for the report."""

    model: NotRequired[ModelSettings]
    loss: NotRequired[LossSettings]


class ModelCard(TypedDict):
    """`model/bradley.json`, as read for the hashes of the weights."""

    weights_sha256: dict[str, str]
