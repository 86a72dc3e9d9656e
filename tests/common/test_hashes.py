"""Hashes of files, against the standard's example and against their bytes in memory."""

import hashlib

import pytest

from bradley.common.files import sha256


def test_the_example_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 3_000_001])
def test_a_file_of_any_size_has_the_hash_of_its_bytes(tmp_path, size):
    data = bytes(number % 251 for number in range(size))
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_several_files_have_the_hash_of_their_bytes_in_a_row(tmp_path):
    parts = [b"one", b"", b"two" * 100_000]
    paths = [tmp_path / f"{number}" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    assert sha256(*paths) == hashlib.sha256(b"".join(parts)).hexdigest() != sha256(*paths[::-1])


def test_a_file_that_is_not_there_has_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "absent")
