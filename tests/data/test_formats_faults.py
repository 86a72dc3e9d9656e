"""Rows of the wrong shape: what is missing or mistyped stops the run, with its place, what was found and wanted."""

import pytest

from bradley.config import Data
from bradley.data.formats import FORMATS, to_comparisons
from bradley.errors import DataError
from tests.data.rows import REPLY, SAMPLES, SYSTEM, TOOL, USER, one

OPTIONAL = {
    *("margin", "probability", "weight", "tools", "chat_template_kwargs", "prompt_ids", "score_A", "score_B"),
    *("score_ratio", "id"),
}
NEEDED = [(f, key) for f, shape in FORMATS.items() for key in shape.fields if key in SAMPLES[f] and key not in OPTIONAL]


def fault(row, format):
    with pytest.raises(DataError) as caught:
        list(to_comparisons([SAMPLES[format], row], Data(format=format), name="x.jsonl"))
    message = caught.value.message
    assert message.startswith("x.jsonl, row 2: found ") and message.isprintable() and caught.value.hint
    return message.removeprefix("x.jsonl, row 2: found ").split(", wanted ", 1)


def test_the_needed_fields_are_those_of_every_format():
    assert len(NEEDED) == 38 and {format for format, _ in NEEDED} == set(FORMATS) - {"labelled"}


@pytest.mark.parametrize(("format", "key"), NEEDED)
def test_a_needed_field_that_is_missing_null_or_mistyped_stops(format, key):
    row = SAMPLES[format]
    if (format, key) != ("preference", "prompt"):
        found, wanted = fault({k: v for k, v in row.items() if k != key}, format)
        assert found.startswith("the keys ") and wanted == f"the key {key}"
        found, _ = fault({**row, key: None}, format)
        assert found.startswith("null ") and key in found
    for value in (3.5, True, {"x": 1}, "\x00x\n" if not isinstance(row[key], str) else [1]):
        found, wanted = fault({**row, key: value}, format)
        assert found and wanted


