"""Splits from settings: every row accounted for, evaluation sets left alone, and errors that say what to type."""

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.config import Data, Synthetic
from bradley.data.load import load_splits
from bradley.data.report import describe
from bradley.errors import DataError, UserError
from tests.data.loading import load, rows, write
from tests.helpers import comparisons, needs_data


def test_files_are_read_split_and_reported(tmp_path):
    train = write(tmp_path / "train.jsonl.gz", rows(300))
    hard = write(tmp_path / "hard.jsonl.gz", rows(5, prefix="q"))
    splits = load(Data(train=train, valid_share=0.1, test_share=0.2, eval_sets={"hard": hard}))
    assert list(splits.evals) == ["valid", "hard"] and len(splits.evals["hard"]) == 5
    ids = [c.id for part in (splits.train, splits.evals["valid"], splits.test) for c in part]
    assert sorted(map(int, ids)) == list(range(300)) and min(len(splits.test), len(splits.evals["valid"])) > 10
    report = splits.report["splits"]
    assert list(report) == ["train", "valid", "hard", "test"]
    assert report["train"]["split_off"] == {"valid": len(splits.evals["valid"]), "test": len(splits.test)}
    source = report["train"]["sources"][0]
    assert (source["path"], source["format"], source["rows"], len(source["sha256"])) == (train, "preference", 300, 64)


def test_rows_in_memory_replace_sources_and_may_be_comparisons():
    data = Data(train="missing.jsonl", valid="missing.jsonl", test="missing.jsonl")
    splits = load(data, train=rows(4), valid=iter(comparisons(3)), test=rows(2, prefix="t"))
    assert [c.id for c in splits.train] == ["0", "1", "2", "3"] and splits.evals["valid"] == comparisons(3)
    assert len(splits.test) == 2 and splits.report["splits"]["valid"]["sources"][0]["format"] == "comparison"
    splits = load(Data(valid_share=0.2), train=comparisons(50))
    assert len(splits.train) + len(splits.evals["valid"]) == 50 and splits.test == []
    assert load(Data(valid_share=0), train=rows(2)).evals == {}


def test_ids_are_unique_over_all_files_of_a_split(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.jsonl.gz", rows(3, prefix=folder))
    splits = load(Data(train=str(tmp_path / "*" / "x.jsonl.gz")), valid=rows(1, prefix="v"))
    assert [c.id for c in splits.train] == ["0", "1", "2", "x:1", "x:2", "x:3"]


def test_every_file_is_looked_for_before_the_first_is_read(tmp_path):
    (tmp_path / "train.jsonl").write_text("broken")
    (tmp_path / "valid.jsonl").touch()
    data = Data(train=str(tmp_path / "train.jsonl"), valid=str(tmp_path / "vaild.jsonl"))
    with pytest.raises(DataError, match=r"vaild\.jsonl does not exist") as caught:
        load(data)
    assert "valid.jsonl" in caught.value.hint


def test_synthetic_preferences_are_split_by_prompt():
    data = Data(synthetic=Synthetic(comparisons=200), valid_share=0.2)
    splits = load(data)
    train, valid = ({c.prompt_key for c in part} for part in (splits.train, splits.evals["valid"]))
    assert not train & valid and splits.report["splits"]["train"]["rows"] == 200
    assert load(data).train == splits.train and load(data, seed=1).train != splits.train


@pytest.mark.parametrize("name", ["valid", "test", "eval"])
def test_only_training_data_can_be_composed(name):
    data = Data(eval_sets={"eval": "synthetic:"}) if name == "eval" else Data(**{name: "synthetic:"})
    with pytest.raises(UserError, match=f"synthetic: is given for {name}") as caught:
        load(data)
    assert caught.value.hint
    with pytest.raises(UserError, match="together with other sources"):
        load(Data(train=["synthetic:", "x.jsonl"]))


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({}, {"valid": 20}),
        ({}, {"test": 20}),
        ({"valid": "v.jsonl.gz"}, {}),
        ({"eval_sets": {"hard": "v.jsonl.gz"}}, {}),
    ],
    ids=str,
)
def test_evaluation_data_without_training_data_are_refused(tmp_path, monkeypatch, settings, given):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "v.jsonl.gz", rows(20))
    held_out = {name: rows(count) for name, count in given.items()}
    with pytest.raises(UserError, match=r"no training data: .* is given, and train is not") as caught:
        load(Data(**settings), **held_out)
    assert "data.train" in caught.value.hint
    named = Data(train="synthetic:", synthetic={"comparisons": 40}, **settings)
    assert len(load(named, **held_out).train) > 10


