"""Small files in the published layout of each benchmark."""

import json

RM_BENCH = ("chat", "code", "math", "safety-refuse", "safety-response")
LLMBAR = ("Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut", "Adversarial/Manual")
GPT4O = "dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl"
BIASES = (
    *("length bias", "concreteness", "empty reference", "content_continuation", "nested_instruction"),
    "familiar knowledge preference bias",
)


def rewardbench(number, subset="hep-cpp"):
    return {
        **{"prompt": f"Ask {number}?", "chosen": "Right.", "rejected": "Wrong.", "subset": subset, "id": number},
        **{"chosen_model": "human", "rejected_model": "gpt-4"},
    }


def rewardbench2(id, subset="Math", correct=1):
    return {
        **{"id": id, "prompt": f"Ask {id}?", "chosen": [f"Right {k}." for k in range(correct)]},
        **{"rejected": ["Wrong 1.", "Wrong 2.", "Wrong 3."], "num_correct": correct, "num_incorrect": 3},
        **{"total_completions": correct + 3, "models": ["a", "b", "c", "d"], "subset": subset},
    }


def rm_bench(id):
    styles = ("concise", "detailed", "**markdown**")
    chosen, rejected = [f"Right, {style}." for style in styles], [f"Wrong, {style}." for style in styles]
    return {"id": id, "prompt": f"Ask {id}?", "chosen": chosen, "rejected": rejected}


def rmb_pair(uid, path="Pairwise_set/Helpfulness/Chat/Discussion"):
    return {
        **{"pair_uid": uid, "conversation_input": turns(f"Ask {uid}?"), "category_path": path},
        **{"chosen": answer("Right.", "one"), "reject": answer("Wrong.", "two")},
    }


def rmb_best(uid, path="BoN_set/Harmlessness/S1"):
    losers = [answer("Wrong 1.", "two"), answer("Wrong 2.", "three")]
    return {
        **{"bon_uid": uid, "conversation_input": turns(f"Ask {uid}?"), "category_path": path},
        **{"bon_best": answer("Right.", "one"), "loser_list": losers},
    }


def turns(text):
    return [{"role": "user", "content": text, "language": "English"}]


def answer(text, name):
    return {"answer": text, "llm_name": name, "score": 3.5}


def judgebench(id, label="B>A", source="mmlu-pro-law"):
    return {
        **{"pair_id": id, "original_id": "7", "source": source, "question": f"Ask {id}?", "label": label},
        **{"response_A": "Answer A.", "response_B": "Answer B."},
    }


def llmbar(label=2):
    return {"input": "Ask?", "output_1": "First.", "output_2": "Second.", "label": label}


def hhh(labels=(0, 1)):
    return {"input": "Ask?", "targets": {"choices": ["First.", "Second."], "labels": list(labels)}}


def bias(name, label=1):
    return {"bias": name, "instruction": "Ask?", "response1": "First.", "response2": "Second.", "label": label}


def messages_pair(subset):
    said = {key: [{"role": "assistant", "content": f"{key}."}] for key in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": "Ask?"}], **said, "subset": subset, "source": "carrier"}


def write(path, content):
    """Write JSON, or JSON lines for a .jsonl file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content) if lines else json.dumps(content))
    return path


def write_all(folder):
    """Write a file or folder of each benchmark; return name -> source."""
    write(folder / "rewardbench.jsonl", [rewardbench(i, s) for i, s in enumerate(("hep-cpp", "math-prm", "shp"))])
    rows = [rewardbench2("1"), rewardbench2("ref:3", "Ties"), rewardbench2("tied:3", "Ties", 2)]
    write(folder / "rewardbench2.jsonl", rows)
    for domain in RM_BENCH:
        write(folder / "rm-bench" / f"{domain}_filtered.json", [rm_bench(f"{domain}-{i}") for i in range(2)])
    write(folder / "rm-bench" / "total_dataset.json", [{**rm_bench("chat-0"), "domain": "chat"}])
    write(folder / "rmb" / "Pairwise_set" / "Helpfulness" / "Chat" / "Discussion.json", [rmb_pair("1"), rmb_pair("2")])
    write(folder / "rmb" / "BoN_set" / "Harmlessness" / "S1.json", [rmb_best("1")])
    write(folder / "judgebench" / GPT4O, [judgebench("a", "A>B"), judgebench("b", source="livecodebench")])
    for name in LLMBAR:
        write(folder / "llmbar" / name / "dataset.json", [llmbar(), llmbar(1)])
        write(folder / "llmbar" / name / "evaluators" / "GPT-4" / "result.json", [{"winner": "1"}])
    for name in ("harmless", "helpful", "honest", "other"):
        write(folder / "hhh" / name / "task.json", {"name": "hhh", "examples": [hhh(), hhh((1, 0))]})
    write(folder / "biasbench.json", {name: [bias(name), bias(name, 2)] for name in BIASES})
    places = {
        "rewardbench": "rewardbench.jsonl",
        "rewardbench2": "rewardbench2.jsonl",
        "evalbiasbench": "biasbench.json",
    }
    names = (*places, "rm-bench", "rmb", "judgebench", "llmbar", "hhh")
    return {name: f"benchmark:{name}={folder / places.get(name, name)}" for name in names}
