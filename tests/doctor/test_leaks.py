"""Probes of the rows: training rows in evaluation, a text of one side in the other, responses equal as read."""

from dataclasses import replace

from bradley.doctor.leaks import contained, equal_as_read, repeated_rows
from bradley.records import Message, Response
from tests.helpers import comparisons, store_for, tokenizer_for

TRAIN, VALID = comparisons(60), comparisons(40, seed=9)
UNLIKE = [replace(row, prompt=(Message("user", f"another {row.prompt[0].content}"),)) for row in VALID]


def test_training_rows_in_evaluation_fail_in_any_order_of_the_sides() -> None:
    sound = repeated_rows(TRAIN, {"valid": UNLIKE}, "keep")
    assert (sound.verdict, sound.value, sound.n) == ("pass", 0.0, 40)
    planted = repeated_rows(TRAIN, {"valid": [*UNLIKE, TRAIN[3].swap()]}, "keep")
    assert (planted.verdict, planted.of, planted.value) == ("fail", "data", 1 / 41)
    assert "c3 of valid" in planted.measured and planted.remedy


def test_a_shared_prompt_fails_where_the_run_would_stop() -> None:
    shared = replace(VALID[0], prompt=TRAIN[0].prompt, prompt_key=TRAIN[0].prompt_key)
    assert repeated_rows(TRAIN, {"valid": [*UNLIKE, shared]}, "error").verdict == "fail"
    assert repeated_rows(TRAIN, {"valid": [*UNLIKE, shared]}, "keep").verdict == "pass"


def longer(row, copied):
    """The rejected response as a long text of its own, with the chosen response inside if `copied`."""
    chosen = f"{row.id}: the river runs under a stone bridge"
    rejected = f"Well. {chosen} And so on." if copied else f"{row.id}: nobody counts the birds in tall trees, and so on"
    sides = (chosen, rejected)
    return replace(row, responses=tuple(Response((Message("assistant", text),)) for text in sides))


def test_chosen_text_in_the_rejected_fails() -> None:
    rows = comparisons(400)
    assert contained([longer(row, False) for row in rows], 0.9998).verdict == "pass"
    planted = contained([longer(row, True) for row in rows], 0.9998)
    assert (planted.verdict, planted.value, planted.clusters) == ("fail", 1.0, 400)
    few = contained([longer(row, k < 1) for k, row in enumerate(rows[:20])], 0.9998)
    assert few.verdict == "undecided" and few.needed is not None and few.needed > 20


def test_responses_equal_as_read_fail() -> None:
    end = " and nobody counts them" * 12
    alike = [
        replace(row, responses=tuple(Response((Message("assistant", r.text + end),)) for r in row.responses))
        for row in VALID
    ]
    tokenizer = tokenizer_for([*TRAIN, *alike])
    whole = store_for(alike, tokenizer, training=False)
    assert equal_as_read({"valid": (whole, alike)}).verdict == "pass"
    # The limit cuts the oldest tokens, and the two responses differ there alone.
    cut = store_for(alike, tokenizer, training=False, max_tokens=12, over_long="truncate_response")
    planted = equal_as_read({"valid": (cut, alike)})
    assert (planted.verdict, planted.value) == ("fail", 1.0)
