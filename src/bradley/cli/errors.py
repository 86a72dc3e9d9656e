"""Error output of the command line."""

import os
from collections.abc import Sequence
from itertools import pairwise

import click

from ..common.console import LAUNCHED, to_stderr, write_event
from ..common.processes import is_main_process
from ..common.secrets import redact
from ..common.text import cut_middle, visible
from ..errors import BradleyError, DiskError, RankError, UserError

MOST_CHARACTERS = 1500
"""Longest line of an error. A message quotes given values, and a value may be of any length."""
MOST_LINES = 100
"""Most problems printed of one error."""


def complain(error: BradleyError, args: Sequence[str] = ()) -> int:
    """Print an error on stderr, a line for each problem, then the hint; return the exit code of the error.

    Under `--json` the output is a single object on a single line: `event` is `error`, `code` the exit code, `what` the
    message, `where` the folder given as --output, if any, and `fix` the hint. The main process prints for all
    processes. An error about a lost process is printed by every process noticing the loss, or by the launcher alone
    if the run has a launcher.

    Args:
        args: command line.
    """
    # The main process may be the lost one, so every survivor prints a RankError. A launcher knows which process was
    # lost; beside its message the guesses of the survivors would only confuse.
    lost = isinstance(error, RankError)
    if (lost and LAUNCHED in os.environ) or not (lost or is_main_process()):
        return error.exit_code
    # Cut after the secrets are out: half a secret would not be recognised.
    lines = [cut_middle(redact(line), MOST_CHARACTERS) for line in error.lines[:MOST_LINES]]
    hint = cut_middle(redact(error.hint), MOST_CHARACTERS)
    if more := len(error.lines) - MOST_LINES:
        lines += [f"and {more:,} more problems"] if more > 0 else []
    if "--json" in args:
        folder = dict(pairwise(args)).get("--output", "")
        write_event("error", code=error.exit_code, what="\n".join(lines), where=folder, fix=hint)
        return error.exit_code
    to_stderr(*(f"error: {line}" for line in lines), *([f"hint: {hint}"] if hint else []))
    return error.exit_code


def refused(error: OSError) -> DiskError:
    """Return the error for a refusal of the operating system outside of every place with a message of its own."""
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    return DiskError(
        f"{names or 'the operating system'}: {error.strerror or error}",
        "check that the name is right, and that this user may read and write there",
    )


def check_current_folder() -> None:
    """Raise `UserError` in a folder that is gone: libraries end the process there, or name the wrong file."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the current folder cannot be used: {error.strerror}", "change to another folder") from error


def check_arguments(args: Sequence[str]) -> None:
    """Raise `UserError` for an argument that is no text: no UTF-8, or with a null character.

    Names of files go into JSON, reports and the card of a model, and all of these hold UTF-8.
    """
    for number, arg in enumerate(args, start=1):
        if "\0" in arg:
            problem = "holds a null character"
        elif not arg.isascii() and any("\ud800" <= c <= "\udfff" for c in arg):
            problem = "is not UTF-8"
        else:
            continue
        raise UserError(
            f"command line: argument {number} {problem}: {visible(cut_middle(arg))}", "rename the file, or type it anew"
        )


def usage_error(error: click.UsageError, args: Sequence[str] = ()) -> UserError:
    """Translate a usage error of click into a `UserError` with a hint, such as the closest known option."""
    command = error.ctx.command_path if error.ctx else "bradley"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return UserError("no command given", f"type `{command} --help`")
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return UserError(f"command line: {error.format_message().rstrip('.')}", f"type `{command} --help`")
    # Options of `train` before the `--` are read as options of the launcher, a frequent slip with a simple fix.
    if command.endswith("launch local") and "train" in args and "--" not in args:
        return UserError(
            f"command line: {cut_middle(error.option_name)}: no option of `{command}`",
            f"put -- before train: `{command} ... -- train ...`",
        )
    from ..config.fields import suggest

    names = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name.startswith("--")]
    guess = suggest(error.option_name.removeprefix("--"), [name.removeprefix("--") for name in names])
    question = f"; did you mean --{guess.removeprefix('--')}?" if guess else ""
    name = cut_middle(error.option_name)
    return UserError(f"command line: {name}: unknown option{question}", f"type `{command} --help`")
