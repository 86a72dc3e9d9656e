"""Error output of the command line."""

import os
import signal
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType

import click

from ..common import signals
from ..common.console import LAUNCHED, write_event
from ..common.processes import is_main_process
from ..common.secrets import redact
from ..errors import BradleyError, Preempted, RankError, UserError


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
    """Let stop signals end this process with the exit code of `Preempted` until a run installs its own handlers.

    Before a run has begun, no work can be lost. Handlers set by other code stay in place.
    """
    for number in signals.signals():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    # An exception raised here would surface in the middle of any import, where a library may swallow it.
    signals.say_early(number)
    os._exit(Preempted.exit_code)


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
            f"command line: {error.option_name}: no option of `{command}`",
            f"put -- before train: `{command} ... -- train ...`",
        )
    from ..config.fields import suggest

    names = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name.startswith("--")]
    guess = suggest(error.option_name.removeprefix("--"), [name.removeprefix("--") for name in names])
    question = f"; did you mean --{guess.removeprefix('--')}?" if guess else ""
    return UserError(f"command line: {error.option_name}: unknown option{question}", f"type `{command} --help`")
