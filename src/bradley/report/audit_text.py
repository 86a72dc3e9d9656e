"""An audit as text for a terminal."""

from collections.abc import Sequence

from ..common.text import cut_middle, visible
from ..runs.reader import Json
from .audit_view import AuditTable, beside_table, headline, ranking_lines, tables, written_line
from .figure_text import table

CHARACTERS = 160
"""Most characters of a text in the ranking."""


def show_audit(found: Json) -> str:
    """Format audits: every set, then two sets side by side and the cleaned file, if any.

    Args:
        found: `sets`, figures by name of the set; `beside` and `written`, or neither.
    """
    parts = [_set(one) for one in found["sets"].values()]
    if "beside" in found:
        parts.append(_table(beside_table(found["beside"])))
    if "written" in found:
        parts.append([visible(written_line(found["written"]))])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _set(found: Json) -> list[str]:
    lines = [f"{visible(found['name'])}: {visible(headline(found))}"]
    for one in tables(found):
        lines += ["", *_table(one)]
    about, top = ranking_lines(found)
    lines += ["", f"likely wrong labels: {visible(about)}"]
    for place, row in enumerate(top, start=1):
        lines += [f"  {place}. {visible(row['id'])}  loss {row['loss']:.2f}", *_texts(row)]
    return [*lines, *([""] if found["notes"] else []), *(f"note: {visible(note)}" for note in found["notes"])]


def _texts(row: Json) -> Sequence[str]:
    return [f"     {part:<8} {visible(cut_middle(row[part], CHARACTERS))}" for part in ("prompt", "chosen", "rejected")]


def _table(one: AuditTable) -> list[str]:
    cells = [[visible(cell) for cell in row] for row in [one.columns, *one.rows]]
    cells[0][0] = cells[0][0] or one.title
    lines = table([[cells[0][0], *cells[0][1:]], *([f"  {row[0]}", *row[1:]] for row in cells[1:])])
    return [*lines, *(f"  {visible(note)}" for note in ([one.about] if one.about else []) + one.notes)]
