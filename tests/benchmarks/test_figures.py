import json

import pytest
from figures import Turn, compare, flops, largest_difference, table, total

OURS = [Turn(2.0, 32, 4000, 2, 1.0), Turn(3.0, 48, 6000, 3, 1.5)]
PEER = [Turn(4.0, 16, 8000, 4, 3.0), Turn(5.0, 20, 9000, 5, 2.0)]


def test_a_comparison_is_the_hand_calculation() -> None:
    found = compare(OURS, PEER)
    assert found.ratio == pytest.approx((80 / 5) / (36 / 9))  # 16 judgments/s against 4
    assert found.promised == pytest.approx((17000 / 36) / (10000 / 80))
    assert found.efficiency == pytest.approx(4 * 36 / 17000 * 125)
    assert found.ratios == pytest.approx((4.0, 4.0, 4.0))
    rounds = sorted([4 / ((8000 / 16) / 125), 4 / ((9000 / 20) / 125)])
    assert found.efficiencies == pytest.approx((sum(rounds) / 2, *rounds))


def test_efficiency_is_the_ratio_of_token_rates() -> None:
    found = compare(OURS, PEER)
    assert found.efficiency == pytest.approx(total(OURS).tokens_per_second / total(PEER).tokens_per_second)


def test_a_total_adds_work_and_keeps_the_highest_peak() -> None:
    assert total(PEER) == Turn(9.0, 36, 17000, 9, 3.0)


def test_rounds_must_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare(OURS, PEER[:1])


def test_flops_count_six_for_each_parameter_and_token() -> None:
    assert flops(Turn(2.0, 1, 1000, 1, 0.0), 10) == 30000.0


def test_curves_differ_by_their_largest_distance_in_either_direction() -> None:
    assert largest_difference([0.7, 0.6, 0.5], [0.7, 0.9, 0.1]) == pytest.approx(0.4)


def test_the_table_shows_what_json_holds() -> None:
    found = {
        "trial": {
            "data": "pairs.jsonl",
            "max_tokens": 64,
            "parameters": 10_600_000,
            "device": "cpu",
            "precision": "auto",
            "step_judgments": 16,
        },
        "comparisons": 3,
        "dropped": {"over_long": {"dropped": 2}, "prompt_truncated": {"dropped": 0}},
        "turns": 2,
        "arms": {
            name: {"judgments_per_second": rate, "tokens_per_second": 1.0, "flops": 2e9, "peak_gib": 1.0, **more}
            for name, rate, more in [
                ("bradley", 16.0, {}),
                ("default", 4.0, {"micro_batch": 8, "calibration": {4: 3.5, 8: 4.25, 16: None}}),
            ]
        },
        "rounds": {"default": compare(OURS, PEER)._asdict()},
        "loss": {"difference": 2e-7, "reason": "", "ours": [0.7] * 8},
        "promised_epoch_default": 4.61,
        "efficiency": 1.06,
        "matmul_share": 0.66,
        "matmul_flops": 188e9,
    }
    shown = table(json.loads(json.dumps(found)))
    for part in (
        "3 comparisons of up to 64 tokens (left out: 2 over_long)",
        "8 of 4: 3.50/s, 8: 4.25/s, 16: no room",
        "against default: 4.00x, promised 3.78x (over the whole data 4.61x), efficiency 1.06",
        "matmul share 0.66 of 188 GFLOP/s",
        "2.0e-07 over 8 steps",
    ):
        assert part in shown
