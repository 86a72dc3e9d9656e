"""Writes `docs/concepts/reliability.md` from what the bench has seen.

BRADLEY_FAULTS_SEEN=tests/faults/seen.jsonl python -m pytest tests/faults -m "nightly or not nightly"
python -m tests.faults.table > docs/concepts/reliability.md
"""

from pathlib import Path

from .elsewhere import GOALS, HELD
from .results import read

SEEN = Path(__file__).with_name("seen.jsonl")
HEAD = """# What a run survives

A run that is killed, loses its power or finds the disk full goes on with `bradley train CONFIG --output DIR --resume`,
from its newest whole checkpoint, to the bytes that it would have had without the interruption.

- A checkpoint is written under a temporary name: model, tokenizer and state first, then `manifest.json` with the
  SHA-256 of every file and of itself. Everything is synced, the folder gets its name, that name is synced; only then do
  older ones go. So at every instant after the first save there is a whole one.
- The newest `checkpoint.keep` are kept, and for each of them the best one that it names. Best and newest are step
  numbers, so a moved folder goes on; times of files and clocks mean nothing.
- Going on reads every file again. A checkpoint of which a byte is not what was written is named with both hashes, set
  aside as `.bad-step-NNNNNN`, and the one before is used. Where none is left the run is refused; nothing starts from
  zero unasked.
- The metrics that a checkpoint counts on are on the disk before it, and a run that goes on cuts off what came after:
  no line is missing or there twice.
- One process writes in a run folder. A second one leaves with exit code 6 and names the first; the lock of a dead
  process is taken over.
- A full disk ends the run with exit code 7 after what may go has gone and a second attempt did not fit; what was there
  before is whole.
- After five starts in a row without a new checkpoint the sixth is refused, because something ends them all.

## How that is known

The bench in `tests/faults/` ends a run at every single call that changes the disk: by `kill -9`, half-way in a write,
and by a power cut, after which files hold what was last synced and folders keep, lose or partly lose the names that
were not. Two things are asked of every trial: the run that goes on ends with the same bytes, and it goes on no earlier
than the last step whose save had returned. Programs that are wrong on purpose (the mutants) have to be found; a bench
that lets one of them pass proves nothing. A *toy* is a run without a model that writes through the real code.

This page is made by `python -m tests.faults.table` from what the bench has recorded.
"""
KEYS = ("number", "fault", "expected", "seen")
ELSEWHERE = """## Faults whose tests stand beside what they are about

| id | what is done | what it has to do | held by |
|---|---|---|---|
"""
TABLES = (
    ("## Faults\n", "| id | what is done | what it has to do | what it did |\n|---|---|---|---|\n"),
    ("## Goals\n", "| id | measure | goal | reached |\n|---|---|---|---|\n"),
)


def page(rows: list[dict[str, str]]) -> str:
    """The whole page."""
    goals = [row["number"].startswith("G") for row in rows]
    parts = [[row for row, is_goal in zip(rows, goals, strict=True) if is_goal == wanted] for wanted in (False, True)]
    parts[1] = sorted([*parts[1], *(dict(zip(KEYS, row, strict=True)) for row in GOALS)], key=by_number)
    tables = [f"{title}\n{head}{''.join(map(line, part))}" for (title, head), part in zip(TABLES, parts, strict=True)]
    held = f"{ELSEWHERE}{''.join(line(dict(zip(KEYS, row, strict=True))) for row in HELD)}"
    return "\n".join([HEAD, tables[0], held, tables[1]])


def by_number(row: dict[str, str]) -> int:
    """The order of goals."""
    return int(row["number"].removeprefix("G"))


def line(row: dict[str, str]) -> str:
    """One row of a table."""
    cells = (row[key].replace("|", "\\|") for key in KEYS)
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    print(page(read(SEEN)), end="")
