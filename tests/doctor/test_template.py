"""Probes of the way from text to pooled token, on sound ones and on planted faults."""

import pytest
import torch

from bradley.config import Render
from bradley.data import truncate
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.doctor.template import ends_kept, pooled_last, rendered_alike, same_template
from tests.helpers import BERT, GPT2, LLAMA, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers
ROWS = [*comparisons(10), *comparisons(4, responses=3, seed=3, first=100)]
TOKENIZER = tokenizer_for(ROWS)


def renderer(causal=True, **settings):
    return Renderer(TOKENIZER, Render(**{"max_tokens": 200, **settings}), causal=causal)


def test_the_end_of_a_response_is_kept_by_limits_and_lost_by_right_truncation(monkeypatch) -> None:
    short = renderer(max_tokens=12, over_long="truncate_response")
    store = build_store(ROWS, short, training=False)
    assert store.truncated.any()
    assert ends_kept(store, ROWS, short).verdict == "pass"

    def right(comparison, ids, cuts, ledger):
        return [row[: len(row) - cut.prompt - cut.response] for row, cut in zip(ids, cuts, strict=True)], [
            cut.prompt + cut.response for cut in cuts
        ]

    monkeypatch.setattr(truncate, "_shortened", right)
    planted = ends_kept(build_store(ROWS, short, training=False), ROWS, short)
    assert planted.verdict == "fail" and planted.cause.startswith("texts are cut on the right")


def test_a_template_that_leaves_the_end_out_fails(tmp_path) -> None:
    file = tmp_path / "cut.jinja"
    file.write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'][:3] }}\n{% endfor %}")
    cutting = renderer(template=str(file))
    assert ends_kept(build_store(ROWS, cutting, training=False), ROWS, cutting).verdict == "fail"
    assert ends_kept(build_store(ROWS, renderer(), training=False), ROWS, renderer()).verdict == "pass"


@pytest.mark.parametrize("config", [LLAMA, GPT2, BERT], ids=lambda config: config["model_type"])
def test_scores_are_read_at_the_pooled_token(config) -> None:
    model = tiny_model(config, TOKENIZER)
    found = pooled_last(model, renderer(model.causal), ROWS)
    assert found.verdict == "pass" and "pooled at" in found.measured
    assert model.training


def test_a_score_read_at_another_token_fails_and_names_the_place(monkeypatch) -> None:
    model = tiny_model(LLAMA, TOKENIZER, engine="plain")

    def before_last(batch):
        from bradley.model.engine.batch import padded_rows

        rows = padded_rows(batch, model.pad_id)
        hidden = model.network.base_model(input_ids=rows.input_ids, attention_mask=rows.attention_mask)
        return hidden.last_hidden_state[torch.arange(len(rows.last)), rows.last - 1]

    monkeypatch.setattr(model, "_padded", before_last)
    found = pooled_last(model, renderer(), ROWS)
    assert found.verdict == "fail" and "the token 1 before the last" in found.measured


def test_another_template_at_evaluation_fails() -> None:
    train = build_store(ROWS, renderer(), training=True)
    assert same_template(train, build_store(ROWS, renderer(), training=False)).verdict == "pass"
    other = build_store(ROWS, renderer(template="raw"), training=False)
    planted = same_template(train, other)
    assert planted.verdict == "fail" and f"{len(train)} of {len(train)} rows" in planted.measured
    assert rendered_alike(other, ROWS, renderer(), "valid").verdict == "fail"
    assert rendered_alike(other, ROWS, renderer(template="raw"), "valid").verdict == "pass"


def test_a_lower_limit_cuts_the_beginning_and_is_no_other_template() -> None:
    short = build_store(ROWS, renderer(max_tokens=14, over_long="truncate_response"), training=False)
    assert short.truncated.any()
    assert same_template(build_store(ROWS, renderer(), training=True), short).verdict == "pass"
