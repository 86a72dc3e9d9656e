"""What can go wrong, and the exit code of each.

Every error that a user can cause is a `BradleyError`: it says what was given, what was wanted and, in `hint`, what to
type. The command line prints it as one `error:` line and one `hint:` line. Any other exception is a bug of ours and
keeps its traceback.
"""


class BradleyError(Exception):
    """An error with an exit code and a hint. `message` is one line: what was given and what was wanted."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(BradleyError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class OutOfMemoryError(UserError):
    """A step does not fit into memory under these settings, and would not if it were tried again: hence a code that no
    launcher restarts on."""


class DataError(BradleyError):
    """A data file is missing, broken, or holds too much that cannot be used."""

    exit_code = 3


class CheckpointError(BradleyError):
    """A model folder, a tokenizer or a checkpoint cannot be used."""

    exit_code = 4


class DivergedError(BradleyError):
    """A loss or a gradient is not finite, and the optimizer has not moved; or a run has diverged."""

    exit_code = 5


class RunFolderError(BradleyError):
    """The run folder already holds a run."""

    exit_code = 6


class DiskError(BradleyError):
    """A file could not be written whole."""

    exit_code = 7


class DiskFullError(DiskError):
    """The disk, or this user's share of it, is full."""


class RankError(BradleyError):
    """Another process of the same run has failed or fell silent."""

    exit_code = 8


class HubError(BradleyError):
    """The Hugging Face Hub cannot be reached, or refuses an upload."""

    exit_code = 9


class Preempted(BradleyError):
    """A run was asked to stop, and has saved everything that it needs to go on."""

    exit_code = 75


EXIT_CODES: dict[int, str] = {
    0: "ok",
    2: "usage or configuration",
    3: "data",
    4: "model or checkpoint unusable",
    5: "diverged or non-finite",
    6: "run folder busy or already used",
    7: "disk",
    8: "rank lost",
    9: "Hub out of reach or refusing",
    75: "preempted and saved",
}
"""The one table of exit codes, shared by every command."""
