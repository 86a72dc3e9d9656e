import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from bradley.errors import DataError, UserError
from bradley.evaluate.probes import PROBES, box_to_header, header_to_box, probe_effects, probed
from bradley.evaluate.summary import summarize
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

from .tables import scored, written

TEXT = st.lists(
    st.sampled_from(["word ", "Another, ", "x\n", "- item\n", "```", "\\boxed{4}", "# 5", "\n", "é. ", "the end"]),
    max_size=12,
).map("".join)
COPYING = ("filler", "repeat", "quotes", "irrelevant_suffix", "bullets", "whitespace", "punctuation")


def change(name, text, seed=0):
    return PROBES[name].change(text, seed)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("repeat", "a b", "a b\n\na b"),
        ("quotes", "a", '"a"'),
        ("bullets", "one\n\n- two\n# three\n```\nfour\n```\nfive", "- one\n\n- two\n# three\n```\nfour\n```\n- five"),
        ("whitespace", "a b  c\n d ```x y``` e f", "a  b  c\n d ```x y``` e  f"),
        ("punctuation", "Yes, 1.5 is fine! (ok?)", "Yes , 1.5 is fine ! (ok?)"),
        ("box_to_header", r"So $\boxed{\frac{1}{2}}$.", "So $\\frac{1}{2}$.\n\n# \\frac{1}{2}"),
        ("box_to_header", r"open \boxed{1", r"open \boxed{1"),
        ("header_to_box", "So 4.\n#### 4\n", "So 4.\n\\boxed{4}"),
        ("header_to_box", "# Title\ntext", "# Title\ntext"),
        ("header_to_box", "```\n# 4", "```\n# 4"),
        ("typos", "a the noon", "a the noon"),
    ],
)
def test_each_change_by_hand(name, text, expected):
    assert change(name, text) == expected


@given(TEXT, st.integers(0, 5))
def test_a_change_keeps_what_it_says(text, seed):
    for name in COPYING:
        new = change(name, text, seed)
        kept = [char for char in text if not char.isspace()]
        rest = iter(new)
        assert all(char in rest for char in kept), name  # every letter is there, in order
    typos = change("typos", text, seed)
    assert change("typos", text, seed) == typos
    assert sorted(typos) == sorted(text)
    assert typos.split("```")[1::2] == text.split("```")[1::2]
    boxed = box_to_header(text, 0)
    if boxed != text:
        assert boxed.count("\\boxed{") == text.count("\\boxed{") - 1
        assert boxed.count("```") % 2 or header_to_box(boxed, 0).endswith("\\boxed{4}")


def test_typos_swap_a_twentieth_of_the_longer_words_and_depend_on_the_seed():
    text = " ".join(f"word{chr(97 + k % 26)}abcd" for k in range(200))
    new = change("typos", text, 1)
    assert sum(a != b for a, b in zip(text.split(), new.split(), strict=True)) == 10
    assert change("typos", text, 2) != new
    assert change("typos", "plain", 0) in {"palin", "plian"}


def example():
    """Three comparisons with every field set, the second of token ids, the third a K-way one."""
    prompts = [(Message("user", question),) for question in ("Why?", "How?", "When?")]
    answers = [
        (Response((Message("assistant", "first", '{"a": 1}'), Message("assistant", r"is \boxed{4}")), 0.5),) * 2,
        (Response((Message("ids", "1 2 3"),)), Response((Message("assistant", ""),))),
        tuple(Response((Message("assistant", text),)) for text in ("best", "middle", "worst", "unjudged")),
    ]
    judgments = [
        (Judgment(1, 0, 0.9, 2.0, 3.0),),
        (Judgment(0, 1),),
        (Judgment(0, 1), Judgment(1, 2), Judgment(3, 0, 0.5)),
    ]
    return [
        Comparison(
            f"{k}", prompt_key(prompts[k]), prompts[k], answers[k], judgments[k], None, "s", {"t": "x"}, {"tools": k}
        )
        for k in range(3)
    ]


def test_only_the_text_of_the_last_message_changes():
    rows = example()
    found = probed(rows, "box_to_header")
    assert [row.id for row in found] == ["0"]
    assert found[0].responses[0].messages == (rows[0].responses[0].messages[0], Message("assistant", "is 4\n\n# 4"))
    assert found[0].responses[0].score == 0.5
    assert found[0].tags == {"t": "x", "probe": "box_to_header", "probed": "0 1"}
    for name in {field.name for field in fields(Comparison)} - {"responses", "tags"}:
        assert getattr(found[0], name) == getattr(rows[0], name)
    assert [row.id for row in probed(rows, "quotes")] == ["0", "2"]  # ids and empty texts hold nothing to change
    assert rows == example()


def test_sides_are_the_responses_that_are_only_preferred_or_only_rejected():
    rows = example()
    assert [row.tags["probed"] for row in probed(rows, "quotes")] == ["0 1", "0 1 2 3"]
    assert [row.tags["probed"] for row in probed(rows, "quotes", side="chosen")] == ["1", "0"]
    assert [row.tags["probed"] for row in probed(rows, "quotes", side="rejected")] == ["0", "2"]


def test_another_prompt_deals_every_prompt_once_and_keeps_the_responses():
    rows = example()
    rows.append(replace(rows[0], id="3"))
    found = probed(rows, "another_prompt", seed=3)
    assert [row.responses for row in found] == [row.responses for row in rows]
    assert sorted(row.prompt_key for row in found[:3]) == sorted(row.prompt_key for row in rows[:3])
    for old, new in zip(rows, found, strict=True):
        assert new.prompt_key == prompt_key(new.prompt) != old.prompt_key
        giver = next(row for row in rows if row.prompt_key == new.prompt_key)
        assert (new.prompt, new.template_args) == (giver.prompt, giver.template_args)
    assert found[3].prompt == found[0].prompt
    assert probed(rows[:1] + rows[3:], "another_prompt") == []


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(PROBES)))
def test_the_order_of_the_rows_changes_nothing(shuffle, name):
    rows = example()
    expected = {row.id: row for row in probed(rows, name, seed=1)}
    shuffle.shuffle(rows)
    assert {row.id: row for row in probed(rows, name, seed=1)} == expected


