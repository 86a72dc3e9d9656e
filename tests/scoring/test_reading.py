"""The reading of rows to score: the shapes of training give the token ids of training, and nothing is lost unsaid."""

import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bradley.cli.main import run
from bradley.common.console import Console
from bradley.config import Data, Render
from bradley.data.formats import to_comparisons
from bradley.data.load import load_splits
from bradley.data.render import Renderer
from bradley.data.rows import RowPlace
from bradley.data.sources import resolve
from bradley.errors import DataError, UserError
from bradley.records import Candidates, Comparison, Message
from bradley.scoring.file import How, reader_of
from bradley.scoring.reading import HEAD, RowReader
from bradley.scoring.rows import Parsed
from bradley.scoring.source import Input
from tests.data.rows import SAMPLES
from tests.helpers import DATA, comparisons, tokenizer_for
from tests.scoring.conftest import read, write
from tests.scoring.stub import Stub, ended_before_part, place, score, stubbed

__all__ = ["stubbed"]
LAYOUTS = DATA / "layouts"
NOT_PAIRS = {
    "lm_human_preferences.json": "token ids of another tokenizer",
    "prm800k.jsonl": "no column holds answers to score",
    "summarize_axis.parquet": "no column holds answers to score",
    "verl_rl.parquet": "no column holds answers to score",
}
"""Layouts without a reading for scoring."""
ONE_ANSWER = {"helpsteer2_ratings.jsonl.gz", "llamafactory_kto.json", "trl_kto.parquet"}
UNLABELLED = {"stack_exchange_paired.parquet", "trl_prm.parquet"}
"""Layouts that training does not read as they are, and scoring does."""
FILES = sorted(path.name for path in LAYOUTS.glob("*.*") if path.suffix != ".md" and "truth" not in path.name)


def parsed(rows, **options):
    """Parse rows that begin a file."""
    numbered = list(enumerate(rows, 1))
    reader = RowReader(Data(**options), "rows", numbered[:HEAD])
    return [reader.parse(row, RowPlace("rows", "", number, reader.settings)) for number, row in numbered]


def said(turns):
    return [(turn.role, turn.content) for turn in turns]


@pytest.mark.parametrize("name", FILES or ["no data folder"])
def test_rows_of_every_layout_are_read_as_training_reads_them(name):
    if not FILES:
        pytest.skip(f"{LAYOUTS} is not there")
    (source,) = resolve(str(LAYOUTS / name))
    rows = [row for _, row in source.rows()]
    if name in NOT_PAIRS:
        with pytest.raises(DataError, match=NOT_PAIRS[name]):
            parsed(rows)
        return
    found = parsed(rows)
    assert all(isinstance(one, Parsed) for one in found)
    assert all(one.several is (name not in ONE_ANSWER) for one in found)
    if name in ONE_ANSWER | UNLABELLED:
        return
    trained = list(to_comparisons(rows, Data(equal_scores="tie")))
    for one, comparison in zip(found, trained, strict=True):
        if not isinstance(comparison, Comparison):
            assert comparison.reason == "no_judgment"
            continue
        assert one.candidates.prompt == comparison.prompt
        assert one.candidates.template_args == comparison.template_args
        texts, wanted = ([response.messages for response in each.responses] for each in (one.candidates, comparison))
        assert sorted(texts, key=repr) == sorted(wanted, key=repr)


