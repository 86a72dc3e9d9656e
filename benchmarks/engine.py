"""Time of a training step on each of several engines, on the same micro-batches in turn.

    python benchmarks/engine.py DATA [--engines plain,segments] [--device cpu] [--precision float32] [--steps 6]
        [--warmup 1] [--threads 1] [--config JSON] [--max-tokens 512] [--budget 8192] [--liger] [--profile]

DATA is any preference file, or `synthetic:K`, comparisons of K responses of 30 to 120 tokens after a prompt of 100 to
400. The model is a 10M Llama shape unless --config says otherwise. Each engine runs a micro-batch `--warmup` times
before the time that counts. Prints for each: seconds of forward and backward, how many times faster than the first
engine, tokens in a second, each counted once, the share of the device's measured matrix products (6 x the weights
of matrices x tokens), and how far scores and gradients are from those of the first.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from trial import llama
from turns import matmul_flops

from bradley.config import Data, Model, Render
from bradley.data.load import load_splits
from bradley.data.micro_batches import Limit
from bradley.data.plan import make_plan
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import texts_of, train_tokenizer
from bradley.losses import bradley_terry
from bradley.model.build import build_model
from bradley.model.choose_engine import choose_engine
from bradley.model.cost import load_on, matrix_weights
from bradley.model.engine.batch import collate
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

SHAPE = llama(320, 8, 5, 864)


def synthetic(responses: int) -> list[Comparison]:
    """Comparisons of random letters, which the tokenizer mostly reads one by one."""
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        return "".join(map(chr, rng.integers(97, 123, int(rng.integers(low, high)))))

    rows = []
    for number in range(200):
        prompt = (Message("user", text(100, 400)),)
        answers = tuple(Response((Message("assistant", text(30, 120)),)) for _ in range(responses))
        judgments = tuple(Judgment(0, k) for k in range(1, responses))
        rows.append(Comparison(str(number), prompt_key(prompt), prompt, answers, judgments))
    return rows


def now(device: torch.device) -> float:
    """The time at which the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=["plain", "segments"])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--budget", type=int, default=8192)
    parser.add_argument("--liger", action="store_true")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def rows_of(data: str) -> list[Comparison]:
    """The comparisons of a file, or made ones."""
    kind, _, count = data.partition(":")
    if kind == "synthetic":
        return synthetic(int(count))
    return list(load_splits(Data(train=data, valid_share=0.0), 0).train)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    rows = rows_of(args.data)
    tokenizer = train_tokenizer(texts_of(rows), 4096)
    shape = {**SHAPE, **args.config}
    settings = Model(config=shape, tokenizer="train", precision=args.precision, engine="plain", liger=args.liger)
    model = build_model(settings, tokenizer, 0, args.device).model
    for engine in args.engines:
        choose_engine(model, engine, args.max_tokens)  # an error where it cannot run
    renderer = Renderer(tokenizer, Render(max_tokens=args.max_tokens), causal=True)
    store = build_store(rows, renderer, training=True)
    weights = store.judgment_weights("prompt")
    plan = make_plan(
        store, load_on(model, store), Limit(args.budget, strict=False), batch_size=32, seed=0, max_steps=args.steps
    )
    pieces = [chosen for step in plan.steps() for chosen in step.micro_batches]
    full = int(store.full_lengths().sum())
    print(f"{Path(args.data).name}: {len(store)} comparisons of {np.diff(store.first_response).mean():.1f} responses;")
    print(f"tokens {full} with every prompt repeated, {len(store.tokens)} once ({full / len(store.tokens):.2f}x)")

    def run(engine: str, chosen: np.ndarray) -> tuple[float, torch.Tensor, torch.Tensor]:
        model.use(engine)
        model.zero_grad()
        batch = collate(store, chosen, weights).to(args.device)
        began = now(args.device)
        scores = model(batch)
        bradley_terry(scores, batch.targets).sum.backward()
        took = now(args.device) - began
        return took, scores.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    seconds = dict.fromkeys(args.engines, 0.0)
    apart = {engine: [0.0, 0.0] for engine in args.engines}
    for chosen in pieces:
        first = None
        for engine in args.engines:
            for _ in range(args.warmup):
                run(engine, chosen)
            took, scores, gradient = run(engine, chosen)
            first = first or (scores, gradient)
            seconds[engine] += took
            differences = (
                (scores - first[0]).abs().max() / first[0].abs().max(),
                (gradient - first[1]).norm() / first[1].norm(),
            )
            apart[engine] = [max(pair) for pair in zip(apart[engine], map(float, differences), strict=True)]
    tokens = sum(len(collate(store, chosen, weights).tokens) for chosen in pieces)
    work = 6.0 * matrix_weights(model.network) * tokens / matmul_flops(args.device.type, args.precision)
    print(f"{'engine':10} {'seconds':>8} {'faster':>7} {'tokens/s':>9} {'of peak':>8} {'scores':>8} {'gradient':>8}")
    for engine, took in seconds.items():
        figures = f"{took:8.2f} {seconds[args.engines[0]] / took:6.2f}x {tokens / took:9.0f} {work / took:8.1%}"
        print(f"{engine:10} {figures} {apart[engine][0]:8.1e} {apart[engine][1]:8.1e}")
    if args.profile:
        with torch.profiler.profile() as profile:
            run(args.engines[-1], pieces[0])
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=50))


if __name__ == "__main__":
    main()
