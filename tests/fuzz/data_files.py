"""Class `data_files`: preference files of every kind and shape, damaged in a row, in their bytes, or in their place.

Harmless by declaration, so that only the general rules count: a bit or a byte of a text (texts carry no hash); a file
cut off at the end of a line; a value of another kind at a key that the format does not need; and any damage under
`train --sanity`, which uses 64 comparisons of what is left.
"""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.data.rows import SAMPLES
from tests.fuzz import files, judges
from tests.fuzz.case import Case
from tests.fuzz.good import Good, lines, of_shape, pairs
from tests.fuzz.values import WRONG, kind, put, shown, spelled, ways

ROWS = 6
KINDS = ("jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.gz", "json.gz", "folder", "saved")
CANNOT_BE = ("null", "true", "false", "zero", "minus one", "a fraction", "2^63", "5,000 digits", "NaN", "-Infinity")
"""Values that are no text of a prompt or an answer."""
SCORED = ("plain", "preference", "ranked", "rewardbench2", "hh", "votes")
"""Formats whose rows can be scored, or nearly."""
NEEDED = ("prompt", "chosen", "rejected")
"""Keys of the plain format whose values must be texts or messages."""


def damage(rng: random.Random, _number: int, world: Path, good: Good) -> Case:
    """Make a case: most with a wrong value in a row, the others with damaged bytes or an odd file."""
    make = rng.choices((wrong_value, broken_bytes, odd_file, odd_rows), (6, 5, 2, 2))[0]
    return make(rng, world, good)


def write(path: Path, rows: list[Any], suffix: str) -> Path:
    """Write rows as a file or a folder of a kind; a value that the kind cannot hold is written as JSON text."""
    if suffix == "folder":
        path.mkdir()
        return write(path / "rows", rows, "jsonl").parent
    path = path.with_name(f"{path.name}.{suffix}" if suffix != "saved" else path.name)
    if suffix == "jsonl":
        path.write_text("".join(spelled(row) + "\n" for row in rows))
    elif suffix == "json":
        path.write_text(spelled(rows))
    elif suffix == "csv":
        path.write_text(_table(rows), encoding="utf-8", errors="surrogatepass")
    elif suffix.endswith(".gz"):
        plain = write(path.with_name("plain"), rows, suffix.removesuffix(".gz"))
        path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
        plain.unlink()
    elif suffix in ("parquet", "saved"):
        _columns(path, rows, suffix)
    return path


def _table(rows: list[Any]) -> str:
    """Write rows as CSV."""
    file = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: each if isinstance(each, str) else spelled(each) for name, each in row.items()})
    return file.getvalue()


def _columns(path: Path, rows: list[Any], suffix: str) -> None:
    """Write rows as Parquet or a saved dataset; where Arrow refuses a value, the column holds JSON texts."""
    import pyarrow
    import pyarrow.parquet

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            columns[name] = pyarrow.array([spelled(value).encode("utf-8", "replace").decode() for value in values])
    table = pyarrow.table(columns)
    if suffix == "parquet":
        pyarrow.parquet.write_table(table, path)
        return
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    Dataset(table).save_to_disk(str(path))


def command(rng: random.Random, world: Path, good: Good, path: Path, what: str, shape: str = "plain") -> Case:
    """Make a case of a command that reads a file, declared harmless."""
    name = path.name
    # Rows of most formats of comparisons are none to score.
    scored = 8 if shape in SCORED else 0.5
    choice = rng.choices(("data", "shown", "score", "train"), (8, 3, scored, 1))[0]
    if choice == "data":
        return Case(["data", name, "--json"], f"{what}; data --json")
    if choice == "shown":
        return Case(["data", name], f"{what}; data")
    if choice == "train":
        args = ["train", "config.toml", "--sanity", "--quiet", "--output", "../out/run", f"--data.train={name}"]
        return Case(args, f"{what}; train --sanity", patience=120.0)
    good.model("full", world)
    return Case(["score", "model", name, "-o", "-", "--quiet"], f"{what}; score")


