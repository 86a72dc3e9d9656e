"""Diagnostics change every split as they say, count the changes, and hide nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from bradley.config import Data, Render
from bradley.data.diagnostics import describe_changes, diagnose, preferred
from bradley.data.load import Splits, load_splits
from bradley.data.render import Renderer
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Judgment, Message, Response, prompt_key
from bradley.runs.layout import TEST
from tests.helpers import comparisons, tokenizer_for

from .loading import check_account

ROWS = comparisons(400, responses=3)


def splits_of(train=ROWS, **more) -> Splits:
    """Splits of rows in memory."""
    return load_splits(Data(valid_share=0.25, test_share=0.25, **more), 0, train=train)


def changed(kind: str, splits: Splits | None = None, renderer: Renderer | None = None, **settings) -> Splits:
    """Splits after a diagnostic, with their account checked."""
    found = diagnose(splits or splits_of(), Data(diagnostic=kind, **settings), renderer)
    for split in found.report["splits"].values():
        check_account(split)
    return found


def texts(row: Comparison) -> list[str]:
    return [response.text for response in row.responses]


def test_none_changes_nothing() -> None:
    splits = splits_of()
    assert diagnose(splits, Data(), None) is splits


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_labels_are_reversed_at_the_rate_and_texts_stay(rate) -> None:
    before, after = splits_of(), changed("label_shuffle", diagnostic_rate=rate)
    for name, rows in before.by_name.items():
        pairs = list(zip(rows, after.by_name[name], strict=True))
        flipped = [old.flip() == new for old, new in pairs]
        assert all(new in (old, old.flip()) for old, new in pairs)
        assert sum(flipped) == after.report["splits"][name]["diagnostic"]["changed"]
        # Four standard errors.
        assert abs(np.mean(flipped) - rate) < 4 * (rate * (1 - rate) / len(pairs)) ** 0.5
    assert TEST in after.by_name and after.report["diagnostic"] == "label_shuffle"


def test_coins_of_splits_and_seeds_differ() -> None:
    def coins(seed: int, name: str) -> list[bool]:
        return [row.judgments[0].better != 0 for row in changed("label_shuffle", diagnostic_seed=seed).by_name[name]]

    assert coins(0, "valid") == coins(0, "valid") != coins(1, "valid")
    assert coins(0, "valid")[:90] != coins(0, TEST)[:90]


@pytest.mark.parametrize("kind", ["prompt_only", "random_negatives"])
def test_responses_come_from_other_prompts_of_the_same_split(kind) -> None:
    before, after = splits_of(), changed(kind)
    for name, rows in after.by_name.items():
        source = {text: row.prompt_key for row in before.by_name[name] for text in texts(row)}
        best = {row.responses[0].text for row in before.by_name[name]}
        for old, new in zip(before.by_name[name], rows, strict=True):
            drawn = new.responses if kind == "prompt_only" else new.responses[1:]
            assert new.prompt == old.prompt
            assert len(set(texts(new))) == 3
            assert all(source[response.text] != new.prompt_key for response in drawn)
            if kind == "random_negatives":
                assert new.responses[0].messages == old.responses[0].messages
                assert {response.text for response in drawn} <= best
                assert new.judgments == (Judgment(0, 1), Judgment(0, 2))
            else:
                assert new.judgments == old.judgments


def test_drawn_sides_are_exchangeable() -> None:
    """A reader of responses alone, here of the first letters, is right on half of the rows, whatever the labels."""
    rng = np.random.default_rng(0)
    marked = [
        replace(
            row,
            responses=(Response((Message("assistant", f"good {number} {rng.random()}"),)), *row.responses[1:]),
        )
        for number, row in enumerate(comparisons(2000))
    ]
    for kind in ("prompt_only", "random_negatives"):
        rows = changed(kind, splits_of(marked)).train
        value = {"good": 1.0}
        gaps = [value.get(texts(row)[0][:4], 0.0) - value.get(texts(row)[1][:4], 0.0) for row in rows]
        right = np.mean([0.5 + 0.5 * np.sign(gap) for gap in gaps])
        assert abs(right - 0.5) < 4 * 0.5 / len(rows) ** 0.5, kind


def test_comparisons_without_a_best_response_leave_and_are_counted() -> None:
    tied = [replace(row, judgments=(Judgment(0, 1, probability=0.5),)) for row in ROWS[:100]]
    after = changed("random_negatives", splits_of([*tied, *ROWS[100:]]))
    left_out = {
        name: split["diagnostic"]["left_out"].get("no best response", 0)
        for name, split in after.report["splits"].items()
    }
    assert sum(left_out.values()) == 100
    assert any("with no best response" in line for line in describe_changes(after.report))


def test_preferred_is_the_one_that_never_loses() -> None:
    row = ROWS[0]
    assert preferred(replace(row, judgments=(Judgment(1, 0), Judgment(2, 1)))) == 2
    assert preferred(replace(row, judgments=(Judgment(0, 1), Judgment(1, 2), Judgment(2, 0)))) is None
    assert preferred(replace(row, judgments=(Judgment(2, 1, probability=0.5),))) is None


@pytest.mark.parametrize("kind", ["prompt_only", "random_negatives"])
def test_a_single_prompt_has_no_donors(kind) -> None:
    prompt = (Message("user", "same"),)
    same = [replace(row, prompt=prompt, prompt_key=prompt_key(prompt)) for row in ROWS[:4]]
    splits = Splits(same, {}, [], {"splits": {}})
    with pytest.raises(DataError, match=r"needs .* responses to other prompts"):
        diagnose(splits, Data(diagnostic=kind), None)


def test_lengths_are_matched_in_tokens() -> None:
    renderer = Renderer(tokenizer_for(ROWS), Render(template="raw"), causal=True)
    before, after = splits_of(), changed("length_matched", None, renderer, diagnostic_threshold=5)
    sizes = {row.id: [len(ids) for ids in renderer.comparisons([row])[0].ids] for row in ROWS}
    for name, rows in before.by_name.items():
        expected = {
            row.id: near
            for row in rows
            if (near := [j for j in row.judgments if abs(sizes[row.id][j.better] - sizes[row.id][j.worse]) < 5])
        }
        assert {row.id: list(row.judgments) for row in after.by_name[name]} == expected
        assert 0 < len(expected) < len(rows)
        assert after.report["splits"][name]["diagnosed_away"] == len(rows) - len(expected)


def test_matching_lengths_needs_a_tokenizer() -> None:
    with pytest.raises(UserError, match="counts tokens"):
        diagnose(splits_of(), Data(diagnostic="length_matched"), None)


def test_a_split_without_matches_is_an_error() -> None:
    long = [
        replace(
            row,
            responses=(Response((Message("assistant", f"{row.id} " * 50),)), *row.responses[1:2]),
            judgments=(Judgment(0, 1),),
        )
        for row in ROWS[:60]
    ]
    renderer = Renderer(tokenizer_for(ROWS), Render(template="raw"), causal=True)
    with pytest.raises(DataError, match=r"leaves no comparison of train: .* with unlike lengths"):
        changed("length_matched", splits_of(long), renderer, diagnostic_threshold=2)
