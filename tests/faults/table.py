"""Writes `docs/concepts/reliability.md` from what the bench has seen.

BRADLEY_FAULTS_SEEN=tests/faults/seen.jsonl python -m pytest tests/faults -m "nightly or not nightly"
python -m tests.faults.table > docs/concepts/reliability.md
"""

from pathlib import Path

from .elsewhere import GOALS, HELD
from .results import read
from .rules import RULES

SEEN = Path(__file__).with_name("seen.jsonl")
HEAD = """# What a run survives

After a kill, a power cut or a full disk, `bradley train CONFIG --output DIR --resume` continues a run from its newest
whole checkpoint. The resumed run ends with the same bytes as a run without interruption.

- A checkpoint is written under a temporary name: the model, then the optimizer and the state of the run, last
  `manifest.json` with the SHA-256 of every file and of the manifest. All files are synced, the folder is renamed, the
  name is synced; only then are older checkpoints removed. So a whole checkpoint is on the disk at every instant after
  the first save.
- Kept are the newest `checkpoint.keep` checkpoints, and for each of them the best checkpoint named in its manifest.
  Best and newest are step numbers, so a moved folder can be resumed; times of files and clocks mean nothing.
- A resume reads every file. A damaged checkpoint is named with both hashes and renamed to `.bad-step-NNNNNN`, and the
  checkpoint before is used. Without any whole checkpoint the resume is refused; no run starts from zero unasked.
- Metrics are synced before the checkpoint that counts on them, and a resumed run cuts off later lines: no line is
  missing, and no line is there twice.
- A single process writes in a run folder. A second process ends with exit code 6 and names the first; the lock of a
  dead process is taken over.
- A full disk ends the run with exit code 7, after older checkpoints were removed and a second attempt did not fit;
  earlier checkpoints are whole.
- After five starts in a row without a new checkpoint the sixth start is refused: the same crash would come again.

## How this is known

The bench in `tests/faults/` ends a run at every single call that changes the disk: by `kill -9`, in the middle of a
write, and by a power cut. After a power cut, files hold the content of the last sync, and folders keep, lose or partly
lose the names not yet synced. Every trial has two conditions: the resumed run ends with the same bytes, and the resume
starts no earlier than the last step with a finished save. The bench also has to find programs with a planted fault, the
mutants: a bench that passes a mutant proves nothing. A *toy* is a run without a model that saves through the real code.

`python -m tests.faults.table` makes this page from the records of the bench.
"""
KEYS = ("number", "fault", "expected", "seen")
ELSEWHERE = """## Faults with tests in other folders

| id | fault | expected | held by |
|---|---|---|---|
"""
TABLES = (
    ("## Faults\n", "| id | fault | expected | seen |\n|---|---|---|---|\n"),
    ("## Goals\n", "| id | measure | goal | reached |\n|---|---|---|---|\n"),
)


RULES_HEAD = """## Rules on what is removed, believed, run and shown

Each rule stands once in the code, and holds over generated damage where damage can be generated.
"""


def rules() -> str:
    """The rules, a table for each subject."""
    head = "| given | bradley | held by |\n|---|---|---|\n"
    tables = [
        f"### {subject}\n\n{head}{''.join(f'| {given} | {does} | {test} |' + chr(10) for given, does, test in found)}"
        for subject, found in RULES
    ]
    return "\n".join([RULES_HEAD, *tables])


def page(rows: list[dict[str, str]]) -> str:
    """The whole page."""
    goals = [row["number"].startswith("G") for row in rows]
    parts = [[row for row, is_goal in zip(rows, goals, strict=True) if is_goal == wanted] for wanted in (False, True)]
    parts[1] = sorted([*parts[1], *(dict(zip(KEYS, row, strict=True)) for row in GOALS)], key=by_number)
    tables = [f"{title}\n{head}{''.join(map(line, part))}" for (title, head), part in zip(TABLES, parts, strict=True)]
    held = f"{ELSEWHERE}{''.join(line(dict(zip(KEYS, row, strict=True))) for row in HELD)}"
    return "\n".join([HEAD, rules(), tables[0], held, tables[1]])


def by_number(row: dict[str, str]) -> int:
    """The order of goals."""
    return int(row["number"].removeprefix("G"))


def line(row: dict[str, str]) -> str:
    """One row of a table."""
    cells = (row[key].replace("|", "\\|") for key in KEYS)
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    print(page(read(SEEN)), end="")
