"""Scores of a model folder through a program other than bradley, in the environment of that program.

python benchmarks/client_scores.py PROGRAM < JOB

PROGRAM is a key of `PROGRAMS`. JOB is a JSON object: `folder`, `conversations`, `ways` (names of ways to ask; none for
all of the program) and `options` of a way. The answer is a JSON object on a line of stdout after `ANSWER`: for each way
a list of scores, or the text of an error. This file imports nothing but the program itself.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

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

    def plain(model: Any, size: int, side: str, positions: bool) -> list[float]:
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
                found += model(**inputs).logits[:, 0].float().tolist()
        return found

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
                yield f"{attention} {side} {size}", lambda m=model, n=size, s=side, p=positions: plain(m, n, s, p)
    yield "bfloat16", lambda: plain(load(dtype=torch.bfloat16), 8, "right", False)
    yield "pipeline", lambda: piped()
    yield "pipeline without special tokens", lambda: piped(add_special_tokens=False)


def sentence_transformers_ways(
    folder: str, conversations: list[Turns], options: dict[str, Any]
) -> Iterator[tuple[str, Way]]:
    """Yield ways through sentence-transformers: messages and pairs. Pairs ask the two-turn conversations alone."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, device="cpu", **options.get("loading", {}))
    pairs = [(turns[0]["content"], turns[1]["content"]) for turns in conversations if len(turns) == 2]
    yield "messages", lambda: model.predict(conversations, show_progress_bar=False).tolist()
    yield "pairs", lambda: model.predict(pairs, show_progress_bar=False).tolist()


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


PROGRAMS: dict[str, Callable[[str, list[Turns], dict[str, Any]], Iterator[tuple[str, Way]]]] = {
    "transformers": transformers_ways,
    "sentence-transformers": sentence_transformers_ways,
    "vllm": vllm_ways,
}


def main() -> None:
    """Answer the job on stdin."""
    job = json.load(sys.stdin)
    found: dict[str, Any] = {}
    try:
        for name, way in PROGRAMS[sys.argv[1]](job["folder"], job["conversations"], job.get("options", {})):
            if job.get("ways") and name not in job["ways"]:
                continue
            # A way that fails is an answer too: the table says how.
            try:
                found[name] = way()
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"[:300]
    except Exception as error:
        found["load"] = f"{type(error).__name__}: {error}"[:300]
    print(f"\n{ANSWER}{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
