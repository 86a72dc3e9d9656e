"""Source rows to comparisons: known shapes, content and structure told apart, real files against their counts."""

from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bradley.data.formats import FORMATS, REASONS, detect, to_comparisons
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Judgment, Message, Rejected, prompt_key
from tests.helpers import comparisons, needs_data, read_gz

USER, REPLY, OTHER = ({"role": r, "content": c} for r, c in (("user", "hi"), ("assistant", "yo"), ("assistant", "no")))
TRANSCRIPT = "\n\nHuman: hi\n\nAssistant: "
AB = st.text(st.sampled_from("ab \n"))


def one(row, format="auto", **settings):
    (result,) = to_comparisons([row], format, **settings)
    return result


def as_pairs(messages):
    return [(message.role, message.content) for message in messages]


def whole(comparison, index):
    messages = (*comparison.prompt, *comparison.responses[index].messages)
    return "".join(f"\n\n{'Human' if m.role == 'user' else 'Assistant'}: {m.content}" for m in messages)


def test_hh_rows_are_split_at_the_last_common_turn():
    common = TRANSCRIPT + "yo\n\nHuman: and?\n\nAssistant:"
    result = one({"chosen": common + "  a ", "rejected": common})
    assert as_pairs(result.prompt) == [("user", "hi"), ("assistant", "yo"), ("user", "and?")]
    assert [as_pairs(r.messages) for r in result.responses] == [[("assistant", " a ")], [("assistant", "")]]
    assert result.judgments == (Judgment(0, 1),) and result.rank is None
    assert result.prompt_key == prompt_key(result.prompt) and result.id == "rows:1"


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        (TRANSCRIPT + "a\n\nAssistant: b", TRANSCRIPT + "c"),
        (TRANSCRIPT + "a\n\nHuman: b\n\nAssistant: c", TRANSCRIPT + "d\n\nHuman: b\n\nAssistant: c"),
        (TRANSCRIPT + "a\n\nHuman: b", TRANSCRIPT + "a\n\nHuman: c"),
        (TRANSCRIPT + "a\n\nHuman: b", TRANSCRIPT + "d"),
        ("\n\nHuman: hi", "\n\nHuman: ho"),
        ("\n\nAssistant: a", "\n\nAssistant: b"),
        ("hi" + TRANSCRIPT + "a", "hi" + TRANSCRIPT + "b"),
        ("a", "b"),
        ("", ""),
    ],
)
def test_irregular_hh_rows_are_counted(chosen, rejected):
    for row in ({"chosen": chosen, "rejected": rejected}, {"chosen": rejected, "rejected": chosen}):
        result = one(row, "hh")
        assert isinstance(result, Rejected) and (result.reason, result.row) == ("irregular", 1) and result.detail


@given(AB, AB, AB)
def test_a_regular_transcript_can_be_rebuilt_to_the_byte(prompt, chosen, rejected):
    texts = [f"\n\nHuman: {prompt}\n\nAssistant: {response}" for response in (chosen, rejected)]
    result = one(dict(zip(("chosen", "rejected"), texts, strict=True)))
    assert [whole(result, 0), whole(result, 1)] == texts


def test_four_shapes_of_preference():
    user, yo, no = Message("user", "hi"), Message("assistant", "yo"), Message("assistant", "no")
    turns, prompt = ((yo,), (no,)), (user,)
    for row in (
        {"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]},
        {"chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [REPLY], "rejected": [OTHER]},
        {"prompt": [USER], "chosen": "yo", "rejected": "no"},
    ):
        result = one(row)
        assert (result.prompt, tuple(r.messages for r in result.responses)) == (prompt, turns)
    result = one({"prompt": "the sky ", "chosen": "is blue", "rejected": "is green"})
    assert as_pairs(result.prompt) == [("text", "the sky ")]
    assert [as_pairs(r.messages) for r in result.responses] == [[("text", "is blue")], [("text", "is green")]]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("the sky is blue", "the sky is black", "the sky is"),
        ("the sky is blue", "the sky is", "the sky"),
        ("so\n\n A", "so\n\n B", "so"),
        ("blue", "black", ""),
        (" \n", " x", ""),
        ("same text", "same text", "same"),
        ("", "x", ""),
    ],
)
def test_the_common_beginning_of_texts_ends_at_a_word(chosen, rejected, prompt):
    result = one({"chosen": chosen, "rejected": rejected})
    assert "".join(m.content for m in result.prompt) == prompt
    assert [prompt + response.text for response in result.responses] == [chosen, rejected]


