"""Scoring speed for K responses to a prompt: bradley, Hugging Face's text-classification pipeline, and a padded loop.

    python benchmarks/score_throughput.py [--data FILE] [--responses 1,4,16] [--rows 64] [--repeats 5] [--json]

All sides score the same conversations with the same model folder, from text to scores, tokenisation included, in turn.
`bradley` has them in memory; `file` is `bradley score` without the loading of the model, from a .jsonl file to another.
The loop sorts rows by length and pads each batch to its longest; pipeline and loop take the fastest of batches of 8, 16
and 32 for them. Without --data, prompts and responses are random words, about 150 and 50; with it, the first K
responses of the comparisons that have as many and fit the limit.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from trial import SHAPES, data_settings, make_model

from bradley.common.console import Console
from bradley.common.processes import Rank
from bradley.data.load import load_splits
from bradley.data.token_store import build_store
from bradley.errors import BradleyError, DataError
from bradley.model.folder.save_load import Loaded, load_model
from bradley.records import Candidates, Comparison, Message, Response, prompt_key
from bradley.scoring.file import How, to_file
from bradley.scoring.parts import Parts
from bradley.scoring.reward_model import score_comparisons
from bradley.scoring.scorer import Scorer as Inference
from bradley.scoring.source import Input

BATCHES = (8, 16, 32)
WORDS = [f"{a}{b}" for a in ("ri", "sto", "bir", "tre", "wa", "lo") for b in ("ver", "ne", "ds", "es", "ter", "ok")]
PROMPT_WORDS, RESPONSE_WORDS = 150, 50

Scorer = Callable[[], list[float]]


def synthetic(rows: int, responses: int) -> list[Candidates]:
    """Candidates of random words, each text between half and one and a half times its usual length."""
    rng = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join(rng.choice(WORDS, int(rng.integers(words // 2, words * 3 // 2))))

    return [
        candidates(
            str(number),
            (Message("user", text(PROMPT_WORDS)),),
            [(Message("assistant", text(RESPONSE_WORDS)),) for _ in range(responses)],
        )
        for number in range(rows)
    ]


def candidates(name: str, prompt: tuple[Message, ...], responses: Sequence[tuple[Message, ...]]) -> Candidates:
    """A prompt with responses that are only scored."""
    return Candidates(name, prompt_key(prompt), prompt, tuple(map(Response, responses)))


def with_responses(rows: Sequence[Comparison], count: int, most: int) -> list[Candidates]:
    """Up to `most` prompts with exactly `count` responses, the first of those that have as many."""
    return [
        candidates(row.id, row.prompt, [response.messages for response in row.responses[:count]])
        for row in rows
        if len(row.responses) >= count
    ][:most]


def within(model: Loaded, rows: Sequence[Candidates]) -> list[Candidates]:
    """The candidates that every side reads alike: nothing is cut, for the peers know no limit, and no message
    writes out a special token, which the peers take for one."""
    limit = model.renderer.settings.max_tokens
    rendered = model.renderer.comparisons(rows)
    return [
        row
        for row, found in zip(rows, rendered, strict=True)
        if max(map(len, found.ids)) <= limit and not found.control_tokens
    ]


def bradley_scorer(model: Loaded, rows: Sequence[Candidates]) -> Scorer:
    """The product's door to inference as it comes."""
    return lambda: [score for row in score_comparisons(model, rows) for score in row.scores]


def file_scorer(model: Loaded, rows: Sequence[Candidates], place: Path) -> Scorer:
    """`bradley score` from file to file, the model at `place` being loaded."""
    folder = place.parent
    source, output = folder / f"{len(rows)}-{len(rows[0].responses)}.jsonl", folder / "scored.jsonl"
    lines = [{"prompt": chat(row.prompt), "responses": [chat(one.messages) for one in row.responses]} for row in rows]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    loaded = Inference(model)

    def score() -> list[float]:
        to_file(
            Parts(output), Input(str(source)), place, How(), lambda: loaded, Rank(), output.exists(), Console("quiet")
        )
        written = map(json.loads, output.read_text(encoding="utf-8").splitlines())
        return [score for line in written for score in line["scores"]]

    return score


def chat(messages: Sequence[Message]) -> str | list[dict[str, str]]:
    """Messages as a row has them; plain text is a string."""
    if [message.role for message in messages] == ["text"]:
        return messages[0].content
    return [{"role": message.role, "content": message.content} for message in messages]


def pipeline_scorer(network: Any, tokenizer: Any, texts: Sequence[str], batch: int) -> Scorer:
    """Hugging Face's pipeline, which pads each batch to its longest row."""
    classify: Any = pipeline("text-classification", model=network, tokenizer=tokenizer, device=network.device)
    return lambda: [found["score"] for found in classify(list(texts), batch_size=batch, function_to_apply="none")]


def loop_scorer(network: Any, tokenizer: Any, texts: Sequence[str], batch: int) -> Scorer:
    """Rows by length, longest first, each batch padded to its longest."""

    def score() -> list[float]:
        ids = tokenizer(list(texts))["input_ids"]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        scores = torch.empty(len(ids))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            padded = tokenizer.pad({"input_ids": [ids[row] for row in chosen]}, return_tensors="pt")
            with torch.inference_mode():
                logits = network(**padded.to(network.device)).logits
            scores[chosen] = logits[:, 0].float().cpu()
        return list(map(float, scores))

    return score


