"""Exceptions, and the exit code of each.

Every error caused by a user is a `BradleyError`: the message names the given value and the wanted value, and `hint`
names the next step. The command line prints the message as an `error:` line and the hint as a `hint:` line. Any other
exception is a bug in bradley and keeps its traceback.
"""

from collections.abc import Sequence


class BradleyError(Exception):
    """Base class of errors with an exit code and a hint.

    Example:
        try:
            bradley.train("run.toml")
        except bradley.BradleyError as error:
            print(error.message, error.hint, error.exit_code)

    Args:
        message: the given value and the wanted value; or several problems, a text for each.

    Attributes:
        lines: the problems. The command line prints each as a single line: a line break inside is escaped.
        message: the problems as one text; almost always a single line.
        hint: the next step for the user, or ""; also a note of the exception, printed by a traceback.
        exit_code: exit code of the command line for this class of errors.
    """

    exit_code = 1

    def __init__(self, message: str | Sequence[str], hint: str = "") -> None:
        # Kept apart: joined by line breaks, a line break inside a quoted value would look like a further problem.
        self.lines = (message,) if isinstance(message, str) else tuple(message)
        self.message = "\n".join(self.lines)
        super().__init__(self.message)
        self.hint = hint
        # A notebook shows the traceback, and a traceback prints the notes below the message.
        if hint:
            self.add_note(f"hint: {hint}")


class UserError(BradleyError):
    """Invalid command line or configuration.

    Example: `except bradley.UserError as error: print(error.hint)`
    """

    exit_code = 2


class OutOfMemoryError(UserError):
    """Step larger than the memory under the given settings.

    A second try would fail too. The exit code is therefore the code of `UserError`, on which no launcher restarts.
    """


class DataError(BradleyError):
    """Data file that is missing or broken, or holds too many unusable rows.

    Example: `except bradley.DataError as error: print(error.message)`
    """

    exit_code = 3


class CheckpointError(BradleyError):
    """Unusable model folder, tokenizer or checkpoint.

    Example: `except bradley.CheckpointError as error: print(error.message)`
    """

    exit_code = 4


class DivergedError(BradleyError):
    """Divergence of a run, or a non-finite loss or gradient, stopped before the optimizer's update.

    Example: `except bradley.DivergedError as error: print(error.hint)`
    """

    exit_code = 5


class RunFolderError(BradleyError):
    """Unusable output: in use by another process, already used, not written by bradley, or an input.

    The output is a run folder, an export, an output of scores, or a cache. Nothing there was changed.

    Example: `except bradley.RunFolderError: run = bradley.train("run.toml", output="runs/x", resume=True)`
    """

    exit_code = 6


class DiskError(BradleyError):
    """Write that could not be completed.

    Example: `except bradley.DiskError as error: print(error.hint)`
    """

    exit_code = 7


class DiskFullError(DiskError):
    """Full disk, or exhausted quota of this user."""


class RankError(BradleyError):
    """Failed or unresponsive process of the same run.

    Example: `except bradley.RankError: run = bradley.train("run.toml", output="runs/x", resume=True)`
    """

    exit_code = 8


class HubError(BradleyError):
    """Unreachable Hugging Face Hub, or a refused upload.

    Example: `except bradley.HubError as error: print(error.hint)`
    """

    exit_code = 9


class Preempted(BradleyError):
    """Run stopped on request, after saving everything needed to resume."""

    exit_code = 75


EXIT_CODES: dict[int, str] = {
    0: "ok",
    2: "usage or configuration",
    3: "data",
    4: "model or checkpoint unusable",
    5: "diverged or non-finite",
    6: "output busy, used, or not ours",
    7: "disk",
    8: "rank lost",
    9: "Hub out of reach or refusing",
    75: "preempted and saved",
    143: "stopped by SIGTERM, outside of training",
}
"""Meaning of each exit code, for every command."""
