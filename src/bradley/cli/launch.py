"""`bradley launch`: train in several processes, on one or several machines."""

import click

from ..common import signals
from ..common.console import to_stderr


@click.group()
def launch() -> None:
    """Train on several processes."""


@launch.command()
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    required=True,
    metavar="N",
    help="Processes on this machine: one for each GPU.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(0, 1_000_000),
    default=0,
    show_default=True,
    metavar="N",
    help="Restarts from the last checkpoint after a process is lost.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Machines that take part; this command runs on each of them.",
)
@click.option(
    "--node-rank",
    type=click.IntRange(0, 99_999),
    default=0,
    show_default=True,
    metavar="K",
    help="Number of this machine, from 0.",
)
@click.option(
    "--rendezvous", default="", metavar="HOST:PORT", help="Meeting point of the machines: a free port of machine 0."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- train CONFIG --output DIR ...")
def local(
    processes: int, max_restarts: int, nodes: int, node_rank: int, rendezvous: str, command: tuple[str, ...]
) -> None:
    """Train in several processes on this machine, or on several machines.

    Arguments after -- are a command line of `bradley train`. SIGTERM, SIGINT, SIGUSR1 and SIGHUP are passed on to every
    process; the processes save the run and stop. The exit code is the exit code of the run. Only a dead or hanging
    process causes a restart.
    """
    from ..launch.exit import RunError
    from ..launch.local import Nodes, training_job
    from ..launch.local import launch as run_job

    job = training_job(command, processes, Nodes(nodes, node_rank, rendezvous))
    ended = run_job(job, max_restarts, to_stderr)
    signals.ended()
    if ended.code:
        # The main process of the run has printed the error already, but only on the first machine.
        if ended.told and node_rank == 0:
            raise click.exceptions.Exit(ended.code)
        raise RunError(ended.code, ended.what, ended.fix)