def test_evaluation_sets_keep_everything_and_are_counted():
    faulty = [*rows(30), {**rows(1)[0], "id": "again"}, {"prompt": "same", "chosen": "x", "rejected": "x"}]
    data = Data(identical="error", duplicate="error", leaked="error", max_rejected_share=0, group_by="prompt")
    splits = load(data, train=rows(5, prefix="t"), valid=faulty)
    assert len(splits.evals["valid"]) == 32
    findings = splits.report["splits"]["valid"]["findings"]
    counts = {name: finding["count"] for name, finding in findings.items()}
    assert counts == {"identical": 1, "empty": 0, "bidirectional": 0, "contradictory": 0, "duplicate": 1}
    assert all(finding["policy"] == "keep" for finding in findings.values())


def test_too_many_unusable_rows_stop_the_run():
    bad = {"prompt": "p", "completions": [{"content": "a", "score": 1}]}
    completions = [{"content": "a", "rank": 0}, {"content": "b", "rank": 1}]
    train = [bad, bad, *({"prompt": f"p{i}", "completions": completions} for i in range(18))]
    held_out = rows(1, prefix="v")
    with pytest.raises(
        DataError, match=r"2 of 20 rows of train cannot be used \(one_response 2\).*row 1: 1 c"
    ) as caught:
        load(Data(), train=train, valid=held_out)
    assert "--data.max_rejected_share 0.1" in caught.value.hint
    splits = load(Data(max_rejected_share=0.1), train=train, valid=held_out)
    assert splits.report["splits"]["train"]["rejected"]["one_response"] == {
        "count": 2,
        "examples": [{"file": "train rows", "row": row, "detail": "1 completions"} for row in (1, 2)],
    }


def test_a_chosen_limit_or_grouping_is_no_reason_to_stop():
    data = Data(limit=3, eval_limit=2, group_by="prompt", max_rejected_share=0)
    train = [{"prompt": f"p{i % 8}", "chosen": f"{i}", "rejected": "no"} for i in range(40)]
    splits = load(data, train=train, valid=rows(9, prefix="v"), test=rows(5, prefix="t"))
    assert [len(part) for part in (splits.train, splits.evals["valid"], splits.test)] == [3, 2, 2]
    assert [len(c.responses) for c in splits.train] == [6] * 3
    account = splits.report["splits"]["train"]
    assert (account["grouped_away"], account["sampled_away"]) == (32, 5)


@pytest.mark.parametrize(
    ("data", "given_rows", "says", "hint"),
    [
        (Data(), {"train": []}, "train is empty: 0 rows", "give more data"),
        (Data(), {"train": rows(5), "valid": []}, "valid is empty", "give a set"),
        (Data(valid_share=0.001), {"train": rows(5)}, "valid is empty: its share", "--data.valid_share"),
        (Data(), {"train": rows(3), "valid": rows(1, prefix="v"), "test": []}, "test is empty", "give a set"),
    ],
)
def test_an_empty_split_is_an_error(data, given_rows, says, hint):
    with pytest.raises(DataError, match=says) as caught:
        load(data, **given_rows)
    assert hint in caught.value.hint


def test_description_names_everything_that_happened():
    bad = {"prompt": "q", "chosen": "x", "rejected": "x", "source": "twins"}
    data = Data(max_rejected_share=0.5, valid_share=0.3, limit=10)
    text = describe(load(data, train=[*rows(40), bad]).report)
    assert "train: 10 comparisons, 10 judgments, 20 responses, 10 prompts; 41 rows" in text
    found = "found 1 identical, 1 dropped, such as train:41"
    for note in ("for valid", found, "sample of 10: train 10 of", "split from train"):
        assert note in text
    report = load(data, train=rows(40)).report
    report["splits"]["train_probe"] = {"tokens": {}}
    assert "train_probe" not in describe(report)