def wrong_value(rng: random.Random, world: Path, good: Good) -> Case:
    """Give one or two rows a wrong value at a key."""
    plain = rng.random() < 0.5
    shape = "plain" if plain else rng.choice(list(SAMPLES))
    rows: list[Any] = pairs(ROWS, "s") if plain else of_shape(shape, ROWS)
    bad = set(rng.sample(range(ROWS), rng.choice((1, 1, 2))))
    keys = rng.choice([each for each in ways(rows[0]) if each])
    name = rng.choice([name for name, make in WRONG.items() if kind(make()) != kind(judges_value(rows, keys))])
    for place in bad:
        rows[place] = put(rows[place], keys, WRONG[name]())
    suffix = rng.choice(KINDS) if rng.random() < 0.4 else "jsonl"
    path = write(world / "in" / "rows", rows, suffix)
    what = f"{shape} {suffix}: {shown(keys)} of {len(bad)} rows is {name}"
    case = command(rng, world, good, path, what, shape)
    if not plain or suffix != "jsonl" or "train" in case.args:
        return case
    must_fail = keys[0] in NEEDED and len(keys) == 1 and name in CANNOT_BE
    # A null counts as missing, and conversations without a prompt are a format too.
    must_fail = must_fail and (name != "null" or keys[0] != "prompt")
    if case.args[0] == "score":
        return case._replace(judge=judges.scored_but(good.reference["scores of full"], bad, must_fail))
    if "--json" in case.args:
        return case._replace(judge=judges.counted(ROWS, ROWS - len(bad) if must_fail else ROWS))
    return case


def judges_value(rows: list[Any], keys: Any) -> Any:
    """Return the value at the end of a way in the first row."""
    value = rows[0]
    for key in keys:
        value = value[key]
    return value


def broken_bytes(rng: random.Random, world: Path, good: Good) -> Case:
    """Damage the bytes of a file."""
    suffix = rng.choice(KINDS)
    path = write(world / "in" / "rows", pairs(ROWS, "s"), suffix)
    inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    target = rng.choice(inside)
    whole = target.read_bytes()
    what = f"{suffix}, {files.damage(rng, target, files.BYTES)}"
    case = command(rng, world, good, path, what)
    lost = target.stat().st_size < len(whole) and "cut off" in what
    half = lost and suffix == "jsonl" and not target.read_bytes().endswith((b"\n", b"}"))
    if ((half and target.stat().st_size) or (lost and suffix in ("json", "parquet", "jsonl.gz", "csv.gz"))) and (
        "--json" in case.args or case.args[0] == "score"
    ):
        return case._replace(judge=refused_or_told)
    return case


def refused_or_told(ended: Any, _world: Path) -> list[str]:
    """Judge a file cut off inside a row: the row is an error, or is counted as unusable."""
    out = ended.out.decode()
    if out.startswith('{"report"'):
        split = json.loads(out)["report"]["splits"]["train"]
        return [] if split["rejected"] else ["a file that is cut off counts as whole"]
    rows = [json.loads(line) for line in out.splitlines()]
    return [] if any("error" in row for row in rows) else ["a file that is cut off counts as whole"]


def _text(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(b" " * 2**24, mtime=0) * 32)


def _shared(path: Path) -> None:
    """Write a small Parquet file whose rows share one long text."""
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.array(["y" * 2**20])
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 600, pyarrow.int32()), text)
    table = pyarrow.table(dict.fromkeys(NEEDED, column))
    pyarrow.parquet.write_table(table, path, compression="zstd")


def _long_line(path: Path) -> None:
    path.write_text(json.dumps(pairs(1, "s")[0] | {"extra": "y" * 20_000_000}) + "\n")


def _columns_many(path: Path) -> None:
    path.write_text(",".join(f"c{number}" for number in range(20_000)) + "\n" + "1," * 20_000 + "\n")


