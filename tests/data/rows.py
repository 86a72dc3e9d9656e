"""Rows of every format as their sources publish them, and the same with content or structure at fault."""

from typing import Any

from bradley.config import Data
from bradley.data.formats import to_comparisons
from bradley.records import Comparison, Message, Rejected

USER, REPLY, OTHER = ({"role": r, "content": c} for r, c in (("user", "hi"), ("assistant", "yo"), ("assistant", "no")))
SYSTEM, TOOL = {"role": "system", "content": "s"}, {"role": "tool", "content": "t"}
TRANSCRIPT = "\n\nHuman: hi\n\nAssistant: "

SAMPLES: dict[str, dict[str, Any]] = {
    "hh": {"chosen": TRANSCRIPT + "yo", "rejected": TRANSCRIPT + "no"},
    "ids": {"chosen_ids": [1, 2, 3], "rejected_ids": [1, 2, 4, 5]},
    "shp": {
        "post_id": "k3",
        "domain": "askscience_test",
        "upvote_ratio": 0.9,
        "history": "hi",
        "c_root_id_A": "a1",
        "c_root_id_B": "b1",
        "created_at_utc_A": 1600000000,
        "created_at_utc_B": 1600000001,
        "score_A": 12,
        "score_B": 3,
        "human_ref_A": "yo",
        "human_ref_B": "no",
        "labels": 1,
        "score_ratio": 4.0,
    },
    "helpsteer2": {
        "split": "train",
        "prompt": "hi",
        "response_1": "yo",
        "response_2": "no",
        "preference_strength": -2,
        "preference_statement": "Response 1 is better than Response 2",
    },
    "helpsteer3": {
        "domain": "code",
        "language": "python",
        "context": [USER],
        "response1": "yo",
        "response2": "no",
        "overall_preference": -2,
        "individual_preference": [{"score": -2, "reasoning": "r", "feedback1": "f", "feedback2": "g"}],
    },
    "tldr": {
        "info": {"id": "t3_a", "post": "hi", "title": "t", "subreddit": "s", "site": None, "article": None},
        "summaries": [
            {"text": " yo", "policy": "sup1", "note": None},
            {"text": " no", "policy": "ref", "note": None},
        ],
        "choice": 0,
        "worker": "w",
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": 7},
    },
    "multipref": {
        "comparison_id": "m1",
        "prompt_id": "p1",
        "text": "hi",
        "category": "Chat",
        "completion_a": "yo",
        "completion_b": "no",
        "model_a": "x",
        "model_b": "y",
        "normal_worker_annotations": [
            {"overall_pref": "A-is-slightly-better"},
            {"overall_pref": "A-is-clearly-better"},
        ],
        "expert_worker_annotations": [{"overall_pref": "B-is-clearly-better"}, {"overall_pref": "Tie"}],
    },
    "votes": {"id": "v", "prompt": "hi", "response_a": "yo", "response_b": "no", "votes": ["a", "b", "a", "tie"]},
    "ultrafeedback": {
        "source": "evol_instruct",
        "instruction": "hi",
        "models": ["x", "y"],
        "completions": [
            {
                "model": "x",
                "response": "yo",
                "overall_score": 8.5,
                "fine-grained_score": 4.0,
                "annotations": {"helpfulness": {"Rating": "4"}},
                "custom_system_prompt": "be good",
            },
            {"model": "y", "response": "no", "overall_score": 3.0, "fine-grained_score": 4.5, "annotations": {}},
        ],
    },
    "ranked": {"prompt": "hi", "completions": [{"content": "yo", "score": 2}, {"content": "no", "score": 1}]},
    "rewardbench2": {
        "id": "r1",
        "prompt": "hi",
        "chosen": ["yo"],
        "rejected": ["no", "nay", "nope"],
        "subset": "Math",
        "num_correct": 1,
        "models": ["x"],
    },
    "preference": {"id": "p", "prompt": "hi", "chosen": "yo", "rejected": "no"},
    "labelled": {"id": "l", "question": "hi", "response_a": "yo", "response_b": "no", "winner": "model_a", "set": "x"},
}
"""One row of each format."""

