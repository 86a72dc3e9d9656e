"""Text for a terminal, and the same on a page: verdicts that a reader needs beside the figures."""

from dataclasses import replace

import pytest

from bradley.evaluate.compare import compare
from bradley.evaluate.evaluation import evaluation
from bradley.evaluate.power import pairs_needed
from bradley.records import Judgment
from bradley.report import evaluation_page
from bradley.report.comparison_page import write_comparison
from bradley.report.evaluation_page import write_evaluation
from bradley.report.sentences import power_command, without_repeats, worst_by_chance
from bradley.report.terminal import show_comparison, show_evaluation, show_power
from tests.evaluate.tables import scored
from tests.report.evaluations import words
from tests.report.html_page import Page

ROWS = 40


def rows_of(right, *, strengths=ROWS):
    """Rows of one judgment a prompt, the first `right` ranked as labelled; `source` divides them as the tag `set`."""
    rows = []
    for i in range(ROWS):
        row = scored(
            f"q:{i}",
            (1.0 if i < right else -1.0, 0.0),
            prompt=f"{i}",
            source=f"from {i % 2}",
            tags={"set": "ab"[i % 2]},
        )
        strength = float(i % 3) if i < strengths else None
        rows.append(replace(row, judgments=(Judgment(0, 1, margin=strength),)))
    return rows


def evaluated(monkeypatch, folder, rows, lengths="tokens"):
    """Text and page of an evaluation, as words."""
    monkeypatch.setattr(evaluation_page, "evaluation_figures", lambda found: [])
    found = evaluation(rows, draws=10, lengths=lengths)
    path = write_evaluation(folder / "e.html", {"set": {"counts": {"rows": 50}, **found}}, [])
    return " ".join(show_evaluation("set", found).split()), words(Page(path.read_text("utf-8")))


@pytest.mark.parametrize(("right", "said"), [(8, True), (20, False), (32, False)])
def test_worse_than_chance_is_said_on_screen_and_page(monkeypatch, tmp_path, right, said):
    for text in evaluated(monkeypatch, tmp_path, rows_of(right)):
        assert ("worse than chance: check whether preferred and other responses" in text.lower()) == said


def test_a_slice_says_its_unit_and_how_many_judgments_it_knows(monkeypatch, tmp_path):
    rows = [replace(row, response_tokens=(10 + i, 10)) for i, row in enumerate(rows_of(30, strengths=25))]
    text, page = evaluated(monkeypatch, tmp_path, rows, "words")
    assert "by length in words n" in text and "length mean length of the two responses, in words accuracy" in page
    assert text.count("known for") == 1 and "known for 25 of 40 judgments" in text
    assert "strength of the judgment, in units of the source; known for 25 of 40 judgments" in page
    assert "rows read 50" in page and "Counts" not in page and "Lengths" not in page
    assert "were all 2 equally good, the worst would still show about" in text
    assert "known for" not in evaluated(monkeypatch, tmp_path, rows_of(30))[0]


def test_a_source_that_divides_the_set_as_a_tag_does_is_left_out(monkeypatch, tmp_path):
    for text in evaluated(monkeypatch, tmp_path, rows_of(30)):
        assert "from 0" not in text
    text, page = compared(tmp_path, rows_of(30), rows_of(20))
    assert "by set n" in text and "by source" not in text and "source b minus a" not in page
    parted = [replace(row, source=f"from {i % 3}") for i, row in enumerate(rows_of(30))]
    for text in evaluated(monkeypatch, tmp_path, parted):
        assert "from 0" in text
    alone = {"source": {"a": 1, "b": 2}, "length": {"0-15": 1, "16-31": 2}}
    assert without_repeats(alone) == alone


def compared(folder, a, b):
    """Text and page of a comparison, as words."""
    found = compare({"a": a, "b": b}, draws=10)
    path = write_comparison(folder / "c.html", found, [])
    return " ".join(show_comparison(found).split()), words(Page(path.read_text("utf-8")))


def test_a_comparison_says_what_is_better_and_of_which_source_an_id_is(tmp_path):
    text, page = compared(tmp_path, rows_of(20), rows_of(30))
    assert "gained, margin by model source a b q:20 from 0 -1.00 +1.00" in text
    assert "lower is better; 15 bins of equal width" in text and text.count("lower is better") == 2
    assert "discordant 25.0 % of the judgments; design effect of the paired difference 1.00" in text
    assert (
        "one model alone is right on 25.0 % of the judgments. The design effect of the paired difference is 1.00"
        in page
    )
    command = "bradley power --accuracy 0.5 --difference 0.01 --discordant 0.25 --design-effect 1"
    assert command in text and command in page
    assert "identical" not in text + page
    assert all(
        "scores are identical" in each or "scores identical" in each
        for each in compared(tmp_path, rows_of(9), rows_of(9))
    )


@pytest.mark.parametrize("known", [(0.0, 0.4), (1.0, 1.0), (0.995, 1.0), (None, None)])
def test_a_plan_that_the_command_would_refuse_is_not_proposed(known):
    pair = {"a": "a", "b": "b", "discordant": 0.5, "design_effect": None}
    good, near = ({name: {"value": value} for name in "ab"} for value in (0.7, 0.98999))
    models = {name: {"value": value} for name, value in zip("ab", known, strict=True)}
    assert power_command(pair, models) == ""
    assert power_command(pair | {"discordant": 0.004}, good) == ""
    typed = power_command(pair, near).split()
    assert pairs_needed(float(typed[3]), float(typed[5]), discordant=float(typed[7]))["paired"]


@pytest.mark.parametrize("effect", [1.0, 1.5])
def test_a_plan_says_to_which_of_its_counts_a_design_effect_belongs(effect):
    shown = show_power(pairs_needed(0.7, 0.02, discordant=0.2, design_effect=effect))
    assert ("`bradley compare` for the same pairs" in shown) == (effect != 1)
    assert ("add --design-effect" in shown) == (effect == 1)


@pytest.mark.parametrize(("value", "stands_out"), [(0.30, True), (0.45, False)])
def test_the_worst_value_is_compared_with_chance(value, stands_out):
    said = worst_by_chance({"of": 8, "accuracy": {"value": value}, "by_chance": 0.358}, "35.8 %")
    assert said.endswith("by chance" if stands_out else "so no value stands out as worse")
