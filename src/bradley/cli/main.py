"""Entry of the command line: the list of commands, errors and exit codes. Results go to stdout, messages to stderr.

Heavy modules are imported inside the commands: `bradley --help` answers at once.
"""

import contextlib
import sys
from collections.abc import Sequence
from typing import TextIO, cast

import click

from ..common.console import ReaderGone, Results
from ..common.signals import INTERRUPTED, interruptible
from ..errors import BradleyError
from .audit import audit
from .benchmark import benchmark
from .data import data
from .doctor import doctor
from .errors import check_arguments, check_current_folder, complain, refused, usage_error
from .evaluate import calibrate, compare, evaluate, power
from .launch import launch
from .models import export, score, verify
from .report import configs, plot
from .train import plan, train


def run(args: Sequence[str]) -> int:
    """Run a command line and return the exit code (see `errors.EXIT_CODES`); bugs keep their traceback."""
    try:
        with contextlib.redirect_stdout(cast(TextIO, Results(sys.stdout))), interruptible():
            check_arguments(args)
            check_current_folder()
            invoke(args)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        return complain(usage_error(error, args), args)
    except BradleyError as error:
        return complain(error, args)
    except KeyboardInterrupt:
        click.echo("error: interrupted", err=True)
        return INTERRUPTED
    except ReaderGone:
        return 1
    # A refusal of the operating system is no bug, wherever it shows.
    except OSError as error:
        return complain(refused(error), args)
    return 0


def invoke(args: Sequence[str]) -> None:
    """Run the command of a command line, and flush its results: a broken pipe found later could not be handled."""
    with cli.make_context("bradley", list(args)) as context:
        cli.invoke(context)
        sys.stdout.flush()


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.version_option(package_name="bradley", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """From preference data to a reward model whose number can be trusted."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    train,
    plan,
    launch,
    data,
    audit,
    doctor,
    evaluate,
    compare,
    calibrate,
    power,
    benchmark,
    score,
    verify,
    export,
    plot,
    configs,
):
    cli.add_command(command)
