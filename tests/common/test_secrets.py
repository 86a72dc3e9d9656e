"""What counts as a secret, what does not, and texts without them."""

import pytest

from bradley.common.secrets import redact, secret_in
from bradley.config.load import load_config, read_config
from bradley.errors import UserError

HUB = "hf_" + "aB3" * 11
AWS = "AKIA" + "ABCD2345" * 2


def test_texts_lose_their_secrets_and_nothing_else():
    variables = {
        "HF_TOKEN": "canary-of-the-hub",
        "WANDB_API_KEY": "0123456789abcdef",
        "AWS_SECRET_ACCESS_KEY": "canary/of+aws",
        "AWS_ACCESS_KEY_ID": "NOSHAPE-BUT-SECRET",
        "MY_DATABASE_PASSWORD": "tulips-and-more",
        "SHORT_TOKEN": "yes",
        "HOME": "/home/somebody",
        "TOKENIZERS_PARALLELISM": "tulips-and",
    }
    for value in ("canary-of-the-hub", "0123456789abcdef", "canary/of+aws", "NOSHAPE-BUT-SECRET", "tulips-and-more"):
        assert redact(f"a {value} b", variables) == "a *** b"
    for text in ("yes", "/home/somebody", "http://host:80/a@b?page=3", "ssh://git@host", "3:4@5", "pad_token = <pad>"):
        assert redact(text, variables) == text
    assert redact("x https://me:pass@host/y", {}) == "x https://***@host/y"
    assert redact("s3://:pass@host", {}) == "s3://***@host"
    assert redact("https://host/y?Token=abc&page=3&api_key=z", {}) == "https://host/y?Token=***&page=3&api_key=***"
    assert redact(f"({HUB}) {AWS}", {}) == "(***) ***"


def test_a_secret_that_holds_another_is_hidden_whole():
    assert redact("canary-of-all", {"A_TOKEN": "canary-of", "B_TOKEN": "canary-of-all"}) == "***"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("data.train", "https://me:pass@host/x.jsonl", "data.train holds the password of a URL"),
        ("data.train", ["a.jsonl", "hub:o/n?token=abc"], "data.train holds a token"),
        ("model.path", HUB, "model.path holds a token"),
        ("model.config.hub_token", "whatever", "model.config.hub_token is called like a secret"),
        ("model.config.a.api_key", "whatever", "model.config.a.api_key is called like a secret"),
        ("model.config.eos_token", "</s>", ""),
        ("model.config.pad_token_id", 3, ""),
        ("log.project", "http://host:80/a", ""),
    ],
)
def test_settings_may_hold_none(name, value, problem):
    nested = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    assert secret_in(nested, "") == problem


def test_a_configuration_with_a_secret_is_refused_without_showing_it(tmp_path):
    base = {"model.config": {"model_type": "llama"}, "model.tokenizer": "train", "data.train": "synthetic:"}
    assert load_config(None, base).seed == 0
    for name, value in (("log.project", "https://me:canary@host"), ("model.config", {"hub_token": "canary"})):
        old = {"model_type": "llama"} if name == "model.config" else {}
        with pytest.raises(UserError, match=name) as caught:
            load_config(None, {**base, name: {**old, **value} if old else value})
        assert "canary" not in caught.value.message + caught.value.hint
    with pytest.raises(UserError, match="holds a token"):
        read_config({"data": {"train": f"synthetic:{HUB}"}, "model": {"path": "x"}})