def _place(kind_of_place: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(lines(pairs(ROWS, "s")))
        files.PLACES[kind_of_place](random.Random(0), path)

    return make


GOOD = lines(pairs(ROWS, "s"))
ODD: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a bomb": ("rows.jsonl.gz", _bomb),
    "a bomb of a table": ("rows.csv.gz", _bomb),
    "rows that share a text": ("rows.parquet", _shared),
    "a line of 20 MB": ("rows.jsonl", _long_line),
    "20,000 columns": ("rows.csv", _columns_many),
    "two rows on a line": ("rows.jsonl", _text(GOOD.replace("\n", " ", 1).encode())),
    "old line ends": ("rows.jsonl", _text(GOOD.replace("\n", "\r").encode())),
    "line ends of every kind": ("rows.jsonl", _text(GOOD.replace("\n", "\r\n", 2).encode() + b"\r\n\n\x0b\x0c")),
    "a byte order mark": ("rows.jsonl", _text(b"\xef\xbb\xbf" + GOOD.encode())),
    "UTF-16": ("rows.jsonl", _text(GOOD.encode("utf-16"))),
    "UTF-32": ("rows.csv", _text(GOOD.encode("utf-32"))),
    "Parquet in name only": ("rows.parquet", _text(GOOD.encode())),
    "packed in name only": ("rows.jsonl.gz", _text(GOOD.encode())),
    "packed without the name": ("rows.jsonl", _text(gzip.compress(GOOD.encode()))),
    "lines called a list": ("rows.json", _text(GOOD.encode())),
    "a list called lines": ("rows.jsonl", _text(b"[" + b",".join(GOOD.encode().splitlines()) + b"]")),
    "an unknown suffix": ("rows.xyz", _text(GOOD.encode())),
    "no suffix": ("rows", _text(GOOD.encode())),
    "blanks alone": ("rows.jsonl", _text(b" \n\t\n" * 1000)),
    "quotes without end": ("rows.csv", _text(b'prompt,chosen,rejected\n"a,b,c\n' * 100)),
    "a field of 2 MB": ("rows.csv", _text(b"prompt,chosen,rejected\na," + b"y" * 2_000_000 + b",c\n")),
    "columns of one name": ("rows.csv", _text(b"prompt,chosen,chosen\na,b,c\n")),
    "rows of other lengths": ("rows.csv", _text(b"prompt,chosen,rejected\na,b\nd,e,f,g\n")),
    "names only": ("rows.csv", _text(b"prompt,chosen,rejected\n")),
    "a folder": ("rows.jsonl", _place("a folder")),
    "a pipe": ("rows.jsonl", _place("a pipe")),
    "a link to itself": ("rows.jsonl", _place("a link to itself")),
    "a link to nothing": ("rows.jsonl", _place("a link to nothing")),
    "a link to endless zeros": ("rows.jsonl", _place("a link to endless zeros")),
    "a gigabyte of holes": ("rows.jsonl", _place("a gigabyte of holes")),
    "a gigabyte of holes in a list": ("rows.json", _place("a gigabyte of holes")),
}
"""Odd files by name: a file name, and what writes it."""
HEAVY = 900.0
"""Megabytes allowed for a line of 256 MB, the longest that is read, and which is held twice."""


def odd_file(rng: random.Random, world: Path, good: Good) -> Case:
    """Give an odd file."""
    what = rng.choice(list(ODD))
    name, make = ODD[what]
    make(world / "in" / name)
    heavy = any(word in what for word in ("bomb", "holes", "zeros"))
    return command(rng, world, good, world / "in" / name, what)._replace(megabytes=HEAVY if heavy else 400.0)


def odd_rows(rng: random.Random, world: Path, good: Good) -> Case:
    """Write rows that are no objects, or of several formats in one file."""
    shapes = rng.sample(list(SAMPLES), 2)
    rows: list[Any] = [*of_shape(shapes[0], 3), *(of_shape(shapes[1], 3) if rng.random() < 0.5 else [])]
    if rng.random() < 0.7:
        rows.insert(rng.randrange(len(rows) + 1), WRONG[rng.choice(list(WRONG))]())
    suffix = rng.choice(("jsonl", "json", "jsonl.gz"))
    path = write(world / "in" / "rows", rows, suffix)
    return command(
        rng, world, good, path, f"{suffix} of {' and '.join(shapes)}, with a row that is no object", shapes[0]
    )