TEXT = st.text("abc de", min_size=1, max_size=12).map(str.strip).filter(bool)
SHAPES = {
    "preference": lambda q, a, b, s: {"prompt": q, "chosen": a, "rejected": b},
    "turns": lambda q, a, b, s: {"prompt": [user(q)], "chosen": [reply(a)], "rejected": [reply(b)]},
    "whole turns": lambda q, a, b, s: {"chosen": [user(q), reply(a)], "rejected": [user(q), reply(b)]},
    "hh": lambda q, a, b, s: {side: f"\n\nHuman: {q}\n\nAssistant: {x}" for side, x in zip(SIDES, (a, b), strict=True)},
    "transcript": lambda q, a, b, s: {
        "prompt": f"\n\nHuman: {q}\n\nAssistant:",
        "chosen": f" {a}",
        "rejected": f" {b}",
    },
    "system": lambda q, a, b, s: {"system": s, "question": q, "chosen": a, "rejected": b},
    "alpaca": lambda q, a, b, s: {"instruction": q, "input": s, "chosen": a, "rejected": b},
    "labelled": lambda q, a, b, s: {"question": q, "response_a": a, "response_b": b, "winner": "model_b"},
    "numbered": lambda q, a, b, s: {"prompt": q, "output_1": a, "output_2": b, "output_3": s, "scores": [3, 2, 1]},
    "listed": lambda q, a, b, s: {"system": s, "prompt": q, "answers": [scored(a, 2), scored(b, 1)]},
    "ranked": lambda q, a, b, s: {"prompt": q, "completions": [{"content": a, "rank": 1}, {"content": b, "rank": 2}]},
    "sharegpt": lambda q, a, b, s: {
        "conversations": [{"from": "system", "value": s}, {"from": "human", "value": q}],
        "chosen": {"from": "gpt", "value": a},
        "rejected": {"from": "gpt", "value": b},
    },
    "shp": lambda q, a, b, s: {"history": q, "human_ref_A": a, "human_ref_B": b, "labels": 1},
    "no prompt": lambda q, a, b, s: {
        "prompt": "" if len(s) % 2 else None,
        "chosen": f"{q} {a}",
        "rejected": f"{q} {b}",
    },
}
SIDES = ("chosen", "rejected")


def user(text):
    return {"role": "user", "content": text}


def reply(text):
    return {"role": "assistant", "content": text}


def scored(text, score):
    return {"text": text, "score": score}


@pytest.fixture(scope="module")
def renderers():
    tokenizer = tokenizer_for(comparisons(20))
    return [Renderer(tokenizer, Render(max_tokens=512, template=name), causal=True) for name in ("raw", "simple_chat")]


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_in_a_shape_of_training_have_the_token_ids_of_training(shape, renderers, data):
    texts = data.draw(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), min_size=2, max_size=4))
    # Numbers keep rows and answers apart: equal texts would be dropped by training.
    rows = [
        {"id": f"r{n}", **SHAPES[shape](f"Ask {n} {q}?", f"one {n} {a}", f"two {n} {b}", f"Be {n} {s}.")}
        for n, (q, a, b, s) in enumerate(texts)
    ]
    trained = {
        row.id: row for row in load_splits(Data(valid_share=0), 0, train=json.loads(json.dumps(rows)), cache=None).train
    }
    found = parsed(rows)
    assert len(trained) == len(rows)
    for renderer in renderers:
        for row, one in zip(rows, found, strict=True):
            assert isinstance(one, Parsed) and type(one.candidates) is Candidates, one
            (wanted,), (ours,) = (list(renderer.comparisons([each])) for each in (trained[row["id"]], one.candidates))
            assert ours.ids == wanted.ids and ours.prompt_tokens == wanted.prompt_tokens


@pytest.mark.parametrize("format", SAMPLES)
def test_every_format_of_training_is_read_by_its_name_and_alone(format):
    names = [format] if format != "labelled" else ["labelled", "auto"]
    for name in names:
        (one,) = parsed([SAMPLES[format]], format=name)
        assert isinstance(one, Parsed) and one.several and one.candidates.id == "row 1"


SYSTEM = [("system", "s"), ("user", "hi")]
GPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]


@pytest.mark.parametrize(
    "row, prompt, answer",
    [
        ({"system": "s", "prompt": "hi", "response": "yo"}, SYSTEM, ("assistant", "yo")),
        ({"system": "", "prompt": "hi", "response": "yo"}, [("user", "hi")], ("assistant", "yo")),
        ({"instruction": "hi", "input": "there", "output": "yo"}, [("text", "hi\nthere")], ("text", "yo")),
        ({"context": "doc", "question": "hi", "answer": "yo"}, [("text", "doc\n\nhi")], ("text", "yo")),
        ({"system": "s", "messages": [user("hi"), reply("yo")]}, SYSTEM, ("assistant", "yo")),
        ({"conversations": GPT}, [("user", "hi")], ("assistant", "yo")),
        ({"messages": GPT}, [("user", "hi")], ("assistant", "yo")),
        ({"messages": json.dumps([user("hi"), reply("yo")])}, [("user", "hi")], ("assistant", "yo")),
        ({"prompt": "\n\nHuman: hi\n\nAssistant:", "response": " yo"}, [("user", "hi")], ("assistant", "yo")),
        ({"prompt": [user("hi")], "response": [user("hi"), reply("yo")]}, [("user", "hi")], ("assistant", "yo")),
        ({"prompt": "hi", "messages": [user("hi"), reply("yo")]}, [("user", "hi")], ("assistant", "yo")),
    ],
)  # fmt: skip
def test_one_answer_is_read_with_the_parts_of_its_prompt(row, prompt, answer):
    (one,) = parsed([row])
    assert said(one.candidates.prompt) == prompt and not one.several
    assert [said(response.messages) for response in one.candidates.responses] == [[answer]]