@pytest.mark.parametrize(
    ("format", "change", "found", "wanted"),
    [
        ("ids", {"chosen_ids": [1, -2]}, "-2 in chosen_ids", "whole numbers from 0 on"),
        ("ids", {"chosen_ids": [1, True]}, "True in chosen_ids", "whole numbers from 0 on"),
        ("ids", {"rejected_ids": ["1"]}, "'1' in rejected_ids", "whole numbers from 0 on"),
        ("ids", {"rejected_ids": [1.0]}, "1.0 in rejected_ids", "whole numbers from 0 on"),
        ("ids", {"prompt_ids": "1 2"}, "text in prompt_ids", "a list of token ids"),
        ("ids", {"prompt_ids": [1, 2, 3]}, "prompt_ids that only one side begins with", "of none"),
        ("shp", {"labels": 2}, "2 as labels", "from 0 to 1"),
        ("shp", {"labels": -1}, "-1 as labels", "from 0 to 1"),
        ("shp", {"labels": "1"}, "'1' as labels", "from 0 to 1"),
        ("shp", {"score_A": "12"}, "'12' as score_A", "a finite number"),
        ("helpsteer2", {"preference_strength": 4}, "4 as preference_strength", "from -3 to 3"),
        ("helpsteer2", {"preference_strength": -3.5}, "-3.5 as preference_strength", "from -3 to 3"),
        ("helpsteer2", {"preference_strength": "-2"}, "'-2' as preference_strength", "a finite number"),
        ("helpsteer3", {"overall_preference": -100}, "-100 as overall_preference", "from -3 to 3"),
        ("helpsteer3", {"context": "hi"}, "text in context", "messages"),
        ("helpsteer3", {"context": [{"role": "user"}]}, "the keys role in a message", '"content"'),
        ("tldr", {"choice": 2}, "2 as choice", "from 0 to 1"),
        ("tldr", {"summaries": [{"policy": "x"}]}, "the keys policy", "the key text"),
        ("tldr", {"summaries": ["a", "b"]}, "a list in summaries", 'a list of {"text"'),
        ("tldr", {"info": {"title": "t", "post": "p"}}, "the keys title, post", "the key subreddit"),
        ("tldr", {"info": {"title": "t", "post": 3, "subreddit": "s"}}, "a number in post", "text"),
        ("tldr", {"info": {"article": 3}}, "a number in article", "text"),
        ("multipref", {"normal_worker_annotations": [{}]}, "the keys (none)", "the key overall_pref"),
        ("multipref", {"normal_worker_annotations": [{"overall_pref": None}]}, "the keys (none)", "the key"),
        ("multipref", {"expert_worker_annotations": [{"overall_pref": "A"}]}, "'A' as overall_pref", "A-is-clearly"),
        ("votes", {"votes": ["a", "c"]}, "the vote 'c'", '"tie"'),
        ("votes", {"votes": [2]}, "the vote 2", '"tie"'),
        ("votes", {"votes": [True]}, "the vote True", '"tie"'),
        ("votes", {"votes": [None]}, "the vote None", '"tie"'),
        ("votes", {"votes": {"a": -1}}, "the counts {'a': -1}", '"tie"'),
        ("votes", {"votes": {"a": 1.5}}, "the counts {'a': 1.5}", '"tie"'),
        ("votes", {"votes": {"a": 1, "A": 1}}, "the counts", '"tie"'),
        ("votes", {"votes": {"a": "1"}}, "'1' as a", "a finite number"),
        ("votes", {"votes": {"first": 1}}, "the vote 'first'", '"tie"'),
        ("ultrafeedback", {"completions": [{"overall_score": 1}]}, "the keys overall_score", "the key response"),
        ("ultrafeedback", {"completions": [{"response": 1}]}, "a number in response", "text"),
        ("ultrafeedback", {"completions": [{"response": "a", "overall_score": "N/A"}]}, "'N/A' as overall_s", "finite"),
        ("rewardbench2", {"chosen": ["a", 1]}, "a list of a number, text in chosen", "a list of texts"),
        ("rewardbench2", {"rejected": [["a"]]}, "a list of a list in rejected", "a list of texts"),
        ("preference", {"probability": 1.01}, "1.01 as probability", "from 0 to 1"),
        ("preference", {"probability": -0.1}, "-0.1 as probability", "from 0 to 1"),
        ("preference", {"probability": float("inf")}, "inf as probability", "a finite number"),
        ("preference", {"weight": -1}, "-1 as weight", "from 0 to"),
        ("preference", {"weight": "1"}, "'1' as weight", "a finite number"),
        ("preference", {"tools": "{"}, "tools that are not JSON", "a list of JSON schemas"),
        ("preference", {"tools": '{"a": 1}'}, "an object as tools", "a list of JSON schemas"),
        ("preference", {"tools": ["get"]}, "a list as tools", "a list of JSON schemas"),
        ("preference", {"chat_template_kwargs": "x"}, "text as chat_template_kwargs", "an object"),
        ("preference", {"chat_template_kwargs": []}, "a list as chat_template_kwargs", "an object"),
        ("preference", {"score_chosen": "9"}, "'9' as score_chosen", "a finite number"),
        ("preference", {"prompt": [{**USER, "name": 3}]}, "a number as name in the prompt", "text"),
        ("preference", {"prompt": [USER, {"role": "assistant", "tool_calls": "x"}]}, "text as tool_calls", "objects"),
        (
            "preference",
            {"prompt": [USER, {"role": "assistant", "tool_calls": ["x"]}]},
            "a list as tool_calls",
            "objects",
        ),
        (
            "preference",
            {"prompt": [USER, {"role": "assistant", "tool_calls": []}]},
            "the keys role, tool_calls",
            "cont",
        ),
        ("preference", {"prompt": [{"role": "user", "content": None, "name": "Al"}]}, "the keys role, name", "cont"),
        ("preference", {"prompt": [{"role": "ids", "content": "1 2"}]}, "the role 'ids'", "one of system"),
        ("preference", {"prompt": [{"role": "text", "content": "x"}]}, "the role 'text'", "one of system"),
    ],
)
def test_malformed_variants_of_each_format(format, change, found, wanted):
    parts = fault({**SAMPLES[format], **change}, format)
    assert found in parts[0] and wanted in parts[1]


