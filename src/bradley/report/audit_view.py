"""Content of an audit as tables of formatted cells, for the terminal and for the page alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..runs.reader import Json
from .figure_text import DASH, percent, point_span, span
from .shortcut_tables import TITLES

FINDINGS = {
    "exact": ("exact duplicates", "repeat the prompt, texts and preference of an earlier row"),
    "near": ("near duplicates", "have nearly the words of an earlier row"),
    "contradictions": ("contradictions", "judge two texts, and another judgment says the opposite"),
    "intransitive": ("intransitive triples", "are part of A over B, B over C, C over A"),
    "identical": ("identical responses", "judge between two equal texts"),
    "same-tokens": ("same tokens", "judge between responses that tokenising or truncation makes equal"),
    "empty": ("empty responses", "have a response without text"),
    "shared": ("shared prompts", "have a prompt, or the words of a prompt, of another set"),
}
"""Findings in words: the name, and what the rows do."""
COUNTED = {
    "groups": ("group", "groups"),
    "pairs": ("pair", "pairs"),
    "triples": ("triple", "triples"),
    "rows_of_named_annotators": ("row of a named annotator", "rows of named annotators"),
}
"""Further counts of a finding, in the singular and in the plural."""
NAMES = {
    "tie_share": "ties",
    "first_preferred": "first side preferred",
    "agreement": "two annotators agree",
    "ceiling": "ceiling of accuracy",
    "accuracy": "labels ranked by the model",
}
"""Figures in words."""
SCRIPTS = {"chosen": "chosen in another script", "rejected": "rejected in another script"}
"""Shares of responses in another script than the prompt."""


class AuditTable(NamedTuple):
    """A table of texts.

    Attributes:
        title: heading.
        about: a sentence below the heading; "" for none.
        columns: names of the columns, the first of them over the names of the rows.
        rows: cells, as many as columns.
        notes: sentences below the table.
        meanings: explanation by the name of a row.
    """

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    meanings: Mapping[str, str] = {}


def tables(found: Json) -> list[AuditTable]:
    """Every table of an audited set, tables without rows left out.

    Args:
        found: `audit.audit.Audited.figures`.
    """
    makers: list[Callable[[Json], AuditTable]] = [_findings, _labels, _agreement, _lengths, _shortcuts, _texts]
    made = [maker(found) for maker in makers]
    sets = found["findings"].get("shared", {}).get("sets", [])
    return [table for table in [made[0], _shared(sets), *made[1:]] if table.rows]


def headline(found: Json) -> str:
    """Size of a set in a sentence."""
    text = f"{found['comparisons']:,} comparisons of {found['rows']:,} rows, {found['prompts']:,} prompts"
    left = [f"{count:,} {reason}" for reason, count in found["left_out"].items()]
    formats = ", ".join(dict.fromkeys(file["format"] for file in found["files"]))
    return f"{text}, format {formats}" + (f"; left out: {', '.join(left)}" if left else "")


def ranking_lines(found: Json) -> tuple[str, list[Json]]:
    """Sentence about the model of the ranking, and the shown rows."""
    ranked = found["wrong_labels"]
    if ranked["reason"]:
        return f"no ranking: {ranked['reason']}", []
    model = "a linear model of the words, cross-fitted by prompt" if ranked["model"] == "linear" else ranked["model"]
    right = _whole(ranked["accuracy"])
    return f"{ranked['ranked']:,} rows ranked by the loss of {model}, which ranks {right} as labelled", ranked["top"]


def rules(found: Json) -> list[tuple[str, str, Json]]:
    """Accuracies of the labels by other means, for a chart: (name, class, figure), undefined figures left out."""
    known = [(f"rule: {TITLES.get(name, name)}", "rival", one["alone"]) for name, one in found["shortcuts"].items()]
    known.append(("linear model, or scores", "model", found["wrong_labels"]["accuracy"]))
    known += [(NAMES[key], "rival", found["agreement"][key]) for key in ("agreement", "ceiling")]
    return [row for row in known if row[2]["value"] is not None]


def beside_table(found: Json) -> AuditTable:
    """Shares of two sets, with differences."""
    rows = []
    for one in found["figures"]:
        name = _name(one["part"], one["name"])
        sides = [_whole(one[side]) for side in ("first", "second")]
        rows.append([name, *sides, point_span(one["difference"])])
    about = "The difference is the second set minus the first, with a 95 % interval."
    return AuditTable("side by side", about, ["share", found["first"], found["second"], "difference"], rows, [])


def written_line(found: Json) -> str:
    """Sentence about a cleaned file."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found["reasons"].items())
    removed = f"{found['removed']:,} rows removed" + (f" ({reasons})" if reasons else "")
    return f"{found['kept']:,} rows kept in {found['path']}; {removed}, listed in {found['removed_path']}"


def _name(part: str, name: str) -> str:
    if part == "findings":
        return FINDINGS[name][0]
    if part == "shortcuts":
        return f"rule: {TITLES.get(name, name)}"
    if part == "refusals":
        return f"{name} refuses"
    if part == "languages":
        return {**SCRIPTS, "none": "prompt without letters"}.get(name, f"prompt in {name}")
    return NAMES.get(name, name)


