"""`bradley score` with a model of a line: a score is the length of a response times a factor in the model folder."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bradley.scoring import file
from bradley.scoring.file import How, score_file
from bradley.scoring.scorer import Scored
from tests.scoring.conftest import write

ROWS, PART_ROWS = 7, 2
"""Rows of an input, in parts of two: four parts."""


class Stub:
    """Scorer without a network. `before`, if any, is called before each part."""

    over_long = "truncate_prompt"
    loaded = SimpleNamespace(renderer=None, model=SimpleNamespace(device=SimpleNamespace(type="cpu"), engine="stub"))
    before: Callable[[], object] | None = None

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def prepare(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Keep the rows."""
        return rows

    def score(self, rows: Sequence[Any]) -> list[Scored | str]:
        """Multiply."""
        if Stub.before is not None:
            Stub.before()
        return [row if isinstance(row, str) else self._score(row) for row in rows]

    def _score(self, row: Any) -> Scored:
        (response,) = row.responses
        return Scored((float(self.factor * len(response.messages[-1].content)),), (3,), (False,))


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `score_file` load a `Stub`."""

    def load(model: Path, *_: object, **options) -> Stub:
        return Stub(json.loads((model / "config.json").read_text())["factor"])

    monkeypatch.setattr(file, "load_scorer", load)
    yield
    Stub.before = None


def place(folder: Path, factors: Sequence[int] = (1, 10)) -> Path:
    """Fill a folder with an input `in.jsonl`, and a model folder `m1`, `m10` for each factor."""
    write(folder / "in.jsonl", [row(number) for number in range(ROWS)])
    for factor in factors:
        (folder / f"m{factor}").mkdir()
        (folder / f"m{factor}" / "config.json").write_text(json.dumps({"factor": factor}))
    return folder


def row(number: int, **fields: Any) -> dict[str, Any]:
    """A row to score."""
    return {"id": number, "prompt": "Q", "response": "A" * (number + 1), **fields}


def score(folder: Path, factor: int = 1, output: str = "out.jsonl", **options: Any) -> dict[str, Any]:
    """Score the input of a folder."""
    how = How(part_rows=PART_ROWS, **options.pop("how", {}))
    source = options.pop("source", str(folder / "in.jsonl"))
    return score_file(folder / f"m{factor}", source, str(folder / output), how, device="cpu", **options)


def wanted(factor: int = 1, rows: int = ROWS) -> bytes:
    """Output of an uninterrupted scoring."""
    results = ({"score": float(factor * (number + 1)), "tokens": 3, "truncated": False} for number in range(rows))
    return "".join(json.dumps({**row(n), **found}) + "\n" for n, found in enumerate(results)).encode()


def tree(folder: Path) -> dict[str, Any]:
    """Every name below a folder, with content, the target of a link, or None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


class Interrupted(Exception):
    """End of a scoring from outside."""


@contextmanager
def ended_before_part(number: int) -> Iterator[None]:
    """Let a scoring end before its part `number`, from 0."""
    calls = iter(range(1000))

    def before() -> None:
        if next(calls) == number:
            raise Interrupted

    Stub.before = before
    with pytest.raises(Interrupted):
        yield
    Stub.before = None