def timed(scorer: Scorer, device: str) -> tuple[float, list[float]]:
    """Seconds, and the scores."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    scores = scorer()  # floats on the host: nothing is left to wait for
    return time.perf_counter() - began, scores


def fastest(scorers: dict[int, Scorer], device: str) -> tuple[int, Scorer]:
    """The batch size that is fastest, each timed once after one run to warm up."""
    next(iter(scorers.values()))()
    best = min(scorers, key=lambda batch: timed(scorers[batch], device)[0])
    return best, scorers[best]


def measure(
    model: Loaded, network: Any, tokenizer: Any, rows: Sequence[Candidates], repeats: int, place: Path
) -> dict[str, Any]:
    """Median seconds of every side in turn on the same conversations, and how far scores are apart."""
    device = network.device.type
    texts = [model.renderer.text(row.prompt, response.messages) for row in rows for response in row.responses]
    store = build_store(rows, model.renderer, training=False)
    batches: dict[str, int] = {}
    sides = {"bradley": bradley_scorer(model, rows), "file": file_scorer(model, rows, place)}
    for name, make in {"pipeline": pipeline_scorer, "loop": loop_scorer}.items():
        batches[name], sides[name] = fastest(
            {batch: make(network, tokenizer, texts, batch) for batch in BATCHES}, device
        )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, list[float]] = {}
    sides["bradley"]()
    sides["file"]()
    for _ in range(repeats):
        for name, scorer in sides.items():
            took, scores[name] = timed(scorer, device)
            seconds[name].append(took)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = np.array(scores["bradley"])
    return {
        "responses": len(texts),
        "seconds": medians,
        "ranges": {name: [min(times), max(times)] for name, times in seconds.items()},
        "batches": batches,
        "engine": model.model.engine,
        "responses_per_second": {name: len(texts) / median for name, median in medians.items()},
        **{f"ratio_{name}": medians[name] / medians["bradley"] for name in batches},
        **{f"file_ratio_{name}": medians[name] / medians["file"] for name in batches},
        "unique_tokens": len(store.tokens),
        "full_tokens": int(store.full_lengths().sum()),
        "max_score_difference": max(float(np.abs(ours - np.array(scores[name])).max()) for name in (*batches, "file")),
        "score_spread": float(ours.max() - ours.min()),
    }


def line(count: int, found: dict[str, Any]) -> str:
    """One K for people."""
    sides = ", ".join(
        f"{name} {median:.2f} s ({found['ranges'][name][0]:.2f} to {found['ranges'][name][1]:.2f})"
        for name, median in found["seconds"].items()
    )
    lost = f" ({found['left_out']} comparisons not read alike left out)" if found["left_out"] else ""
    return (
        f"K = {count:<2} {found['responses']} responses{lost}, {found['full_tokens']} tokens with every prompt "
        f"repeated, {found['unique_tokens']} once; {sides}; {found['ratio_pipeline']:.2f}x the pipeline (batches of "
        f"{found['batches']['pipeline']}), {found['ratio_loop']:.2f}x the loop (of {found['batches']['loop']}), "
        f"from file to file {found['file_ratio_loop']:.2f}x; "
        f"largest difference {found['max_score_difference']:.0e} of scores that spread over {found['score_spread']:.1f}"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a preference file of any format that bradley reads")
    parser.add_argument("--responses", default="1,4,16", help="the values of K")
    parser.add_argument("--rows", type=int, default=64, help="most prompts of each K")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shape", choices=list(SHAPES), default="10M")
    parser.add_argument("--config", type=json.loads, default={}, help="JSON, over the settings of --shape")
    parser.add_argument("--max-tokens", type=int, default=1024, help="longer comparisons are left out")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU (0: PyTorch's own choice)")
    parser.add_argument("--json", action="store_true", help="print one object")
    return parser.parse_args()


def every_row(args: argparse.Namespace, counts: Sequence[int]) -> dict[int, list[Candidates]]:
    """The candidates of each K, before any limit.

    Raises:
        DataError: the file has none of some K.
    """
    if args.data is None:
        return {count: synthetic(args.rows, count) for count in counts}
    given = list(load_splits(data_settings(args.data), 0).train)
    found = {count: with_responses(given, count, args.rows) for count in counts}
    if empty := [count for count, rows in found.items() if not rows]:
        most = max(len(row.responses) for row in given)
        raise DataError(
            f"{args.data} has no comparison of {empty[0]} responses", f"give --responses with values up to {most}"
        )
    return found


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make a model, and measure each K with it."""
    counts = [int(count) for count in args.responses.split(",")]
    found = every_row(args, counts)
    longest = max(found.values(), key=len)
    make_model(longest, {**SHAPES[args.shape], **args.config}, args.max_tokens, 0, folder, args.precision)
    model = load_model(folder, args.device)
    dtype = torch.float32 if args.precision == "float32" else torch.bfloat16
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).to(args.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    results = {}
    for count, rows in found.items():
        fitting = within(model, rows)
        if not fitting:
            raise DataError(f"no comparison of K = {count} fits {args.max_tokens} tokens", "raise --max-tokens")
        results[count] = {
            "left_out": len(rows) - len(fitting),
            **measure(model, network, tokenizer, fitting, args.repeats, folder),
        }
        if not args.json:
            print(line(count, results[count]), flush=True)
    return {
        "device": args.device,
        "precision": args.precision,
        "threads": torch.get_num_threads(),
        "responses": results,
    }


def main() -> None:
    """Measure, and print what was found."""
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="bradley-trial-") as folder:
        try:
            found = run(args, Path(folder) / "model")
        except BradleyError as error:
            raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from None
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