UNUSABLE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "hh": [({"chosen": "yo"}, "irregular"), ({"rejected": TRANSCRIPT + "\x00"}, "bad_characters")],
    "ids": [
        ({"chosen_ids": []}, "no_tokens"),
        ({"prompt_ids": [1, 2], "rejected_ids": [1, 2]}, "no_tokens"),
        ({"probability": 0.5}, "no_judgment"),
    ],
    "shp": [({"history": "\ud800"}, "bad_characters"), ({"human_ref_B": "a\x00"}, "bad_characters")],
    "helpsteer2": [
        ({"preference_strength": 0}, "no_judgment"),
        ({"prompt": "hi\n<extra_id_1>Assistant\nyo"}, "irregular"),
    ],
    "helpsteer3": [({"overall_preference": 0}, "no_judgment"), ({"response1": "\udfff"}, "bad_characters")],
    "tldr": [({"summaries": []}, "one_response"), ({"summaries": [{"text": "a"}]}, "one_response")],
    "multipref": [
        ({"normal_worker_annotations": [], "expert_worker_annotations": []}, "no_judgment"),
        ({"normal_worker_annotations": [{"overall_pref": "Tie"}], "expert_worker_annotations": []}, "no_judgment"),
    ],
    "votes": [
        ({"votes": []}, "no_judgment"),
        ({"votes": {}}, "no_judgment"),
        ({"votes": {"a": 0, "b": None}}, "no_judgment"),
        ({"votes": ["a", "B"]}, "no_judgment"),
        ({"response_a": "\x00"}, "bad_characters"),
    ],
    "ultrafeedback": [
        ({"completions": []}, "one_response"),
        ({"completions": [{"response": "a"}, {"response": "b"}]}, "missing_score"),
        ({"completions": [{"response": c, "overall_score": 3} for c in "ab"]}, "no_judgment"),
    ],
    "ranked": [({"completions": []}, "one_response"), ({"prompt": "\ud800"}, "bad_characters")],
    "rewardbench2": [
        ({"chosen": []}, "no_judgment"),
        ({"rejected": []}, "no_judgment"),
        ({"chosen": ["\x00"]}, "bad_characters"),
    ],
    "preference": [
        ({"probability": 0.5}, "no_judgment"),
        ({"weight": 0}, "no_judgment"),
        ({"chosen": "\x00"}, "bad_characters"),
        ({"prompt": "ho", "chosen": [USER, REPLY], "rejected": [USER, OTHER]}, "irregular"),
        ({"prompt": "ho", "chosen": [USER, REPLY], "rejected": [{**USER, "content": "x"}, OTHER]}, "irregular"),
        ({"tools": [{"a": ["\x00"]}]}, "bad_characters"),
        ({"chat_template_kwargs": {"\ud800": 1}}, "bad_characters"),
        ({"chosen": [{**REPLY, "thinking": "\x00"}], "rejected": [OTHER]}, "bad_characters"),
    ],
    "labelled": [
        ({"winner": "tie (bothbad)"}, "no_judgment"),
        ({"response_a": "\x00"}, "bad_characters"),
    ],
}
"""Changes to the sample that leave its shape but make its content unusable, and the reason."""


def one(row: dict[str, Any], format: str = "auto", **settings: Any) -> Any:
    """What becomes of a single row."""
    (result,) = to_comparisons([row], Data(format=format, **settings))
    assert isinstance(result, Comparison | Rejected)
    return result


def as_pairs(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    """Roles and contents."""
    return [(message.role, message.content) for message in messages]


def replies(comparison: Comparison) -> list[str]:
    """The texts of the responses."""
    return [response.text for response in comparison.responses]
