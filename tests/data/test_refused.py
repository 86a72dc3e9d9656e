"""Rows that cannot be rendered: all are counted by reason before the run stops, or dropped and counted."""

import json

import pytest

from bradley.config import Data, Model, Render
from bradley.data.preview import preview
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE, train_tokenizer
from bradley.data.truncate import describe_ledger
from bradley.errors import DataError
from bradley.records import Comparison, Judgment, Message, Response
from tests.training.interrupted import quick_runs

pytestmark = pytest.mark.transformers

GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('no ' + m.role) }}{% endif %}{% endfor %}"
) + PLAIN_CHAT_TEMPLATE


def renderer(**settings):
    tokenizer = train_tokenizer(["Is it raining? Yes. No."], 300)
    tokenizer.chat_template = GEMMA
    return Renderer(tokenizer, Render(**settings), causal=True)


def row(number, *before, answer="Yes."):
    answers = tuple(Response((Message("assistant", text),)) for text in (answer, "No."))
    return Comparison(f"c{number}", "k", (*before, Message("user", "Hi")), answers, (Judgment(0, 1),))


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path_factory):
    """Runs without figures and report, which take longer than the run."""
    quick_runs(monkeypatch, tmp_path_factory.getbasetemp())


SYSTEM = Message("system", "Be kind.")
ROWS = [row(0), row(1, SYSTEM), row(2), row(3, SYSTEM, Message("user", "a")), row(4, answer="bad"), row(5)]


@pytest.mark.parametrize(("training", "what"), [(True, "training"), (False, "evaluation")])
def test_all_refused_rows_are_counted_before_the_run_stops(training, what):
    with pytest.raises(DataError) as caught:
        build_store(ROWS, renderer(), training=training)
    assert caught.value.message == (
        "comparison c1: the chat template refuses a conversation with the roles system, user, assistant: System role "
        f"not supported; 3 of 6 {what} comparisons cannot be used (System role not supported 2; no assistant 1)"
    )
    assert "--render.refused drop" in caught.value.hint


def test_a_single_refused_row_is_named():
    with pytest.raises(DataError, match=r"^comparison c1: the chat template refuses"):
        build_store(ROWS[:3], renderer(), training=True)


@pytest.mark.parametrize("training", [True, False])
def test_refused_rows_are_dropped_and_counted_on_request(training, tmp_path):
    made = renderer(refused="drop")
    for _ in range(2):
        store = build_store(ROWS, made, training=training, cache=tmp_path)
        assert [info.id for info in store.info] == ["c0", "c2", "c5"] and store.number.tolist() == [0, 2, 5]
        assert store.ledger.causes["refused"] == {
            "comparisons": 3,
            "dropped": 3,
            "tokens": 0,
            "example": "c1",
            "reasons": {"System role not supported": 2, "no assistant": 1},
        }
        assert store.ledger.lost({"refused"}) == {}
        assert describe_ledger("valid", store.ledger) == [
            "limits       3 valid comparisons refused, 3 dropped, 2 System role not supported, 1 no assistant"
        ]


def test_reasons_without_end_are_bounded():
    rows = [row(n, Message("user", f"{n}")) for n in range(50)]
    made = renderer(refused="drop")
    template = (
        "{% if messages | length > 2 %}{{ raise_exception(messages[0].content) }}{% endif %}" + PLAIN_CHAT_TEMPLATE
    )
    made.tokenizer.chat_template = template
    made = Renderer(made.tokenizer, made.settings, causal=True)
    store = build_store([row(99), *rows], made, training=True)
    reasons = store.ledger.causes["refused"]["reasons"]
    assert len(reasons) == 21 and reasons["other reasons"] == 30 and sum(reasons.values()) == 50


def test_rows_of_raw_with_tools_and_wrong_token_ids_are_refused_rows_too():
    ids = tuple(Response((Message("ids", text),)) for text in ("1 2", "99999"))
    calls = Response((Message("assistant", "", '{"name": "Ann"}'),))
    rows = [
        Comparison("ids", "k", (), ids, (Judgment(0, 1),)),
        Comparison("calls", "k", (), (calls, ROWS[0].responses[1]), (Judgment(0, 1),)),
        ROWS[0],
    ]
    store = build_store(rows, renderer(template="raw", refused="drop"), training=True)
    reasons = store.ledger.causes["refused"]["reasons"]
    assert [info.id for info in store.info] == ["c0"]
    assert sorted(reason.split()[0] for reason in reasons) == ["token", "tools,"]


