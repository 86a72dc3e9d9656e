"""`bradley audit` as typed: the screen, JSON, the page, cleaned files, two sets side by side, and wrong input."""

import json
import math

import numpy as np
import pytest

from bradley.report.audit_page import write_audit
from bradley.report.audit_text import show_audit
from tests.audit.planted import clean_rows, planted_rows, write_rows
from tests.report.html_page import Page
from tests.typed import as_json, typed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows, _ = planted_rows()
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl", rows)


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_json_holds_all_that_the_screen_shows(data, capsys):
    code, out, err = typed(capsys, "audit", data, "--top", "2", "--seed", "3")
    assert code == 0, err
    found = as_json(capsys, "audit", data, "--top", "2", "--seed", "3")
    assert show_audit(found) + "\n" == out
    shown = found["sets"]["rows"]
    assert (shown["rows"], shown["comparisons"], len(shown["wrong_labels"]["top"])) == (55, 55, 2)
    assert "1 group " in out and "1 pair " in out and "1 triple " in out
    assert "exact duplicates" in out and "clean3 = exact1" in out and "no tokenizer" in out


def test_a_cleaned_file_shows_none_of_what_was_removed(data, tmp_path, capsys):
    target, against = tmp_path / "cleaned.jsonl", write_rows(tmp_path / "bench.jsonl", clean_rows(2))
    drop = "exact,near,contradictions,intransitive,identical,empty,shared,likely-wrong=0.1"
    found = as_json(capsys, "audit", data, "--against", against, "--write", target, "--drop", drop)
    before, kept, removed = rows_of(data), rows_of(target), rows_of(tmp_path / "cleaned.removed.jsonl")
    # The rows are the original rows, in order, each in one of the two files.
    assert [row for row in before if row["id"] not in {gone["id"] for gone in removed}] == kept
    assert all(before[gone["number"] - 1] == gone["row"] for gone in removed)
    reasons = {gone["id"]: gone["reasons"] for gone in removed}
    assert [reasons[name] for name in ("exact1", "near", "ca", "same", "blank")] == [
        ["exact"], ["near"], ["intransitive"], ["identical"], ["empty"],
    ]  # fmt: skip
    assert {name for name, why in reasons.items() if "contradictions" in why} == {"clean7", "opposite"}
    assert {name for name, why in reasons.items() if "shared" in why} == {"clean0", "clean1"}
    assert sum("likely-wrong" in why for why in reasons.values()) == 5
    written = found["written"]
    assert (written["kept"], written["removed"]) == (len(kept), len(removed))
    assert written["reasons"]["exact"] == 2
    again = as_json(capsys, "audit", target, "--against", against)["sets"]["cleaned"]
    assert {name: one["rows"] for name, one in again["findings"].items()} == dict.fromkeys(again["findings"], 0)
    assert again["comparisons"] == len(kept)


def test_rows_that_are_no_comparison_stay_unless_named(tmp_path, capsys):
    rows = clean_rows(4)
    rows[2] = {**rows[2], "probability": 0.5}
    path = write_rows(tmp_path / "rows.jsonl", rows)
    as_json(capsys, "audit", path, "--write", tmp_path / "a.jsonl", "--drop", "exact")
    assert rows_of(tmp_path / "a.jsonl") == rows
    as_json(capsys, "audit", path, "--write", tmp_path / "b.jsonl", "--drop", "unusable")
    assert rows_of(tmp_path / "b.jsonl") == [*rows[:2], rows[3]]
    (gone,) = rows_of(tmp_path / "b.removed.jsonl")
    assert gone["reasons"] == ["unusable: no_judgment"] and gone["row"] == rows[2]


def test_two_sets_side_by_side(data, tmp_path, capsys):
    other = write_rows(
        tmp_path / "other.jsonl", [{**row, "prompt": "Что это такое? " + row["id"]} for row in clean_rows(30, 9)]
    )
    found = as_json(capsys, "audit", data, "--beside", other)
    shown = {(one["part"], one["name"]): one for one in found["beside"]["figures"]}
    exact = shown["findings", "exact"]
    assert exact["difference"]["value"] == pytest.approx(0 - 2 / 55)
    one, two = exact["first"], exact["second"]
    low = exact["difference"]["value"] - math.hypot(two["value"] - two["low"], one["high"] - one["value"])
    assert exact["difference"]["low"] == pytest.approx(low)
    # A script of one set alone has a share of 0 in the other.
    assert shown["languages", "Cyrillic"]["first"]["value"] == 0.0
    assert shown["languages", "Cyrillic"]["difference"]["low"] > 0.8
    code, out, _ = typed(capsys, "audit", data, "--beside", other)
    assert code == 0 and show_audit(found) + "\n" == out


def test_scores_of_a_model_rank_the_rows(tmp_path, capsys):
    path = write_rows(tmp_path / "rows.jsonl", clean_rows(5))
    margin = [0.5, -3.0, 2.0, -1.0, 0.0]
    scores = [{"id": f"clean{n}", "score_chosen": m, "score_rejected": 0.0} for n, m in enumerate(margin)]
    found = as_json(capsys, "audit", path, "--scores", write_rows(tmp_path / "scores.jsonl", scores), "--top", "3")
    ranked = found["sets"]["rows"]["wrong_labels"]
    assert [row["id"] for row in ranked["top"]] == ["clean1", "clean3", "clean4"]
    assert [row["loss"] for row in ranked["top"]] == pytest.approx([np.log1p(np.exp(-m)) for m in (-3, -1, 0)])
    assert ranked["accuracy"]["value"] == pytest.approx(0.5)


