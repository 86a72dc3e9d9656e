"""Scores of model folders through a program other than bradley, in the environment of that program.

python benchmarks/client_scores.py PROGRAM < JOBS

PROGRAM is a key of `PROGRAMS`. JOBS is a JSON list of objects: `folder`, `conversations`, `ways` (names of ways to ask;
none for all of the program) and `options` of a way. For each job there is a line of stdout after `ANSWER`, a JSON
object: for each way a list of scores, or the text of an error. This file imports nothing but the program itself.
"""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

Turns = list[dict[str, str]]
Way = Callable[[], list[float]]
ANSWER = "ANSWER "
"""Beginning of the line with the answer: some programs print lines of their own until they end."""


def transformers_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through plain transformers: padding, batch size, attention, dtype, and the pipeline.

    Options: `attention`, a list of implementations; `positions`, true for position ids beside padding on the left;
    `causal`, false to leave out padding on the left.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def load(attention: str = "", dtype: torch.dtype = torch.float32) -> Any:
        chosen = {"attn_implementation": attention} if attention else {}
        return AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype, **chosen).eval()

    def piped(**more: Any) -> list[float]:
        texts = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]
        pipe = pipeline("text-classification", model=folder, dtype=torch.float32, device="cpu")
        return [float(found["score"]) for found in pipe(texts, function_to_apply="none", **more)]

    sides = ("right", "left") if options.get("causal", True) else ("right",)
    for attention in options.get("attention", ["sdpa"]):
        model = load(attention)
        for side in sides:
            for size in (1, 8):
                positions = side == "left" and bool(options.get("positions"))
                yield (
                    f"{attention} {side} {size}",
                    lambda m=model, n=size, s=side, p=positions: padded(m, tokenizer, conversations, n, s, p),
                )
    if options.get("positions"):
        yield "left 8 without position ids", lambda: padded(load(), tokenizer, conversations, 8, "left")
    yield "bfloat16", lambda: padded(load(dtype=torch.bfloat16), tokenizer, conversations, 8)
    yield "pipeline", lambda: piped()
    yield "pipeline without special tokens", lambda: piped(add_special_tokens=False)


def sentence_transformers_ways(
    folder: str, conversations: list[Turns], options: dict[str, Any]
) -> Iterator[tuple[str, Way]]:
    """Yield ways through sentence-transformers: messages and pairs. Pairs ask the two-turn conversations alone."""
    from sentence_transformers import CrossEncoder

    pairs = [(turns[0]["content"], turns[1]["content"]) for turns in conversations if len(turns) == 2]
    for name, more in (("", {}), ("in float32, ", {"model_kwargs": {"dtype": "float32"}})):
        model = CrossEncoder(folder, device="cpu", **more)
        yield f"{name}messages", lambda m=model: m.predict(conversations, show_progress_bar=False).tolist()
        yield f"{name}pairs", lambda m=model: m.predict(pairs, show_progress_bar=False).tolist()


def vllm_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through vLLM in this process: token ids, and texts with and without special tokens."""
    from transformers import AutoTokenizer
    from vllm import LLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    model = LLM(folder, runner="pooling", dtype="float32", enforce_eager=True, max_model_len=1024, **options)

    def classified(inputs: list[Any], **more: Any) -> list[float]:
        return [float(found.outputs.probs[0]) for found in model.classify(inputs, use_tqdm=False, **more)]

    yield "token ids", lambda: classified([{"prompt_token_ids": row} for row in ids])
    yield "texts", lambda: classified(texts)
    yield (
        "texts without special tokens",
        lambda: classified(texts, tokenization_kwargs={"add_special_tokens": False}),
    )
    pairs = [(turns[0]["content"], turns[1]["content"]) for turns in conversations if len(turns) == 2]
    yield (
        "pairs",
        lambda: [
            float(found.outputs.score)
            for prompt, response in pairs
            for found in model.score(
                prompt,
                response,
                use_tqdm=False,
                chat_template=tokenizer.chat_template,
                tokenization_kwargs={"add_special_tokens": False},
            )
        ],
    )


def peft_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through PEFT for the folder of an adapter, in a working directory other than that of the run."""
    import torch
    from peft import AutoPeftModelForSequenceClassification as AutoPeft
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification as AutoModel
    from transformers import AutoTokenizer

    os.chdir(tempfile.mkdtemp())
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def scored(model: Any, size: int) -> list[float]:
        return padded(model.eval(), tokenizer, conversations, size)

    def carded(**more: Any) -> Any:
        base = json.loads((Path(folder) / "adapter_config.json").read_text())["base_model_name_or_path"]
        model = AutoModel.from_pretrained(base, num_labels=1, **more)
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        return PeftModel.from_pretrained(model, folder)

    def with_pad(model: Any) -> Any:
        model.config.pad_token_id = tokenizer.pad_token_id
        return model

    one = {"num_labels": 1, "dtype": torch.float32}
    for size in (1, 8):
        yield f"PeftModel {size}", lambda n=size: scored(carded(dtype=torch.float32), n)
        yield f"AutoPeft with num_labels=1 {size}", lambda n=size: scored(AutoPeft.from_pretrained(folder, **one), n)
    yield "AutoPeft with pad token 8", lambda: scored(with_pad(AutoPeft.from_pretrained(folder, **one)), 8)
    yield "PeftModel on a base in its own dtype", lambda: scored(carded(), 8)
    yield "AutoPeft as it is", lambda: scored(AutoPeft.from_pretrained(folder), 1)
    yield "AutoModel with num_labels=1", lambda: scored(AutoModel.from_pretrained(folder, **one), 1)


