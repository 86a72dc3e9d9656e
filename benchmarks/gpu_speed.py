"""The last stage of `gpu.py`: speed beside TRL's trainer, and the share of the peak of the GPU."""

from pathlib import Path

from gpu_stages import Bench, Found, Rows, shape_of
from trial import SHAPES

LONG_DRAW = 2000
PEAKS = {
    "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L40": 181e12, "A40": 150e12, "A10G": 70e12,
    "A10": 125e12, "L4": 121e12, "RTX 4090": 165e12, "RTX 3090": 71e12, "A6000": 155e12,
}  # fmt: skip
"""Name of a GPU -> dense bfloat16 FLOP/s with float32 sums, by the maker's data sheet."""


def pairs_file(bench: Bench) -> Path:
    """A file of pairs of random letters, which the tokenizer mostly reads one by one."""
    import json

    from engine import synthetic

    file = bench.folder / "pairs.jsonl"
    texts = [
        {"prompt": row.prompt[0].content, "chosen": row.responses[0].messages[0].content,
         "rejected": row.responses[1].messages[0].content}
        for row in synthetic(2)[: 24 if bench.tiny else 200]
    ]  # fmt: skip
    copies = 1 if bench.tiny else LONG_DRAW // len(texts)
    lines = [{**row, "prompt": f"{n} {row['prompt']}"} for n in range(copies) for row in texts]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def peak_flops() -> float:
    """Bfloat16 FLOP/s of this GPU by its data sheet; 0 for a GPU that `PEAKS` does not name."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for known, peak in PEAKS.items() if known in name), 0.0)


def speed(bench: Bench) -> Rows:
    """Judgments per second beside TRL's trainer at the shape of a 1B model, one trainer at a time."""
    import torch
    from figures import flops, total
    from train_vs_trl import calibrate, warmed, write_pairs
    from trial import every_judgment, set_up

    gib = torch.cuda.get_device_properties(0).total_memory / 2**30 if bench.on_gpu else 0
    # 16 bytes a weight leave a card of 24 GB room for small steps alone.
    judgments, seconds = (32 if gib > 40 else 8), (0.5 if bench.tiny else 16.0)
    trial, store = set_up(
        str(pairs_file(bench)), bench.folder, shape_of(bench) if bench.tiny else SHAPES["1B"], 768, judgments,
        device=bench.device, precision="auto", threads=0, lr=1e-5, seed=0,
    )  # fmt: skip
    write_pairs(store, every_judgment(store, range(len(store))), trial.path("pairs"))
    size = 2 if bench.tiny else calibrate(trial, "default", [4, 16] if gib > 40 else [2, 4]).best
    turns = {}
    # One after the other: two trainers of 1B together do not fit into 24 GB.
    for kind, options in (("bradley", ()), ("default", (size,))):
        with warmed(trial, kind, *options) as arm:
            arm.turn(seconds=seconds / 4)
            turns[kind] = total([arm.turn(seconds=seconds / 2) for _ in range(2)])
    ours, theirs = turns["bradley"], turns["default"]
    yield Found("parameters without embeddings", f"{trial.parameters / 1e6:.1f}M")
    for name, turn in (("bradley", ours), (f"TRL, {size} pairs at once", theirs)):
        rates = f"{turn.judgments_per_second:.2f} judgments/s, {turn.tokens_per_second:.0f} tokens/s"
        yield Found(name, f"{rates}, peak {turn.peak_gib:.1f} GiB")
    ratio = ours.judgments_per_second / theirs.judgments_per_second
    promised = theirs.tokens_per_judgment / ours.tokens_per_judgment
    yield Found(
        "ratio to TRL, promised by the tokens", f"{ratio:.2f}, {promised:.2f}", ratio > 1 if bench.on_gpu else None
    )
    peak = peak_flops()
    for name, turn in (("bradley", ours), ("TRL", theirs)):
        done = flops(turn, trial.parameters)
        share = f"{done / peak:.1%} of {peak / 1e12:.0f} TFLOP/s" if peak else "share of peak unknown"
        yield Found(f"MFU of {name}", f"{done / 1e12:.3f} TFLOP/s, {share}")
