"""Rows for packed files, and the faults that reading such files finds."""

import json
import random

import pytest

from bradley.data.sources.files import read_rows
from bradley.errors import DataError

ROWS = [{"n": number, "text": random.Random(number).randbytes(8).hex()} for number in range(40)]
PLAIN = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def rows_of(path):
    return [row for _, row in read_rows(path)]


def written(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def fault_of(tmp_path, content, name):
    """The error of reading a file, which names the file and has a hint."""
    path = written(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        rows_of(path)
    assert str(path) in caught.value.message and caught.value.hint
    return caught.value
