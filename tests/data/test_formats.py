"""The table of formats: detection, ids, sources, tags, settings that nothing reads, and real files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import ASKED_FOR, FORMATS, REASONS, choose_format, detect, idle_settings, to_comparisons
from bradley.data.rows import RowPlace
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Rejected
from tests.data.rows import SAMPLES, TRANSCRIPT, UNUSABLE, one
from tests.helpers import comparisons, needs_data, read_gz


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_found_by_its_row_and_taken_by_no_earlier_one(format):
    row = SAMPLES[format]
    assert detect([row]) == format
    earlier = list(FORMATS)[: list(FORMATS).index(format)]
    assert [name for name in earlier if FORMATS[name].matches(row)] == []
    reading, rows = choose_format([(1, row)], RowPlace("x", "x"))
    assert reading.format == format and list(rows) == [(1, row)]


@pytest.mark.parametrize("format", FORMATS)
def test_every_sample_prefers_the_same_answer_to_the_same_question(format):
    result = one(SAMPLES[format])
    if format != "ids":
        assert "hi" in result.prompt[-1].content
        assert [response.text.strip() for response in result.responses][:2] == ["yo", "no"]
    assert all(judgment.better == 0 for judgment in result.judgments) and len(result.prompt) == 1


def test_every_reason_is_explained_and_those_asked_for_are_among_them():
    found = {reason for entries in UNUSABLE.values() for _, reason in entries}
    # A word that names no side can only be told from the words of other rows; long texts have tests of their own.
    assert (
        found | ASKED_FOR | {"unread_label", "too_long_text"} == set(REASONS)
        and frozenset({"score_ratio", "left_out", "no_judgment"}) == ASKED_FOR
    )
    assert all(REASONS.values()) and list(UNUSABLE) == list(SAMPLES) == list(FORMATS)


@pytest.mark.parametrize(
    ("format", "id"),
    [
        (f, i)
        for f, i in {
            "shp": "k3-a1-b1",
            "tldr": "t3_a",
            "multipref": "m1",
            "votes": "v",
            "rewardbench2": "r1",
            "hh": "rows:1",
        }.items()
    ],
)
def test_ids_have_other_names_in_public_data_sets(format, id):
    assert one(SAMPLES[format]).id == id


def test_prompt_ids_are_ids_where_there_is_no_other():
    row = {"prompt": "hi", "chosen": "yo", "rejected": "no", "prompt_id": "abc"}
    assert one(row).id == "abc" and one({**row, "id": 5}).id == "5" and one(row).tags == {}


def test_what_a_format_reads_and_what_is_no_label_becomes_no_tag():
    assert one(SAMPLES["shp"]).tags == {"domain": "askscience_test"}
    assert one(SAMPLES["multipref"]).tags == {"category": "Chat", "model_a": "x", "model_b": "y"}
    assert one(SAMPLES["rewardbench2"]).tags == {"subset": "Math", "num_correct": "1"}
    assert one(SAMPLES["helpsteer3"]).tags == {"domain": "code", "language": "python"}
    assert one(SAMPLES["tldr"]).tags == {"worker": "w", "batch": "batch3", "split": "train"}
    assert one(SAMPLES["ultrafeedback"]).source == "evol_instruct" and one(SAMPLES["ultrafeedback"]).tags == {}


def test_ids_sources_tags_and_margins():
    base = {"prompt": "p", "chosen": "a", "rejected": "b"}
    no_tags = {"margin": 2, "long": "y" * 81, "none": None, "float": 0.5, "list": [], "blank": ""}
    row = {**base, "id": 7, "source": "s", "set": "x", "ok": True, **no_tags}
    first, again, without = to_comparisons([row, {**row, "source": 3}, base], name="file")
    assert (first.id, again.id, without.id) == ("7", "file:2", "file:3")
    assert (first.source, again.source, without.source) == ("s", "file", "file")
    assert first.tags == {"set": "x", "ok": "true"} and first.judgments[0].margin == 2.0
    rows = [{**base, "id": "file:2"}, base, {**base, "id": "file:2"}]
    assert len({result.id for result in to_comparisons(rows, name="file")}) == 3


def test_a_rejected_row_takes_no_id():
    bad = {"id": 1, "prompt": "p", "completions": []}
    good = {"id": 1, "prompt": "p", "completions": [{"content": "a", "score": 1}, {"content": "b", "score": 0}]}
    assert [getattr(result, "id", None) for result in to_comparisons([bad, good])] == [None, "1"]


def test_settings_that_no_format_in_use_reads_are_idle():
    assert idle_settings(Data(), ["hh"]) == [] == idle_settings(Data(min_score_ratio=1.0, votes="share"), [])
    data = Data(min_score_ratio=2, strength_as="weight", votes="majority")
    assert [line.split(" ")[0] for line in idle_settings(data, ["hh", "preference", "comparison"])] == [
        "data.min_score_ratio",
        "data.strength_as",
        "data.votes",
    ]
    assert len(idle_settings(data, ["shp", "hh"])) == 2 and idle_settings(data, ["shp", "helpsteer3", "votes"]) == []
    (line,) = idle_settings(Data(strength_as="weight"), ["hh", "multipref"])
    assert line == "data.strength_as = weight is for helpsteer2 and helpsteer3, and the data are hh, multipref"
    assert all(hasattr(data, name) for shape in FORMATS.values() for name in shape.settings)


CHANGES = [(format, change) for format, entries in UNUSABLE.items() for change, _ in entries]


@pytest.mark.parametrize(("format", "change", "reason"), [(f, c, r) for f, e in UNUSABLE.items() for c, r in e])
def test_content_that_cannot_be_used_is_rejected_with_its_reason(format, change, reason):
    result = one({**SAMPLES[format], **change}, format)
    assert isinstance(result, Rejected) and (result.row, result.reason) == (1, reason)
    assert result.detail and result.detail.isprintable()


@given(st.data(), st.sampled_from(list(FORMATS)))
def test_clean_rows_come_out_the_same_among_dirty_ones(data, format):
    """One result per row, in order; ids are given by the rows, under every name that a format has for them."""
    dirt = data.draw(st.lists(st.one_of(st.none(), st.sampled_from([c for c, _ in UNUSABLE[format]])), max_size=8))
    rows = [
        own_id(format, number) if change is None else {**SAMPLES[format], **change}
        for number, change in enumerate(dirt)
    ]
    results = list(to_comparisons(rows, Data(format=format)))
    assert [isinstance(result, Rejected) for result in results] == [change is not None for change in dirt]
    assert [result.row for result in results if isinstance(result, Rejected)] == [
        number for number, change in enumerate(dirt, 1) if change is not None
    ]
    clean = [row for row, change in zip(rows, dirt, strict=True) if change is None]
    alone = list(to_comparisons(clean, Data(format=format)))
    assert alone == [result for result in results if isinstance(result, Comparison)]
    assert len({result.id for result in alone}) == len(alone) and not any(":" in result.id for result in alone)


def own_id(format, number):
    """The sample with an id of its own."""
    row = {key: value for key, value in SAMPLES[format].items() if key not in ("post_id", "comparison_id")}
    if format == "shp":
        return {**row, "post_id": f"q{number}"}
    return {**row, "comparison_id" if format == "multipref" else "id": f"q{number}"}


def test_detection_takes_what_fits_most_rows_and_names_what_it_found():
    hh = {"chosen": TRANSCRIPT + "a", "rejected": TRANSCRIPT + "b"}
    plain = {"chosen": "a", "rejected": "b"}
    assert detect([hh]) == "hh" and detect([plain]) == "preference" and detect([plain, hh, hh]) == "hh"
    assert detect([{**hh, "prompt": ""}]) == "hh" and detect([{"completions": []}]) == "ranked"
    with pytest.raises(DataError, match=r"x.jsonl: one answer in each row \(answer\)"):
        detect([{"question": "", "answer": ""}], "x.jsonl")
    with pytest.raises(UserError, match="dpo is not a known format"):
        to_comparisons([plain], Data(format="dpo"))


def test_comparisons_pass_through_and_dicts_may_stand_among_them():
    (ready,) = comparisons(1)
    first, second, third = to_comparisons([ready, ready, {"chosen": "a", "rejected": "b"}])
    assert first is ready and second.id == "rows:2" and second.prompt == ready.prompt and third.id == "rows:3"
    with pytest.raises(DataError, match="row 1: found int"):
        list(to_comparisons([3]))


@pytest.mark.parametrize(
    ("path", "rows", "judgments", "prompts", "rejected"),
    [
        (("human_mix", "val.jsonl.gz"), 1537, 1537, 761, 0),
        (("human_mix", "train.jsonl.gz"), 10357, 10357, 5478, 0),
        (("gsm8k_solutions", "ranked.jsonl.gz"), 1319, 2429, None, 588),
        (("qa_feedback_dev", "ranked.jsonl.gz"), 500, None, None, 12),
        (("oasst1_zh", "ranked.jsonl.gz"), 775, None, None, 0),
        (("arena_bench_v1", "ranked.jsonl.gz"), 300, None, 300, 0),
        (("dpo_en_demo", "pairs.jsonl.gz"), 300, 300, None, 0),
    ],
)
def test_real_files_hold_what_their_notes_say(path, rows, judgments, prompts, rejected):
    results = list(to_comparisons(read_gz(needs_data(*path))))
    good = [result for result in results if isinstance(result, Comparison)]
    assert (len(results), len(results) - len(good)) == (rows, rejected)
    assert judgments in (None, sum(len(c.judgments) for c in good))
    assert prompts in (None, len({c.prompt_key for c in good}))
    assert len({c.id for c in good}) == len(good)