@pytest.mark.parametrize("prompt", [None, "", "  ", []])
@pytest.mark.parametrize("answers", [{"response": "yo"}, {"responses": ["yo", "no"]}, {"response": [reply("yo")]}])
def test_an_empty_prompt_is_no_prompt(prompt, answers):
    (one,) = parsed([{"prompt": prompt, **answers}])
    assert one.candidates.prompt == () and one.candidates.responses[0].text == "yo"
    role = "text" if isinstance(next(iter(answers.values()))[0], str) else "assistant"
    assert one.candidates.responses[0].messages == (Message(role, "yo"),)


@pytest.mark.parametrize("key, value", [
    ("history", [["a", "b"]]), ("images", ["a.png"]), ("document", "short"), ("conversation", [user("a"), reply("b")]),
    ("note", "a long text of many words " * 8), ("context", {"text": "doc"}),
])  # fmt: skip
@pytest.mark.parametrize("row", [
    {"prompt": [user("hi")], "response": "yo"}, {"prompt": "hi", "responses": ["yo", "no"]},
    {"messages": [user("hi"), reply("yo")]}, {"prompt": "hi", "chosen": "yo", "rejected": "no"},
], ids=["single", "several", "messages", "pair"])  # fmt: skip
def test_a_column_of_the_conversation_is_read_or_stops_the_scoring(row, key, value):
    row = {**row, key: value}
    try:
        (one,) = parsed([row])
    except DataError as error:
        assert f"{key} (" in error.message and "would not be read" in error.message
        assert f"--data.ignore {key}" in error.hint
        (one,) = parsed([row], ignore=key)
        assert one.candidates.responses[0].text == "yo"
    else:
        assert key in ("history", "conversation")
        assert said(one.candidates.prompt) == [("user", "a"), ("assistant", "b"), ("user", "hi")]


def test_a_column_that_appears_later_costs_its_row_the_score():
    rows = [{"prompt": "hi", "response": "yo"}] * HEAD
    *_, last = parsed([*rows, {"prompt": "hi", "response": "yo", "images": ["a.png"]}])
    assert last == "unread: images (list) would not be read, and may be part of the conversation"


def test_columns_are_named_as_in_training():
    rows = [{"q": f"hi {n}", "info": {"a": "yo"}, "b": "no", "n": n} for n in range(3)]
    names = {"prompt": "q", "chosen": "info.a", "rejected": "b"}
    for one in parsed(rows, columns=names):
        assert one.candidates.prompt[0].content.startswith("hi")
        assert [response.text for response in one.candidates.responses] == ["yo", "no"]
    (one,) = parsed([{"q": "hi", "a": "yo"}], columns={"prompt": "q", "response": "a"})
    assert said(one.candidates.prompt) == [("text", "hi")] and not one.several
    with pytest.raises(DataError, match="row 1: found the keys q, a at x of x"):
        parsed([{"q": "hi", "a": "yo"}], columns={"prompt": "x", "response": "a"})
    with pytest.raises(UserError, match="promt, which no format reads"):
        parsed([{"q": "hi"}], columns={"promt": "q"})
    with pytest.raises(UserError, match="nonsense is not a known format"):
        parsed([{"prompt": "hi", "response": "yo"}], format="nonsense")


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "own_rows.py").write_text(
        "import bradley\n"
        "def one(row):\n    return {'prompt': row['q'], 'responses': row['all']} if row['q'] else None\n"
        "def two(row):\n    return [row, row]\n"
        "def whole(rows):\n    yield from rows\n"
        "def pair(row):\n"
        "    rows = [{'prompt': row['q'], 'chosen': row['all'][0], 'rejected': row['all'][1]}]\n"
        "    return next(bradley.to_comparisons(rows))\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_rows", None)


