"""What an export says of the machine that trained it: nothing."""

import copy
import json

from bradley.export.metadata import without_local_paths

CARD = {
    "config": {
        "data": {"train": ["/home/ada/secret/a.jsonl", "../secret/b.jsonl.gz", "hub:lab/pairs?split=train"]},
        "model": {"path": "~/secret/base", "tokenizer": "openai-community/gpt2"},
        "render": {"system_prompt": "/no_think", "template": "/home/ada/secret/t.jinja"},
        "seed": 3,
    },
    "data": {"splits": {"train": {"sources": [{"path": "./secret/a.jsonl", "rows": 4}]}}},
    "render": {"template": "/home/ada/secret/t.jinja", "system_prompt": "/no_think", "template_kwargs": {"a": "/x/y"}},
    "parity": {"rows": [{"messages": [{"role": "user", "content": "/a/path/in/a/text"}]}]},
    "adapter": {"base": "/models/base"},
}


def test_paths_lose_their_folders_and_everything_else_stays():
    before = copy.deepcopy(CARD)
    card = without_local_paths(CARD)
    assert before == CARD  # the original is not touched
    assert card["config"]["data"]["train"] == ["a.jsonl", "b.jsonl.gz", "hub:lab/pairs?split=train"]
    assert card["config"]["model"] == {"path": "base", "tokenizer": "openai-community/gpt2"}
    assert card["render"]["template"] == card["config"]["render"]["template"] == "t.jinja"
    assert card["render"]["system_prompt"] == "/no_think" and card["render"]["template_kwargs"] == {"a": "/x/y"}
    assert card["data"]["splits"]["train"]["sources"] == [{"path": "a.jsonl", "rows": 4}]
    assert card["parity"] == CARD["parity"] and card["adapter"] == CARD["adapter"]
    assert "secret" not in json.dumps(card) and "/home" not in json.dumps(card)