def padded(
    model: Any, tokenizer: Any, conversations: list[Turns], size: int, side: str = "right", positions: bool = False
) -> list[float]:
    """Score conversations with a plain model, `size` at a time, with position ids on request."""
    import torch

    found: list[float] = []
    for start in range(0, len(conversations), size):
        batch = tokenizer.apply_chat_template(
            conversations[start : start + size],
            padding=True,
            tokenizer_kwargs={"padding_side": side},
            return_tensors="pt",
            return_dict=True,
        )
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        if positions:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            output = model(**inputs)
        found += output.logits[:, 0].float().tolist()
    return found


def rewardbench_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through the command `rewardbench`, which writes the scores of rows of messages.

    Options: `attention`, the implementations that transformers has for the family; the first is asked for.
    """
    from datasets import Dataset
    from rewardbench.rewardbench import Args, rewardbench
    from transformers import BatchEncoding

    move, map_rows = BatchEncoding.to, Dataset.map

    def run(size: int) -> list[float]:
        # The command moves its batches to the first GPU and reads rows in eight processes, whatever the machine has.
        on_cpu = patch.object(BatchEncoding, "to", lambda batch, _: move(batch, "cpu"))
        alone = patch.object(Dataset, "map", lambda rows, *given, num_proc, **more: map_rows(rows, *given, **more))
        with on_cpu, alone, tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
            Path("model").symlink_to(folder)
            Path("rows.jsonl").write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in conversations))
            rewardbench(
                Args(
                    model="model",
                    dataset="rows.jsonl",
                    load_json=True,
                    not_quantized=True,
                    torch_dtype="float32",
                    batch_size=size,
                    attn_implementation=options.get("attention", ["sdpa"])[0],
                )
            )
            lines = Path("results/model_outputs.jsonl").read_text().splitlines()
        return [float(json.loads(line)["results"]) for line in lines]

    yield "8 at a time", lambda: run(8)
    yield "1 at a time", lambda: run(1)


def card_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through the function that the card of an export shows for OpenRLHF: texts whole, stopped, cut off."""
    card = Path(folder, "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    os.chdir(Path(folder).parent)
    exec(next(block for block in blocks if "def reward_func" in block), names)
    whole = names["tokenizer"].apply_chat_template(conversations, tokenize=False)
    tail, stop = names["TAIL"], names["STOP"]

    def rewards(missing: str) -> list[float]:
        queries = [text.removesuffix(missing) for text in whole]
        found: list[float] = names["reward_func"](queries, queries, [""] * len(queries))["rewards"].tolist()
        return found

    for way, missing in (("whole", ""), ("stopped", tail.removeprefix(stop)), ("cut off", tail)):
        yield way, lambda missing=missing: rewards(missing)


def trl_ways(folder: str, conversations: list[Turns], options: dict[str, Any]) -> Iterator[tuple[str, Way]]:
    """Yield ways through TRL's trainers, see `client_trl`."""
    from client_trl import trl_ways as ways

    return ways(folder, conversations, options)


PROGRAMS: dict[str, Callable[[str, list[Turns], dict[str, Any]], Iterator[tuple[str, Way]]]] = {
    "transformers": transformers_ways,
    "sentence-transformers": sentence_transformers_ways,
    "vllm": vllm_ways,
    "peft": peft_ways,
    "rewardbench": rewardbench_ways,
    "card": card_ways,
    "trl": trl_ways,
}


def told(error: Exception) -> str:
    """Write an error as a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def answer(program: str, job: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of each way, or the text of an error."""
    found: dict[str, Any] = {}
    try:
        for name, way in PROGRAMS[program](job["folder"], job["conversations"], job.get("options", {})):
            if job.get("ways") and name not in job["ways"]:
                continue
            # A way that fails is an answer too: the table says how.
            try:
                found[name] = way()
            except Exception as error:
                found[name] = told(error)
    except Exception as error:
        found["load"] = told(error)
    return found


def main() -> None:
    """Answer the jobs on stdin."""
    for job in json.load(sys.stdin):
        print(f"\n{ANSWER}{json.dumps(answer(sys.argv[1], job))}", flush=True)


if __name__ == "__main__":
    main()