def test_all_evaluation_rows_above_a_limit_are_counted():
    long = [row(n, answer="word " * 60) for n in range(4)]
    with pytest.raises(DataError, match=r"4 of 5 evaluation comparisons cannot be used \(response_over_limit 4\)"):
        build_store([ROWS[0], *long], renderer(max_tokens=40), training=False)


def test_a_run_goes_on_without_refused_rows_in_every_split(tmp_path):
    import bradley
    from tests.helpers import tiny_run

    template = tmp_path / "gemma.jinja"
    template.write_text(GEMMA)
    system = [{"role": "system", "content": "Be kind."}]
    rows = [
        {
            "prompt": [*(system if n % 5 == 0 else []), {"role": "user", "content": f"Is {n} even?"}],
            "chosen": [{"role": "assistant", "content": f"{n} is"}],
            "rejected": [{"role": "assistant", "content": "no idea"}],
        }
        for n in range(60)
    ]
    render = {"template": str(template), "refused": "drop", "max_tokens": 128}
    settings = tiny_run(render=render, data={"valid_share": 0.3}, log={"samples": 2})
    run = bradley.train(settings, train=rows, output=tmp_path / "run")
    splits = json.loads((tmp_path / "run" / "data_report.json").read_text())["splits"]
    dropped = {name: splits[name]["tokens"]["ledger"]["refused"]["dropped"] for name in ("train", "valid")}
    assert sum(dropped.values()) == 12 and all(dropped.values())
    assert len(run.rows("valid")) == splits["valid"]["comparisons"] - dropped["valid"]
    examples = json.loads((tmp_path / "run" / "examples.json").read_text())
    shown = [example for example in examples if example["set"] == "valid"]
    scored = {row.id: row.scores[0] for row in run.rows("valid")}
    assert shown and all(scored[example["id"]] == example["chosen_score"] for example in shown)
    assert all(example["prompt"][0]["role"] == "user" for example in shown)
    assert json.loads((tmp_path / "run" / "model" / "bradley.json").read_text())["kind"] == "messages"


def test_training_goes_on_if_its_first_rows_are_refused_and_nothing_is_held_out(tmp_path):
    """The decoded samples and the parity sample are drawn from the rows that are left."""
    import bradley
    from tests.helpers import tiny_run

    template = tmp_path / "gemma.jinja"
    template.write_text(GEMMA)
    system = [{"role": "system", "content": "Be kind."}]
    rows = [
        {
            "prompt": [*(system if n < 10 else []), {"role": "user", "content": f"Is {n} even?"}],
            "chosen": [{"role": "assistant", "content": f"{n} is"}],
            "rejected": [{"role": "assistant", "content": "no idea"}],
        }
        for n in range(30)
    ]
    render = {"template": str(template), "refused": "drop", "max_tokens": 128}
    settings = tiny_run(render=render, data={"valid_share": 0.0}, log={"samples": 2})
    bradley.train(settings, train=rows, output=tmp_path / "run")
    samples = json.loads((tmp_path / "run" / "samples.json").read_text())["train"]
    assert [sample["chosen"].split("|>")[1][:8] for sample in samples] == ["Is 10 ev", "Is 11 ev"]
    card = json.loads((tmp_path / "run" / "model" / "bradley.json").read_text())
    assert card["parity"]["rows"]


def test_the_preview_shows_refused_rows_and_goes_on(tmp_path):
    path, template = tmp_path / "rows.jsonl", tmp_path / "gemma.jinja"
    template.write_text(GEMMA)
    turns = [[{"role": "system", "content": "Be kind."}], []]
    rows = [
        {"prompt": [*turns[n % 2], {"role": "user", "content": f"{n}"}], "chosen": "Yes", "rejected": "No"}
        for n in range(8)
    ]
    for row in rows:
        row |= {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = Model(tokenizer="train", vocab_size=300)
    found = preview(Data(train=str(path), valid_share=0.0), Render(template=str(template)), model, 0)
    (stop,) = found["limits"]["train"]["stops"]
    assert stop.endswith("; 4 of 8 training comparisons cannot be used")
    assert [sample["id"] for sample in found["samples"]] == ["rows:2", "rows:4", "rows:6"]
    assert found["rows"][0]["chosen"] == "<|user|>1<|end|><|assistant|>Yes<|end|>"
    every = [{**row, "prompt": rows[0]["prompt"], "id": str(n)} for n, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in every))
    settings = Data(train=str(path), valid_share=0.0, duplicate="keep")
    found = preview(settings, Render(template=str(template), refused="drop"), model, 0)
    assert found["rows"][0]["chosen"].startswith("system: Be kind.") and found["samples"] == []
    assert found["limits"]["train"]["ledger"]["refused"]["dropped"] == 8
