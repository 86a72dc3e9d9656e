"""Entry of the command line: the list of commands, errors and exit codes. Results go to stdout, messages to stderr.

Heavy modules are imported inside the commands: `bradley --help` answers at once.
"""

import os
import sys
from collections.abc import Sequence

import click

from ..errors import BradleyError
from .data import data
from .errors import complain, usage_error
from .launch import launch
from .models import export, score, verify
from .report import configs, plot
from .train import plan, train


def run(args: Sequence[str]) -> int:
    """Run a command line and return the exit code (see `errors.EXIT_CODES`); bugs keep their traceback."""
    try:
        with cli.make_context("bradley", list(args)) as context:
            cli.invoke(context)
            # Flushed here: a broken pipe found at the exit of Python could no longer be handled.
            sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        return complain(usage_error(error, args), args)
    except BradleyError as error:
        return complain(error, args)
    except KeyboardInterrupt:
        click.echo("error: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.version_option(package_name="bradley", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """From preference data to a reward model whose number can be trusted."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (train, plan, launch, data, score, verify, export, plot, configs):
    cli.add_command(command)
