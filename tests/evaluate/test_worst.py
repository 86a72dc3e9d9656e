from hypothesis import given

from bradley.evaluate.worst import worst_judgments

from .tables import scored, tables


def test_the_largest_errors_first_ties_and_right_ones_left_out():
    rows = [
        scored("right", (2.0, 0.0)),
        scored("wrong", (0.0, 1.0)),
        scored("labelled tie", (0.0, 9.0), [(0, 1, 0.5)]),
        scored("ranked", (0.0, 5.0, 1.0), [(0, 1), (2, 0), (0, 2)]),
        scored("also wrong", (1.0, 2.0)),
        scored("equal", (1.0, 1.0)),
    ]
    found = worst_judgments(rows, 10)
    assert [(i, judgment.better, judgment.worse, margin) for i, judgment, margin in found] == [
        (3, 0, 1, -5.0),
        (4, 0, 1, -1.0),
        (3, 0, 2, -1.0),
        (1, 0, 1, -1.0),
    ]
    assert worst_judgments(rows, 2) == found[:2]


@given(tables())
def test_matches_a_plain_search(rows):
    margins = sorted(
        row.scores[j.better] - row.scores[j.worse] for row in rows for j in row.judgments if j.probability > 0.5
    )
    expected = [margin for margin in margins if margin < 0]
    assert [margin for _, _, margin in worst_judgments(rows, 5)] == expected[:5]
