"""Figures as text: small numbers stay readable, and 0 has no minus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.report.figure_text import number_span, plain, point_span, signed, sureness

FIGURES = st.floats(-1e6, 1e6)


@given(FIGURES, st.integers(2, 4))
def test_a_number_keeps_its_sign_and_two_significant_digits(value, digits):
    text = signed(value, digits)
    assert float(text) == pytest.approx(value, rel=0.051, abs=0) or value == 0
    assert text.startswith("-") == (value < 0) and float(plain(value, digits)) == float(text)


@given(FIGURES, FIGURES, FIGURES)
def test_no_zero_has_a_minus(value, low, high):
    shown = point_span({"value": value / 1e7, "low": low / 1e7, "high": high / 1e7}).replace("[", "").replace("]", "")
    assert "-0.0" not in shown.replace(",", "").split()
    assert "-0" not in number_span({"value": -0.0, "low": -0.0, "high": -0.0}, sign=True)


@given(st.floats(-1, 1), st.floats(0, 0.5))
def test_sureness_needs_an_interval_without_0_and_a_tenth_of_a_point(value, half):
    text = sureness({"value": value, "low": value - half, "high": value + half})
    assert ("no evidence" in text) == (abs(value) <= half or round(100 * abs(value), 1) == 0)
    assert "by 0.0 points" not in text
    assert "no evidence" in text or text.startswith("too sure") == (value > 0)
