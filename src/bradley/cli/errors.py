"""How the command line says what is wrong."""

import os
import signal
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType

import click

from ..common import signals
from ..common.console import LAUNCHED, write_event
from ..common.secrets import redact
from ..errors import BradleyError, Preempted, RankError, UserError


def complain(error: BradleyError, args: Sequence[str] = ()) -> int:
    """Print an error on stderr, one line for each of its problems, then the hint; return its exit code.

    Under `--json` it is one object on one line: `event` is `error`, `code` the exit code, `what` the message, `where`
    the folder that was given as --output, if any, and `fix` the hint. Of several processes the main one speaks for all,
    except where one has lost it; what a launcher knows better it says.

    Args:
        args: the command line.
    """
    lost = isinstance(error, RankError)
    if (lost and LAUNCHED in os.environ) or not (lost or is_main_process()):
        return error.exit_code
    if "--json" in args:
        folder = dict(pairwise(args)).get("--output", "")
        write_event("error", code=error.exit_code, what=redact(error.message), where=folder, fix=redact(error.hint))
        return error.exit_code
    for line in error.message.split("\n"):
        click.echo(f"error: {line}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def leave_when_asked() -> None:
    """Until a run listens to them itself, have signals that ask it to stop end this process with the exit code for
    that: nothing has been done that could be lost. Handlers that somebody has set stay.
    """
    for number in signals.signals():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    signals.say_early(number)
    os._exit(Preempted.exit_code)


def is_main_process() -> bool:
    """Whether this is the process that talks, of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def usage_error(error: click.UsageError, args: Sequence[str] = ()) -> UserError:
    """A usage error of click's in a command line, in our words."""
    command = error.ctx.command_path if error.ctx else "bradley"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return UserError("no command given", f"type `{command} --help`")
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return UserError(f"command line: {error.format_message().rstrip('.')}", f"type `{command} --help`")
    if command.endswith("launch local") and "train" in args and "--" not in args:
        return UserError(
            f"command line: {error.option_name}: no option of `{command}`",
            f"put -- before train: `{command} ... -- train ...`",
        )
    from ..config.fields import suggest

    names = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name.startswith("--")]
    guess = suggest(error.option_name.removeprefix("--"), [name.removeprefix("--") for name in names])
    question = f"; did you mean --{guess.removeprefix('--')}?" if guess else ""
    return UserError(f"command line: {error.option_name}: unknown option{question}", f"type `{command} --help`")