def test_effects_by_hand():
    before = [
        scored("a", (2.0, 0.0), prompt="p"),
        scored("b", (1.0, 0.0), prompt="p"),
        scored("c", (0.0, 3.0), prompt="q"),
        scored("d", (1.0, 0.0), [(0, 1, 0.5)], prompt="r"),
    ]
    after = [
        replace(scored("a", (1.0, 1.5), prompt="x"), tags={"probe": "typos", "probed": "0 1"}),
        replace(scored("c", (0.0, 2.0), prompt="q"), tags={"probe": "typos", "probed": "1"}),
        replace(scored("d", (9.0, 0.0), [(0, 1, 0.5)], prompt="r"), tags={"probe": "typos", "probed": "0"}),
    ]
    found = probe_effects(before, after)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["probe"], found["expected"]) == ("typos", "same")
    assert (found["comparisons"], found["not_applied"], found["responses"]) == (3, 1, 4)
    assert found["score_change"]["value"] == pytest.approx((-1.0 + 1.5 - 1.0 + 8.0) / 4)
    assert found["score_change"]["clusters"] == 3
    assert found["margin_deviation"] == pytest.approx(np.sqrt((4 + 1 + 9) / 3))
    assert found["accuracy_before"]["value"] == 0.5 and found["accuracy_after"]["value"] == 0.0
    assert (found["accuracy_drop"]["value"], found["accuracy_drop"]["n"]) == (0.5, 2)
    assert (found["changed_decisions"]["value"], found["changed_decisions"]["clusters"]) == (0.5, 2)


def test_a_judgment_between_unchanged_responses_has_no_part():
    before = [scored("k", (2.0, 1.0, 0.0), [(0, 1), (0, 2), (1, 2)])]
    after = [replace(scored("k", (2.0, 1.0, 3.0), [(0, 1), (0, 2), (1, 2)]), tags={"probe": "quotes", "probed": "2"})]
    found = probe_effects(before, after)
    assert (found["changed_decisions"]["value"], found["changed_decisions"]["n"]) == (1.0, 2)
    assert (found["score_change"]["value"], found["responses"]) == (3.0, 1)


def test_a_probe_that_costs_every_score_a_constant_is_found_and_turns_no_decision():
    draw = np.random.default_rng(0)
    before = [scored(f"{k}", draw.normal(size=2).tolist(), prompt=f"{k}") for k in range(60)]
    noise = draw.normal(-0.5, 0.1, 60)
    after = [
        replace(row, scores=tuple(score + shift for score in row.scores), tags={"probe": "quotes", "probed": "0 1"})
        for row, shift in zip(before, noise, strict=True)
    ]
    found = probe_effects(before, after)
    expected = ttest_1samp(noise, 0.0).confidence_interval(0.95)  # both responses of a prompt move alike
    assert (found["score_change"]["low"], found["score_change"]["high"]) == pytest.approx((expected.low, expected.high))
    assert found["changed_decisions"]["value"] == found["accuracy_drop"]["value"] == 0.0
    assert found["accuracy_before"]["value"] == summarize(before)["accuracy"]["value"]


def test_a_length_scorer_falls_for_filler_on_the_rejected_side_and_ignores_the_prompt():
    texts = [("a" * (3 + k % 40), "b" * (2 + k % 40)) for k in range(80)]
    rows = [scored(f"{k}", [len(text) for text in pair], prompt=f"{k}") for k, pair in enumerate(texts)]
    comparisons = [written(row, pair) for row, pair in zip(rows, texts, strict=True)]

    def rescored(changed):
        return [
            replace(scored(row.id, [len(r.text) for r in row.responses], prompt=row.prompt_key), tags=row.tags)
            for row in changed
        ]

    found = probe_effects(rows, rescored(probed(comparisons, "filler", side="rejected")))
    assert (found["accuracy_before"]["value"], found["accuracy_after"]["value"]) == (1.0, 0.0)
    assert found["changed_decisions"]["value"] == 1.0 and found["responses"] == 80
    comparisons = [replace(row, prompt=(Message("user", row.id),)) for row in comparisons]
    found = probe_effects(rows, rescored(probed(comparisons, "another_prompt")))
    assert found["expected"] == "lower" and found["score_change"]["value"] == 0.0


def test_what_cannot_be_compared_is_refused():
    row = scored("a", (1.0, 0.0))
    done = replace(row, tags={"probe": "typos", "probed": "0"})
    for before, after, message in [
        ([row], [], "got no rows"),
        ([row], [row], "got none"),
        ([row], [done, replace(done, id="b", tags={"probe": "quotes", "probed": "0"})], "got quotes, typos"),
        ([row], [replace(done, id="b")], "no row before the probe is comparison b"),
        ([row], [replace(done, judgments=(Judgment(1, 0),))], "no row before"),
        ([row], [replace(done, scores=(float("inf"), 0.0))], "not a finite number"),
        ([row, row], [done], "2 scored rows before the probe"),
    ]:
        with pytest.raises(DataError, match=message):
            probe_effects(before, after)
    with pytest.raises(UserError, match="no probe is called 'typo'"):
        probed([], "typo")
    with pytest.raises(UserError, match="side is 'better'"):
        probed([], "typos", side="better")
    with pytest.raises(UserError, match="changes the prompt"):
        probed([], "another_prompt", side="chosen")
