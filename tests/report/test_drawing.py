from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.report.plots.drawing import APART, compact, line_looks, panel_grid, spread_out


@given(st.lists(st.floats(0, 1), max_size=8))
def test_labels_keep_their_order_their_distance_and_their_mean(ends):
    places = spread_out(sorted(ends))
    assert all(high - low >= APART - 1e-9 for low, high in pairwise(places))
    assert sum(places) == pytest.approx(sum(ends), abs=1e-9)


def test_labels_that_are_far_apart_stay_where_they_are():
    assert spread_out([0.1, 0.5, 0.9]) == [0.1, 0.5, 0.9]
    assert spread_out([0.5, 0.5]) == pytest.approx([0.46, 0.54])
    assert spread_out([0.1, 0.5, 0.52, 0.9]) == pytest.approx([0.1, 0.47, 0.55, 0.9])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (7500, "7500"), (10_000, "10k"), (12_500, "12.5k"), (2e6, "2M"), (-40_000, "−40k")],
)
def test_numbers_on_an_axis_are_short(value, text):
    assert compact(value) == text


def test_no_two_of_the_first_24_lines_look_alike():
    assert len({tuple(look.values()) for look in islice(line_looks(), 24)}) == 24


@pytest.mark.parametrize(("panels", "size"), [(1, (4.6, 2.8)), (2, (9.2, 2.8)), (5, (9.2, 8.4))])
def test_panels_lie_two_wide(panels, size):
    figure, axes = panel_grid(panels)
    assert tuple(figure.get_size_inches()) == pytest.approx(size)
    assert len(axes) == panels
    assert sum(axis.axison for axis in figure.axes) == panels