def _findings(found: Json) -> AuditTable:
    rows = []
    for name, finding in found["findings"].items():
        counted = {key: finding[key] for key in COUNTED if finding.get(key)}
        counts = ", ".join(f"{count:,} {COUNTED[key][count > 1]}" for key, count in counted.items())
        such = (" = " if name in ("exact", "near") else ", ").join([*finding["examples"], []][0])
        share = finding["share"]
        rows.append([FINDINGS[name][0], f"{finding['rows']:,}", percent(share), span(share), counts, _short(such)])
    notes = []
    if near := found["findings"].get("near"):
        similar = f"near: {100 * near['threshold']:g} % of three words in a row are shared, in prompts and in responses"
        notes.append(f"{similar}; a pair at the threshold is missed with probability {near['missed']:.1g}")
    if (tokens := found["findings"].get("same-tokens")) and tokens["unfitted"]:
        notes.append(f"{tokens['unfitted']:,} rows cannot be rendered within the limits, and have no tokens")
    columns = ["", "rows", "share", "95 %", "", "such as"]
    return AuditTable("findings", "", columns, rows, notes, dict(FINDINGS.values()))


def _shared(sets: Sequence[Json]) -> AuditTable:
    rows = [
        [one["with"], *(f"{one[key]:,}" for key in ("prompts", "rows", "rows_of_same_words", "rows_of_same_texts"))]
        for one in sets
    ]
    columns = ["prompts shared with", "prompts", "rows", "same words", "same texts"]
    return AuditTable("shared prompts", "", columns, rows, [])


def _labels(found: Json) -> AuditTable:
    labels = found["labels"]
    rows = [
        [NAMES[key], percent(labels[key]), span(labels[key]), f"{labels[key]['n']:,}"]
        for key in ("tie_share", "first_preferred")
    ]
    notes = [f"responses of a row: {_counts(labels['sizes'])}"]
    for key, values in (("probability", labels["probabilities"]), ("margin", labels["margins"])):
        if values.get("counts"):
            notes.append(f"{key} of the better response: {_counts(values['counts'])}")
        elif values.get("quantiles"):
            notes.append(f"{key} of the better response: {_quantiles(values['quantiles'])}")
    if labels["weighted"]:
        notes.append(f"{labels['weighted']:,} judgments have another weight than 1")
    return AuditTable("labels", f"{labels['judgments']:,} judgments.", ["", "share", "95 %", "n"], rows, notes)


def _agreement(found: Json) -> AuditTable:
    one = found["agreement"]
    rows = [
        [NAMES[key], percent(one[key]), span(one[key]), f"{one['pairs']:,}"]
        for key in ("agreement", "ceiling")
        if one["pairs"]
    ]
    about = f"{one['judgments']:,} judgments on such pairs. No model exceeds the ceiling on single labels."
    return AuditTable("agreement of annotators", about, ["", "share", "95 %", "pairs"], rows, [])


def _lengths(found: Json) -> AuditTable:
    rows = [
        [f"{part}, {unit}", *(f"{values[key]:,.0f}" for key in ("mean", "p50", "p95", "max"))]
        for unit, parts in found["lengths"].items()
        for part, values in parts.items()
    ]
    return AuditTable("lengths", "", ["", "mean", "median", "95 %", "longest"], rows, [])


def _shortcuts(found: Json) -> AuditTable:
    rows = []
    for name, rule in found["shortcuts"].items():
        equal = "-" if rule["equal_share"] is None else f"{100 * rule['equal_share']:.0f} %"
        rows.append([TITLES.get(name, name), percent(rule["alone"]), span(rule["alone"]), equal])
    about = "Share of preferences that go to the response with more of it, equal sides counting one half."
    return AuditTable("shortcuts", about, ["", "right", "95 %", "equal"], rows, [])


def _texts(found: Json) -> AuditTable:
    refusals, languages = found["refusals"], found["languages"]
    known = {f"{key} refuses": refusals[key] for key in ("chosen", "rejected")}
    known |= {_name("languages", name): share for name, share in languages["prompts"].items()}
    known |= {name: languages[key] for key, name in SCRIPTS.items()}
    rows = [[name, percent(share), span(share), f"{share['n']:,}"] for name, share in known.items()]
    phrases = f"{len(refusals['phrases'])} English phrases, such as {refusals['phrases'][0]!r}"
    notes = [f"a refusal has one of {phrases}, in its first {refusals['characters']} characters"]
    return AuditTable("refusals and scripts", "", ["", "share", "95 %", "n"], rows, notes)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count:,})" for value, count in counts.items())


def _quantiles(values: Mapping[str, float]) -> str:
    order = (("min", "smallest"), ("p50", "median"), ("mean", "mean"), ("p95", "95 %"), ("max", "largest"))
    return ", ".join(f"{word} {values[key]:.3g}" for key, word in order)


MOST_EXAMPLE = 60
"""Most characters of an example in a table."""


def _whole(share: Json) -> str:
    return DASH if share["value"] is None else f"{percent(share)} {span(share)}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_EXAMPLE else f"{text[: MOST_EXAMPLE - 3]}..."