def test_a_mixture_is_sampled_by_source_and_reported(tmp_path):
    paths = [write(tmp_path / f"{name}.jsonl.gz", rows(count, prefix=name)) for name, count in (("a", 40), ("b", 20))]
    data = Data(train=paths, mix={paths[0]: 0.25, paths[1]: 8}, valid_share=0.2)
    splits = load(data)
    account = splits.report["splits"]["train"]
    assert account["mix"] == {paths[0]: {"of": 40, "kept": 10}, paths[1]: {"of": 20, "kept": 8}}
    assert account["mixed_away"] == 42 and len(splits.train) + len(splits.evals["valid"]) == 18
    assert f"{paths[0]}: 10 of 40 comparisons" in describe(splits.report)
    with pytest.raises(DataError, match="asks for 21 comparisons"):
        load(Data(train=paths, mix={paths[1]: 21}))


def test_a_glob_is_one_part_of_a_mixture(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.jsonl.gz", rows(10, prefix=name))
    pattern = str(tmp_path / "*.gz")
    account = load(Data(train=pattern, mix={pattern: 0.5}, valid_share=0.0)).report["splits"]["train"]
    assert account["mix"] == {pattern: {"of": 20, "kept": 10}}
    assert [source["part"] for source in account["sources"]] == [pattern, pattern]


def test_a_cap_per_prompt_is_for_training_alone():
    many = [{"prompt": f"p{i % 4}", "chosen": f"{i}", "rejected": "no"} for i in range(20)]
    held = [{"prompt": "v", "chosen": f"{i}", "rejected": "no"} for i in range(6)]
    splits = load(Data(max_per_prompt=2), train=many, valid=held)
    assert (len(splits.train), len(splits.evals["valid"])) == (8, 6)
    assert splits.report["splits"]["train"]["capped_away"] == 12
    assert "capped per prompt: 12 left out" in describe(splits.report)


def test_columns_are_renamed_in_every_split(tmp_path):
    path = write(tmp_path / "x.jsonl.gz", [{"q": {"text": f"p{i}"}, "good": f"a{i}", "bad": "no"} for i in range(20)])
    columns = {"prompt": "q.text", "chosen": "good", "rejected": "bad"}
    splits = load(
        Data(train=path, columns=columns, valid_share=0.2), test=[{"q": {"text": "t"}, "good": "a", "bad": "b"}]
    )
    assert {c.responses[1].text for c in splits.train} == {"no"} and splits.test[0].responses[0].text == "a"
    with pytest.raises(DataError, match="row 1"):
        load(Data(train=path, columns={**columns, "margin": "by"}))


def test_a_setting_that_no_format_reads_is_an_error():
    with pytest.raises(UserError, match="min_score_ratio"):
        load(Data(min_score_ratio=2.0), train=rows(9))


def test_rows_that_were_to_be_left_out_are_no_reason_to_stop():
    shp = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_B": 10}
    train = [{**shp, "history": f"q{i}", "score_A": 10 * (1 + i % 4)} for i in range(40)]
    account = load(Data(min_score_ratio=2.5, max_rejected_share=0.0, valid_share=0.0), train=train).report["splits"][
        "train"
    ]
    assert (account["rejected"]["score_ratio"]["count"], account["comparisons"]) == (20, 20)


def test_prompts_that_were_inferred_are_said_to_be():
    bare = [{"chosen": f"What is {i}? It is {i}.", "rejected": f"What is {i}? I do not know."} for i in range(20)]
    splits = load(Data(valid_share=0.0), train=bare)
    assert splits.report["splits"]["train"]["inferred_prompts"] == 20
    assert "inferred 20 prompts from what both texts begin with" in describe(splits.report)
    assert load(Data(valid_share=0.0), train=rows(5)).report["splits"]["train"]["inferred_prompts"] == 0


@pytest.mark.parametrize("name", ["question", "instruction", "system", "context"])
def test_a_prompt_under_another_name_is_not_lost(name):
    row = {name: "Name a prime above ten.", "chosen": "Eleven.", "rejected": "Twelve."}
    replies = {s: [{"role": "assistant", "content": s}] for s in ("chosen", "rejected")}
    for one in (row, row | replies):
        splits = load(Data(valid_share=0.0), train=[one])
        assert [turn.content for turn in splits.train[0].prompt] == ["Name a prime above ten."]
        (source,) = splits.report["splits"]["train"]["sources"]
        assert source["reading"].startswith(f"prompt <- {name}, chosen <- chosen")
    whole = [{"role": "user", "content": "Name a prime."}, {"role": "assistant", "content": "2"}]
    spoken = {name: "Name a prime.", "chosen": whole, "rejected": [*whole[:1], {"role": "assistant", "content": "4"}]}
    assert load(Data(valid_share=0.0), train=[spoken]).train[0].prompt[0].content == "Name a prime."


def test_a_prompt_that_both_texts_repeat_is_there_once():
    given = {"prompt": "Name a prime above ten: ", "chosen": "eleven", "rejected": "twelve"}
    repeated = given | {side: given["prompt"] + given[side] for side in ("chosen", "rejected")}
    first, second = (load(Data(valid_share=0.0), train=[row]).train[0] for row in (given, repeated))
    assert (first.prompt, first.responses) == (second.prompt, second.responses)
    short = {"prompt": "I", "chosen": "I do", "rejected": "I do not"}
    assert load(Data(valid_share=0.0), train=[short]).train[0].responses[0].text == "I do"


def test_one_set_with_other_columns_and_one_without(tmp_path):
    mine = write(tmp_path / "mine.jsonl.gz", [{"q": f"p{i}", "good": "a", "bad": "b"} for i in range(20)])
    public = write(tmp_path / "public.jsonl.gz", rows(3, prefix="v"))
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert len(load(Data(train=mine, valid=public, columns=columns)).evals["valid"]) == 3


def test_a_mixture_of_rows_in_memory_is_refused():
    with pytest.raises(UserError, match=r"data\.mix has no effect on rows in memory"):
        load(Data(train="x.jsonl", mix={"x.jsonl": 0.5}), train=rows(10))


@pytest.mark.parametrize("odd", [{"weight": 1e-50}, {"margin": 1e39}, {"weight": 1e39}])
def test_numbers_that_single_precision_cannot_hold_are_faults_of_their_row(odd):
    with pytest.raises(DataError, match="row 2"):
        load(Data(valid_share=0.0), train=[rows(1)[0], rows(2)[1] | odd])


def test_texts_of_the_data_stay_on_their_line_of_the_screen():
    odd = rows(3)[2] | {"source": "x\u001b[2J\nerror: fake \ud800"}
    text = describe(load(Data(valid_share=0.0, limit=2), train=[*rows(2), odd]).report)
    assert "\nerror" not in text and "\u001b" not in text


def test_named_evaluation_sets_in_memory():
    splits = load(Data(valid_share=0.2), train=rows(40), eval_sets={"hard": rows(3, prefix="h"), "b": comparisons(2)})
    assert list(splits.evals) == ["valid", "hard", "b"] and len(splits.evals["hard"]) == 3
    for name in ("test", "a/b"):
        with pytest.raises(UserError, match="eval_sets: "):
            load(Data(), train=rows(4), eval_sets={name: rows(1)})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_texts():
    """Texts of 40 MB altogether; what stays in memory is a few hundred bytes for each row."""

    def long_rows():
        for n in range(5_000):
            yield {"prompt": f"{n}" + "x" * 4_000, "chosen": f"{n} " + "a" * 2_000, "rejected": f"{n} " + "b" * 2_000}

    load(Data(valid_share=0.1), train=rows(50))
    tracemalloc.start()
    splits = load_splits(Data(valid_share=0.1), 0, train=long_rows())
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(splits.train) > 4_000 and splits.train[7].prompt[0].content.endswith("x" * 4_000)
    assert peak < 6e6 and current < 5e6


KINDS = {
    "identical": {"prompt": "i", "chosen": "x", "rejected": "x"},
    "one_response": {"prompt": "o", "completions": [{"content": "x", "score": 1}]},
    "missing_score": {"prompt": "m", "completions": [{"content": "x"}, {"content": "y"}]},
    "empty": {"prompt": "e", "completions": [{"content": "", "rank": 0}, {"content": "y", "rank": 1}]},
}


@given(st.lists(st.sampled_from(["clean", *KINDS]), max_size=25), st.integers(0, 4), st.integers(0, 3), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_are_rows_used_and_rows_counted(tmp_path, kinds, limit, share, group):
    kinds = ["clean", *kinds]
    mixed = []
    for number, kind in enumerate(kinds):
        ranked = {"prompt": f"c{number}", "completions": [{"content": c, "score": s} for c, s in (("x", 1), ("y", 0))]}
        mixed.append({**(ranked if kind == "clean" else KINDS[kind]), "id": f"{kind}-{number}"})
    twins = [row for row in mixed if row["id"].startswith("identical")]
    pairs = write(tmp_path / "pairs.jsonl.gz", twins) if twins else ""
    ranked_file = write(tmp_path / "ranked.jsonl.gz", [row for row in mixed if row not in twins])
    data = Data(
        train=[ranked_file, pairs],
        limit=limit,
        empty="drop",
        group_by="prompt" if group else "none",
        max_rejected_share=0.99,
        valid_share=share / 10,
    )
    try:
        splits = load(data)
    except DataError as error:
        assert "is empty" in error.message
        return
    account = splits.report["splits"]["train"]
    used = [c.id for c in [*splits.train, *splits.evals.get("valid", [])]]
    assert account["rows"] == len(kinds)
    for reason in ("one_response", "missing_score"):
        assert account["rejected"].get(reason, {"count": 0})["count"] == kinds.count(reason)
    order = [row["id"] for row in mixed if row not in twins] + [row["id"] for row in twins]
    kept = [c.id for c in splits.train]
    assert kept == [name for name in order if name in kept]
    if not limit and not share:
        assert used == [name for name in order if name.startswith("clean")]


@pytest.mark.slow
def test_the_human_mix_holds_what_its_notes_say():
    train, valid = (str(needs_data("human_mix", f"{name}.jsonl.gz")) for name in ("train", "val"))
    splits = load(Data(train=train, valid=valid, group_by="prompt"))
    account, held = splits.report["splits"]["train"], splits.report["splits"]["valid"]
    blank = 11  # rows with a blank prompt share none with any other
    assert (account["rows"], account["prompts"]) == (10_357, 5_478 + blank)
    assert account["findings"]["duplicate"]["dropped"] == 64
    assert (held["comparisons"], held["prompts"], held["findings"]["duplicate"]["count"]) == (1_537, 761, 8)
    assert account["findings"]["leaked"]["count"] == 0 and account["judgments"] == 10_357 - 64


def test_the_harmless_transcripts_hold_what_their_notes_say():
    data = Data(train=str(needs_data("hh_harmless_test", "raw", "test.jsonl.gz")), valid_share=0.2)
    splits = load(data)
    account = splits.report["splits"]["train"]
    assert (account["rows"], account["rejected"]["irregular"]["count"]) == (2_312, 5)
    assert sum(splits.report["splits"][name]["findings"]["empty"]["count"] for name in ("train", "valid")) == 4


def test_an_evaluation_set_of_another_shape_has_a_format_and_columns_of_its_own(tmp_path):
    """By split, by source as spelled, and by a file of a glob; every other source keeps the common columns."""
    judged = [{"q": f"v{n}", "x": "yes", "y": "no", "votes": ["b"]} for n in range(3)]
    hard = write(tmp_path / "hard.jsonl.gz", judged)
    parts = [
        write(tmp_path / "part1.jsonl.gz", [{"q": f"p{n}", "good": "yes", "bad": "no"} for n in range(9)]),
        write(tmp_path / "part2.jsonl.gz", [{"ask": f"r{n}", "good": "yes", "bad": "no"} for n in range(9)]),
    ]
    data = Data(
        train=str(tmp_path / "part*.gz"),
        eval_sets={"hard": hard},
        format={"valid": "votes", hard: "votes"},
        columns={
            "prompt": "q",
            "chosen": "good",
            "rejected": "bad",
            parts[1]: {"prompt": "ask", "chosen": "good", "rejected": "bad"},
            "valid": {"prompt": "q", "response_a": "x", "response_b": "y"},
            "hard": {"prompt": "q", "response_a": "y", "response_b": "x"},
        },
    )
    splits = load(data, valid=judged)
    assert {c.prompt[0].content for c in splits.train} == {f"{p}{n}" for p in "pr" for n in range(9)}
    best = {name: c.responses[c.judgments[0].better].text for name, part in splits.evals.items() for c in part}
    assert best == {"valid": "no", "hard": "yes"}
    assert [splits.report["splits"][name]["sources"][0]["format"] for name in splits.evals] == ["votes", "votes"]


@pytest.mark.parametrize("how", [{"format": {"vaild": "votes"}}, {"columns": {"vaild": {"prompt": "q"}}}])
def test_a_format_of_no_source_is_an_error(how):
    with pytest.raises(UserError, match="names 'vaild', which is no split and no source") as caught:
        load(Data(**how), train=rows(3))
    assert caught.value.hint == "did you mean valid?"