def test_a_function_makes_one_row_of_each_row(functions):
    rows = [{"q": "hi", "all": ["yo", "no"]}, {"q": "", "all": []}]
    for name in ("one", "pair"):
        first, second = parsed(rows, format=f"own_rows:{name}")
        assert [response.text for response in first.candidates.responses] == ["yo", "no"] and first.holders == ()
        assert isinstance(second, str)
    assert parsed(rows, format="own_rows:one")[1] == "left_out: own_rows:one returned None"
    with pytest.raises(DataError, match="found 2 rows from own_rows:two, wanted one row"):
        parsed(rows, format="own_rows:two")
    with pytest.raises(UserError, match="own_rows:whole takes the rows of a whole file"):
        parsed(rows, format="own_rows:whole")


@pytest.mark.parametrize("entries, reason", [
    (["yo", None, "no"], "shape: found null as response"), (["yo", 5, "no"], "shape: found a number as response"),
    ([{"content": "yo"}, {"content": None}, {"content": "no"}], "shape: found the keys (none)"),
    (["yo", "a\0b", "no"], "bad_characters: NUL as character 2"),
    ([[reply("yo")], [user("a")], [reply("no")]], "shape: found the roles user, user"),
], ids=str)  # fmt: skip
def test_one_faulty_response_does_not_cost_the_others_their_scores(entries, reason, folder, tmp_path):
    row = {"prompt": "hi", "completions" if isinstance(entries[0], dict) else "responses": entries}
    (one,) = parsed([row])
    assert [response.text for response in one.candidates.responses] == ["yo", "no"]
    assert list(one.gaps) == [1] and one.gaps[1].startswith(reason)
    sound = {**row, **{key: [value[0], value[2]] for key, value in row.items() if key != "prompt"}}
    source = write(tmp_path / "in.jsonl", [row, sound])
    assert run(["score", str(folder), str(source), "-o", str(tmp_path / "out.jsonl"), "--device", "cpu"]) == 0
    first, second = read(tmp_path / "out.jsonl")
    assert first["scores"][1] is None and first["error"].startswith(reason) and "error" not in second
    np.testing.assert_allclose([first["scores"][0], first["scores"][2]], second["scores"], rtol=1e-4, atol=1e-6)
    assert run(["score", str(folder), str(source), "-o", str(tmp_path / "best.jsonl"), "--best-of"]) == 0
    best = read(tmp_path / "best.jsonl")[0]
    wanted = entries[best["best"]]
    assert best["best"] in (0, 2) and best["response"] == (wanted["content"] if isinstance(wanted, dict) else wanted)


def test_a_null_in_a_numbered_column_is_a_gap():
    row = {"question": "hi", "answer_1": "yo", "answer_2": "no", "answer_3": "so"}
    whole, gap = parsed([row, {**row, "answer_2": None}])
    assert len(whole.candidates.responses) == 3 and whole.given == ["yo", "no", "so"]
    assert [response.text for response in gap.candidates.responses] == ["yo", "so"] and list(gap.gaps) == [1]


