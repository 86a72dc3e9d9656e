"""Decoded samples: the text is what the model reads, and each check can fail."""

import pytest

from bradley.config import Render
from bradley.data.encoder import Encoder
from bradley.data.preview import decoded_samples, found
from bradley.data.render import Renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE, train_tokenizer
from bradley.records import Comparison, Judgment, Message, Response
from tests.helpers import comparisons, tokenizer_for


def renderer(template=PLAIN_CHAT_TEMPLATE, rows=None, **settings):
    tokenizer = tokenizer_for(rows or comparisons(3))
    tokenizer.chat_template = template
    return Renderer(tokenizer, Render(**settings), causal=True)


def test_samples_are_what_the_renderer_reads():
    rows = [rows.flip() for rows in comparisons(5)]
    made = renderer(rows=rows)
    samples = decoded_samples(rows, made, 3)
    assert [sample["id"] for sample in samples] == ["c0", "c1", "c2"]
    for sample, row, rendered in zip(samples, rows, made.comparisons(rows), strict=False):
        judgment = row.judgments[0]
        assert (judgment.better, judgment.worse) == (1, 0)
        assert sample["chosen"] == made.text(row.prompt, row.responses[1].messages)
        assert sample["rejected"] == made.text(row.prompt, row.responses[0].messages)
        assert (sample["chosen_tokens"], sample["rejected_tokens"]) == (len(rendered.ids[1]), len(rendered.ids[0]))
        assert sample["check"] == {
            "contents_found": True,
            "double_bos": False,
            "ends_with_eos": True,
            "pooled_token": "<|end|>",
            "template": "tokenizer",
        }


@pytest.mark.parametrize(
    ("template", "check", "value"),
    [
        ("{% for m in messages %}{{ m.content[:5] + eos_token }}{% endfor %}", "contents_found", False),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "ends_with_eos", False),
        ("{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", "double_bos", True),
        ("{{ bos_token }}{% for m in messages %}{{ bos_token + m.content }}{% endfor %}", "double_bos", True),
        ("{{ bos_token }}{% for m in messages %}{{ m.content + bos_token }}{% endfor %}", "double_bos", False),
        ("{% for m in messages %}{{ m.content }}{% endfor %}!", "pooled_token", "!"),
    ],
)
def test_every_check_finds_its_fault(template, check, value):
    rows = comparisons(2)
    made = renderer(rows=rows)
    made.tokenizer.add_special_tokens({"bos_token": "<s>"})
    made.tokenizer.chat_template = template
    made = Renderer(made.tokenizer, Render(), causal=True)
    assert decoded_samples(rows, made, 1)[0]["check"][check] == value


def test_a_text_that_the_tokenizer_changes_is_still_found():
    from tokenizers import normalizers

    tokenizer = train_tokenizer(["the river"], 300)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    read = tokenizer.decode(Encoder(tokenizer, special=False).ids(["The River <|end|> RUNS"])[0])
    assert found("The River", read, tokenizer) and not found("The Bridge", read, tokenizer)


def test_token_ids_have_no_contents_to_find():
    answers = tuple(Response((Message("ids", text),)) for text in ("70 71 1", "72 1"))
    row = Comparison("r", "k", (Message("ids", "69"),), answers, (Judgment(0, 1),))
    made = renderer()
    (sample,) = decoded_samples([row], made, 4)
    assert sample["check"]["contents_found"] is None and sample["check"]["ends_with_eos"]
    assert sample["chosen"] == made.tokenizer.decode([69, 70, 71, 1]) and sample["chosen_tokens"] == 4