def test_the_page_escapes_every_text_and_needs_no_other_file(tmp_path, capsys):
    hostile = '<script src="http://evil.example/x.js">alert(1)</script>\x1b[2J'
    rows = [{**row, "chosen": f"{hostile} {row['chosen']}", "id": f"{hostile}{row['id']}"} for row in clean_rows(25)]
    page, path = tmp_path / "page.html", write_rows(tmp_path / "rows.jsonl", rows)
    code, out, err = typed(capsys, "audit", path, "--beside", write_rows(tmp_path / "b.jsonl", rows), "--html", page)
    assert code == 0, err
    assert "\x1b" not in out
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert not parsed.open and "script" not in {tag for tag, _ in parsed.shape}
    assert not [value for name, value in parsed.values if name in ("src", "href") and not value.startswith("#")]
    shown = "".join(parsed.text)
    assert "alert(1)" in shown and "Likely wrong labels" in shown and "side by side" in shown.lower()
    assert "judge between two equal texts" in shown
    # Only a page of bradley is replaced.
    code, _, err = typed(capsys, "audit", path, "--html", path)
    assert code == 6 and "did not write" in err
    found = as_json(capsys, "audit", path)
    assert write_audit(page, found, []) == page


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["missing.jsonl"], 3, "does not exist"),
        (["broken.jsonl"], 3, "broken.jsonl"),
        (["ties.jsonl"], 3, "none of 2 rows is a comparison"),
        (["rows.jsonl", "--drop", "exact"], 2, "add --write"),
        (["rows.jsonl", "--write", "new.jsonl"], 2, "--drop is missing"),
        (["rows.jsonl", "--write", "new.csv", "--drop", "exact"], 2, "ends in .jsonl"),
        (["rows.jsonl", "--write", "rows.jsonl", "--drop", "exact"], 2, "rows.jsonl exists"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "exakt"], 2, "did you mean exact?"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "likely-wrong"], 2, "write likely-wrong=0.02"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "likely-wrong=2"], 2, "below 1"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "near=0.5"], 2, "write near"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "shared"], 2, "add --against"),
        (["rows.jsonl", "--write", "new.jsonl", "--drop", "same-tokens"], 2, "add --model.tokenizer"),
        (["rows.jsonl", "--no-near", "--write", "new.jsonl", "--drop", "near"], 2, "leave out --no-near"),
        (["rows.jsonl", "ties.jsonl", "--write", "new.jsonl", "--drop", "exact"], 2, "cleans one set"),
        (["rows.jsonl", "ties.jsonl", "--beside", "broken.jsonl"], 2, "two sets are compared"),
        (["rows.jsonl", "--missing", "skip"], 2, "add --scores"),
        (["rows.jsonl", "--near", "0.2"], 2, "--near"),
        (["rows.jsonl", "--against", "missing.jsonl"], 3, "does not exist"),
        (["rows.jsonl", "--against", ""], 2, "is empty"),
        (["rows.jsonl", "--render.max_tokens", "9"], 2, "no effect without a tokenizer"),
        (["rows.jsonl", "--nearest", "0.9"], 2, "unknown option"),
    ],
)
def test_wrong_input_is_told(tmp_path, monkeypatch, capsys, options, code, said):
    monkeypatch.chdir(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", clean_rows(3))
    before = rows.read_bytes()
    write_rows(tmp_path / "ties.jsonl", [{**row, "probability": 0.5} for row in clean_rows(2)])
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "chosen": "b"\n')
    found, out, err = typed(capsys, "audit", *options)
    assert (found, out) == (code, "") and said in err
    assert rows.read_bytes() == before and not list(tmp_path.glob("new*"))


def test_the_error_names_the_extra_of_near_duplicates(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    path = write_rows(tmp_path / "rows.jsonl", clean_rows(3))
    code, _, err = typed(capsys, "audit", path)
    assert code == 2 and "bradley[audit]" in err
    assert "near" not in as_json(capsys, "audit", path, "--no-near")["sets"]["rows"]["findings"]


@pytest.mark.slow
def test_pairs_that_truncation_makes_equal_need_a_tokenizer(tmp_path, capsys):
    rows = clean_rows(6)
    tail = " ".join(rows[0]["chosen"].split()[:30])
    rows[2] = {**rows[2], "prompt": "Go.", "chosen": f"ba {tail}", "rejected": f"ke {tail}"}
    path = write_rows(tmp_path / "rows.jsonl", rows)
    tokens = ["--model.tokenizer", "train", "--model.vocab_size", "300"]
    long = ["--render.over_long", "truncate_response", "--render.max_tokens"]
    whole = as_json(capsys, "audit", path, *tokens, *long, 500)["sets"]["rows"]
    assert whole["findings"]["same-tokens"]["rows"] == 0
    assert whole["lengths"]["tokens"]["chosen"]["mean"] > whole["lengths"]["words"]["chosen"]["mean"]
    target = tmp_path / "cleaned.jsonl"
    cut = as_json(capsys, "audit", path, *tokens, *long, 20, "--write", target, "--drop", "same-tokens")
    assert cut["sets"]["rows"]["findings"]["same-tokens"]["examples"] == [["clean2"]]
    assert [row["id"] for row in rows_of(target)] == [row["id"] for row in rows if row["id"] != "clean2"]
    assert "no tokenizer" in as_json(capsys, "audit", path)["sets"]["rows"]["notes"][0]