@pytest.mark.usefixtures("stubbed")
class TestFile:
    """Whole commands with a model of a line."""

    @pytest.mark.parametrize("field", ["error", "score", "scores", "tokens", "truncated"])
    @pytest.mark.parametrize("at", [0, 6])
    @pytest.mark.parametrize("suffix", [".jsonl", ".json"])
    def test_a_field_of_an_added_name_stops_before_the_first_row(self, field, at, suffix, tmp_path):
        source, scored = place(tmp_path) / "in.jsonl", []
        rows = read(source)
        rows[at] = {**rows[at], field: None}
        source = tmp_path / f"in{suffix}"
        write(source, rows) if suffix == ".jsonl" else source.write_text(json.dumps(rows))
        Stub.before = lambda: scored.append(1)
        with pytest.raises(DataError, match=f"row {at + 1}: found the field {field}") as caught:
            score(tmp_path, source=str(source))
        assert not scored and "--prefix" in caught.value.hint and not list(tmp_path.glob("out*"))
        found = score(tmp_path, source=str(source), how={"prefix": "rm_"})
        assert found["rows"] == 7 and all(
            field in row or number != at for number, row in enumerate(read(tmp_path / "out.jsonl"))
        )

    def test_names_inside_texts_and_objects_are_no_fields(self, tmp_path):
        source = place(tmp_path) / "in.jsonl"
        write(source, [{"prompt": 'an "error"', "response": "A", "info": {"score": 1}}])
        assert score(tmp_path)["scored"] == 1

    @pytest.mark.parametrize("change", [
        {"columns": {"prompt": "id2"}}, {"ignore": "id"}, {"format": "own_rows:same"},
    ], ids=["columns", "ignore", "function"])  # fmt: skip
    def test_parts_of_another_reading_are_never_continued(self, change, functions):
        place(functions)
        with (functions / "own_rows.py").open("a") as code:
            code.write("def same(row):\n    return row\n")
        write(functions / "in.jsonl", [{**row, "id2": "Q"} for row in read(functions / "in.jsonl")])
        with ended_before_part(2):
            score(functions)
        with pytest.raises(Exception, match="parts of other work: reading differ"):
            score(functions, data=Data(**change))
        assert score(functions)["rows"] == 7

    def test_parts_of_another_code_of_the_function_are_never_continued(self, functions):
        place(functions)
        code = functions / "own_rows.py"
        code.write_text("def same(row):\n    return row\n")
        given = {"data": Data(format="own_rows:same")}
        with ended_before_part(2):
            score(functions, **given)
        sys.modules.pop("own_rows")
        code.write_text("def same(row):\n    return {**row, 'response': 'other'}\n")
        with pytest.raises(Exception, match="parts of other work: reading differ"):
            score(functions, **given)

    def test_the_command_takes_the_settings_of_training(self, functions, capsys):
        place(functions)
        write(functions / "in.jsonl", [{"q": "hi", "x": "yo", "note": "n" * 90 + " a b c d e"}] * 3)
        words = ["score", "m1", "in.jsonl", "-o", "out.jsonl", "--device", "cpu"]
        names = ["--data.columns.prompt", "q", "--data.columns.response", "x"]
        assert run([*words, *names]) == 3
        assert "note (text) would not be read" in capsys.readouterr().err
        assert run([*words, *names, "--data.ignore", "note"]) == 0
        assert read(functions / "out.jsonl")[0]["score"] == 2.0 and "note" in read(functions / "out.jsonl")[0]
        assert run([*words, "--data.limit", "3"]) == 2
        assert "data.limit is no option of `bradley score`" in capsys.readouterr().err
        assert run([*words, "--data.format.valid", "votes"]) == 2
        assert "'valid', which is no split and no source" in capsys.readouterr().err

    def test_cells_of_a_table_that_are_named_stay_text(self, functions):
        place(functions)
        (functions / "in.csv").write_text("q,x\n1,22\n2,333\n")
        names = Data(columns={"prompt": "q", "response": "x"})
        assert score(functions, source="in.csv", data=names)["scored"] == 2
        assert [row["score"] for row in read(functions / "out.jsonl")] == [2.0, 3.0]


def test_the_rule_of_the_reading_is_said(tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [{"system": "s", "question": "q", "answer": "a"}])
    reader_of(Input(str(source)), How(), Console("bar"))
    assert "rows are read as prompt <- system + question, answers <- answer" in capsys.readouterr().err
    reader_of(Input(str(write(source, [{"prompt": "q", "response": "a"}]))), How(), Console("bar"))
    assert capsys.readouterr().err == ""


def test_the_best_of_a_shape_of_training_stands_in_place_of_its_answers(folder, tmp_path):
    rows = [{"id": n, "system": "s", "question": f"q {n}", "response_a": "yo", "response_b": "no no"} for n in range(3)]
    source = write(tmp_path / "in.jsonl", rows)
    words = ["score", str(folder), str(source), "--device", "cpu", "-o"]
    assert (
        run([*words, str(tmp_path / "all.jsonl")]) == 0 and run([*words, str(tmp_path / "b.jsonl"), "--best-of"]) == 0
    )
    for row, every, best in zip(rows, read(tmp_path / "all.jsonl"), read(tmp_path / "b.jsonl"), strict=True):
        assert {key: every[key] for key in row} == row and len(every["scores"]) == 2
        assert best["best"] == int(np.argmax(every["scores"])) and best["response"] == ["yo", "no no"][best["best"]]
        assert "response_a" not in best and "response_b" not in best and best["system"] == "s"