@given(*[st.text(st.sampled_from("ab \n\u3000"), max_size=12)] * 3)
def test_prompt_and_response_are_the_source_text(common, chosen, rejected):
    chosen, rejected = common + chosen, common + rejected
    result = one({"chosen": chosen, "rejected": rejected})
    prompt = "".join(m.content for m in result.prompt)
    assert [prompt + response.text for response in result.responses] == [chosen, rejected]
    assert not prompt or (all(r.text[0].isspace() for r in result.responses) and not prompt[-1].isspace())


def test_longer_conversations_that_part_early_keep_every_turn():
    more = [{"role": "user", "content": "why"}, OTHER]
    result = one({"chosen": [USER, REPLY, *more], "rejected": [USER, OTHER, *more]})
    assert as_pairs(result.prompt) == [("user", "hi")]
    assert [m.content for m in result.responses[0].messages] == ["yo", "why", "no"]
    prefix = one({"chosen": [USER, REPLY, *more], "rejected": [USER, REPLY]})
    assert [len(r.messages) for r in prefix.responses] == [3, 1]


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


numbers = st.integers(-3, 3)


@given(st.lists(numbers, min_size=2, max_size=7), st.sampled_from(["score", "rank"]), st.sampled_from(["skip", "tie"]))
def test_every_pair_of_a_ranking_becomes_a_judgment(values, key, equal):
    row = {"prompt": "p", "completions": [{"content": str(i), key: value} for i, value in enumerate(values)]}
    result = one(row, equal_scores=equal)
    unequal = {
        ((i, j) if (values[i] > values[j]) == (key == "score") else (j, i))
        for i, j in combinations(range(len(values)), 2)
        if values[i] != values[j]
    }
    if isinstance(result, Rejected):
        assert result.reason == "no_judgment" and equal == "skip" and not unequal
        return
    assert {(j.better, j.worse) for j in result.judgments if not j.tie} == unequal
    ties = len(values) * (len(values) - 1) // 2 - len(unequal)
    assert sum(j.tie for j in result.judgments) == (ties if equal == "tie" else 0)
    sign = 1 if key == "score" else -1
    assert result.rank == tuple(sum(sign * other > sign * own for other in values) for own in values)
    if key == "score":
        assert [r.score for r in result.responses] == values
        assert all(j.margin == values[j.better] - values[j.worse] for j in result.judgments)


def test_ranks_win_over_scores_where_every_completion_has_one():
    a, b = {"content": "a", "rank": 1, "score": 9}, {"content": "b", "rank": 0, "score": 1}
    judgment = one({"prompt": "p", "completions": [a, b]}).judgments[0]
    assert (judgment.better, judgment.worse, judgment.margin) == (1, 0, None)
    del b["rank"]
    judgment = one({"prompt": "p", "completions": [a, b]}).judgments[0]
    assert (judgment.better, judgment.worse, judgment.margin) == (0, 1, 8.0)


@pytest.mark.parametrize(
    ("completions", "reason"),
    [
        ([], "one_response"),
        ([{"content": "a", "score": 1}], "one_response"),
        ([{"content": "a", "score": 1}, {"content": "b"}], "missing_score"),
        ([{"content": "a", "score": 1}, {"content": "b", "score": None}], "missing_score"),
        ([{"content": "a", "score": 1}, {"content": "b", "score": 1.0}], "no_judgment"),
        ([{"content": "a", "score": 1}, {"content": "\ud800", "score": 2}], "broken_text"),
    ],
)
def test_ranked_rows_that_cannot_be_used_are_counted(completions, reason):
    result = one({"prompt": "p", "completions": completions})
    assert isinstance(result, Rejected) and result.reason == reason and result.reason in REASONS


def test_messages_as_completions():
    entries = [{"content": [REPLY], "score": 1}, {"content": [OTHER], "score": 0}]
    result = one({"prompt": "hi", "completions": entries})
    assert as_pairs(result.prompt) == [("user", "hi")]
    assert as_pairs(result.responses[0].messages) == [("assistant", "yo")]


SYSTEM, TOOL = {"role": "system", "content": "s"}, {"role": "tool", "content": "t"}


