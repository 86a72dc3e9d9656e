"""The seam for libraries that read model files: every exception of theirs is an error in one line, and no other is."""

import errno

import pytest

from bradley.common.json_files import read_json
from bradley.common.model_files import file_errors, library_errors, refuse_sizes
from bradley.common.signals import StopRequested
from bradley.errors import CheckpointError, UserError


class PanicException(BaseException):
    """As the panic of a library in Rust."""


class OutOfMemoryError(RuntimeError):
    """As of torch."""


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (AssertionError(), "AssertionError"),
        (ImportError("no flash_attn"), "no flash_attn"),
        (RecursionError("deep"), "deep"),
        (ValueError("two\nlines"), "two lines"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (PanicException("called unwrap"), "PanicException: called unwrap"),
    ],
    ids=str,
)
def test_every_exception_of_a_library_is_one_line(raised, text):
    with pytest.raises(CheckpointError) as caught, library_errors("no model in x", "give another"):
        raise raised
    assert caught.value.message.startswith("no model in x: ") and text in caught.value.message
    assert "\n" not in caught.value.message and caught.value.hint == "give another"
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [
        UserError("ours"),
        StopRequested("SIGTERM"),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(3),
        OutOfMemoryError(),
    ],
    ids=repr,
)
def test_what_is_no_fault_of_the_folder_passes(raised):
    with pytest.raises(type(raised)) as caught, library_errors("no model in x", ""):
        raise raised
    assert caught.value is raised


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 2**63 - 1},
        {"n_layer": 1e300},
        {"num_experts": 5000},
        {"num_labels": 10**9},
        {"vision_config": {"depth": 10**5}},
        {"max_position_embeddings": 10**4000},
    ],
    ids=lambda config: next(iter(config)),
)
def test_sizes_beyond_every_model_are_refused(config):
    with pytest.raises(UserError, match="can be right") as caught:
        refuse_sizes(config, "model.config", UserError)
    assert len(caught.value.message) < 200
    refuse_sizes({"num_hidden_layers": 80, "max_position_embeddings": 10_485_760, "use_experts": True}, "x")


def test_a_file_without_rights_is_answered_with_its_rights(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="Permission denied") as caught, file_errors(path):
        refuse()
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(CheckpointError, match="Permission denied") as other:
        read_json(path, dict[str, int], hint="copy the folder again")
    assert caught.value.hint == other.value.hint == f"see who may read it: ls -ld {path}"