@pytest.mark.parametrize(
    ("row", "found", "wanted"),
    [
        ({"chosen": "a"}, "the keys chosen", "the key rejected"),
        ({"chosen": "a", "rejected": None}, "null in rejected", "text or messages"),
        ({"chosen": "a", "rejected": [REPLY]}, "text in chosen and a list in rejected", "the same kind"),
        ({"chosen": 1, "rejected": 2}, "a number as response", "text, or messages"),
        ({"prompt": [USER], "chosen": [], "rejected": [REPLY]}, "an empty list as response", "text, or messages"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "the keys role in a message", '"content"'),
        ({"prompt": [{"role": "judge", "content": ""}], "chosen": "a", "rejected": "b"}, "the role 'judge'", "user"),
        ({"prompt": [{"role": "user", "content": None}], "chosen": "a", "rejected": "b"}, "the keys role in", "cont"),
        ({"prompt": ["hi"], "chosen": "a", "rejected": "b"}, "text in a message of the prompt", '"role"'),
        ({"prompt": [USER, SYSTEM], "chosen": "a", "rejected": "b"}, "user, system, assistant", "at the beginning"),
        ({"prompt": [TOOL, USER], "chosen": "a", "rejected": "b"}, "tool, user, assistant", "assistant"),
        ({"prompt": [USER, TOOL], "chosen": "a", "rejected": "b"}, "user, tool, assistant", "after an assistant"),
        ({"prompt": [USER], "chosen": [REPLY], "rejected": [USER]}, "user, user", "an assistant turn at the end"),
        ({"prompt": [USER], "chosen": [USER, REPLY], "rejected": [REPLY]}, "only one side repeats", "in none"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "margin": "2"}, "'2' as margin", "a finite number"),
        ({"prompt": "p", "completions": {"a": 1}}, "an object", "a list of"),
        ({"completions": []}, "the keys completions", "the key prompt"),
        ({"prompt": "p", "completions": [{"score": 1}]}, "the keys score", "the key content"),
        ({"prompt": "p", "completions": [{"content": "a", "score": float("inf")}]}, "inf as score", "finite"),
        ({"prompt": "p", "completions": [{"content": "a", "score": 10**400}]}, "as score", "finite"),
        ({"prompt": "p", "completions": [{"content": "a", "score": True}]}, "True as score", "finite"),
        ({"prompt": "p", "completions": [{"content": "a", "rank": False}]}, "False as rank", "finite"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "margin": True}, "True as margin", "finite"),
    ],
)
def test_a_row_of_the_wrong_shape_stops_with_its_place(row, found, wanted):
    format = "ranked" if "completions" in row else "preference"
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    if format == "ranked":
        good = {"prompt": "p", "completions": [{"content": c, "rank": i} for i, c in enumerate("ab")]}
    with pytest.raises(DataError) as caught:
        list(to_comparisons([good, row], Data(format=format), name="x.jsonl"))
    message = caught.value.message
    assert message.startswith("x.jsonl, row 2: found ") and found in message.split(", wanted ")[0]
    assert wanted in message.split(", wanted ")[1] and caught.value.hint


@pytest.mark.parametrize("format", ["auto", "preference"])
@pytest.mark.parametrize("mark", ["\n", "\r", "\x85", "\u2028", "\x1b", "\ud800"])
def test_what_a_message_quotes_from_the_data_stays_on_one_line(format, mark):
    key = f"caf\u00e9 \u4e2d{mark}\\"
    rows = [
        {key: "x", "chosen": "a"},
        {"prompt": [{key: "x", "role": "user"}], "chosen": "a", "rejected": "b"},
        {"prompt": [{"role": key, "content": "x"}], "chosen": "a", "rejected": "b"},
    ]
    for row in rows:
        with pytest.raises(DataError) as caught:
            one(row, format)
        assert caught.value.message.isprintable() and "caf\u00e9 \u4e2d\\" in caught.value.message
    assert one({"chosen": "a", "rejected": "b", "id": key}).id.isprintable()
    assert one({"chosen": "a", "rejected": "b", "id": "a\\n\u4e2d"}).id == "a\\n\u4e2d"