@pytest.mark.parametrize(
    ("row", "found", "wanted"),
    [
        ({"chosen": "a"}, "the keys chosen", "the key rejected"),
        ({"chosen": "a", "rejected": None}, "null in rejected", "text or messages"),
        ({"chosen": "a", "rejected": [REPLY]}, "text in chosen and a list in rejected", "the same kind"),
        ({"chosen": 1, "rejected": 2}, "a number as response", "text, or messages"),
        ({"prompt": [USER], "chosen": [], "rejected": [REPLY]}, "an empty list as response", "text, or messages"),
        ({"prompt": None, "chosen": "a", "rejected": "b"}, "null as prompt", "text, or messages"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "the keys role in a message", '"content"'),
        ({"prompt": [{"role": "human", "content": ""}], "chosen": "a", "rejected": "b"}, "the role 'human'", "user"),
        ({"prompt": [{"role": "user", "content": None}], "chosen": "a", "rejected": "b"}, "null as content", "text"),
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
        list(to_comparisons([good, row], format, name="x.jsonl"))
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


def test_turns_that_templates_can_render_are_kept():
    answered = [USER, REPLY]
    for prompt in ([SYSTEM, USER], [USER, USER], [*answered, OTHER, USER], [*answered, TOOL, TOOL], [], answered):
        assert len(one({"prompt": prompt, "chosen": [REPLY], "rejected": [OTHER]}).prompt) == len(prompt)


def test_detection_takes_what_fits_most_rows_and_names_what_it_found():
    hh = {"chosen": TRANSCRIPT + "a", "rejected": TRANSCRIPT + "b"}
    plain = {"chosen": "a", "rejected": "b"}
    assert detect([hh]) == "hh" and detect([plain]) == "preference" and detect([plain, hh, hh]) == "hh"
    assert detect([{**hh, "prompt": ""}]) == "preference" and detect([{"completions": []}]) == "ranked"
    with pytest.raises(DataError, match=r"no known format has rows with answer, question") as caught:
        detect([{"question": "", "answer": ""}], "x.jsonl")
    assert all(name in caught.value.hint for name in FORMATS)
    with pytest.raises(UserError, match="dpo is not a known format"):
        to_comparisons([plain], "dpo")


def test_comparisons_pass_through_and_dicts_may_stand_among_them():
    (ready,) = comparisons(1)
    first, second, third = to_comparisons([ready, ready, {"chosen": "a", "rejected": "b"}])
    assert first is ready and second.id == "rows:2" and second.prompt == ready.prompt and third.id == "rows:3"
    with pytest.raises(DataError, match="row 1: found int"):
        list(to_comparisons([3]))


@given(st.permutations([0, 1, 2, 3]), st.data())
def test_a_ranking_does_not_depend_on_the_order_of_completions(order, data):
    scores = data.draw(st.lists(numbers, min_size=4, max_size=4))
    assume(len(set(scores)) > 1)
    entries = [{"content": f"c{i}", "score": score} for i, score in enumerate(scores)]

    def said(entries):
        result = one({"prompt": "p", "completions": entries})
        return {(result.responses[j.better].text, result.responses[j.worse].text, j.margin) for j in result.judgments}

    assert said(entries) == said([entries[i] for i in order])


def test_the_harmless_test_set_against_its_converted_twin():
    raw = read_gz(needs_data("hh_harmless_test", "raw", "test.jsonl.gz"))
    pairs = read_gz(needs_data("hh_harmless_test", "pairs.jsonl.gz"))
    results, twins = list(to_comparisons(raw)), list(to_comparisons(pairs))
    assert len(raw) == len(results) == 2312
    irregular = {number for number, pair in enumerate(pairs, 1) if pair.get("irregular")}
    assert {result.row for result in results if isinstance(result, Rejected)} == irregular and len(irregular) == 5
    regular = [entry for entry in zip(raw, results, twins, strict=True) if isinstance(entry[1], Comparison)]
    for row, result, twin in regular:
        assert [whole(result, 0), whole(result, 1)] == [row["chosen"], row["rejected"]]
        assert result.prompt_key == twin.prompt_key
        assert [r.text.strip() for r in result.responses] == [r.text.strip() for r in twin.responses]
    assert sum(any(not response.text for response in result.responses) for _, result, _ in regular) == 4


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
