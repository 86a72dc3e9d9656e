"""Rows of made-up preferences, and splits of them in which every row is accounted for."""

import gzip
import json

from bradley.config import Data
from bradley.data.load import load_splits


def row(number, prefix):
    """A preference with an id."""
    return {"id": number, "prompt": f"{prefix}{number}", "chosen": f"yes {number}", "rejected": f"no {number}"}


def rows(count, prefix="p"):
    """`count` such rows."""
    return [row(number, prefix) for number in range(count)]


def write(path, rows):
    """Rows as a gzipped JSONL file."""
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return str(path)


def check_account(split):
    """Every row of a split is a comparison, or left out and counted."""
    left_out = sum(entry["count"] for entry in split["rejected"].values())
    left_out += sum(finding["dropped"] for finding in split["findings"].values())
    left_out += sum(split["split_off"].values()) + split["grouped_away"] + split["sampled_away"]
    left_out += split["mixed_away"] + split["capped_away"] + split["gathered_away"] + split["diagnosed_away"]
    assert split["rows"] == split["comparisons"] + left_out
    assert split["rows"] == sum(source["rows"] for source in split["sources"]) or split["split_from"] == "train"


def load(data=None, seed=0, **rows):
    """Splits with their account checked."""
    splits = load_splits(data or Data(), seed, **rows)
    for split in json.loads(json.dumps(splits.report))["splits"].values():
        check_account(split)
    return splits
