"""A click command with the settings of `config` as options, `--section.field` for each setting.

Options are made when the command is invoked: `bradley --help` loads neither pydantic nor the settings.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.text import cut_middle
from ..errors import UserError

if TYPE_CHECKING:
    from ..config.fields import Setting


class PathName(click.Path):
    """Type of an option or argument with the name of a file or folder, existing or not."""

    def __init__(self) -> None:
        # Rights are for the reader, whose error names the file and has the exit code of its kind.
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name as a path.

        Raises:
            click.UsageError: a name that no file can have: empty, or too long for the file system.
        """
        # An empty name would become `.`, the current folder.
        if not os.fspath(value):
            self.fail("the name is empty", param, ctx)
        try:
            os.lstat(value)
        except OSError as error:
            # Any other problem is for the reader or writer of the file, whose message says more.
            if error.errno == errno.ENAMETOOLONG:
                self.fail(f"{error.strerror}: {cut_middle(os.fspath(value))}", param, ctx)
        return super().convert(value, param, ctx)


class SettingsCommand(click.Command):
    """A command with settings as options. The callback gets the given settings as `overrides`, dotted name -> text.

    Args:
        choose: predicate over dotted names; True makes the setting an option of this command.
    """

    def __init__(self, *args: Any, choose: Callable[[str], bool] = lambda name: True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choose = choose

    @cached_property
    def settings(self) -> list[click.Option]:
        """Options for the settings chosen for this command."""
        from ..config import Config
        from ..config.fields import settings_of

        return [setting_option(setting) for setting in settings_of(Config).values() if self.choose(setting.name)]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """List the parameters of the command, then the settings."""
        return [*super().get_params(ctx), *self.settings]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line and gather the settings in `overrides`."""
        loose, args = loose_settings(args, {name for param in self.get_params(ctx) for name in param.opts})
        self.refuse_unchosen(ctx, loose)
        # click passes each parameter to the callback by name. Without `pop` a callback would have to name all settings.
        rest = super().parse_args(ctx, args)
        given = {dotted(option): ctx.params.pop(str(option.name)) for option in self.settings}
        ctx.params["overrides"] = {name: text for name, text in given.items() if text is not None} | loose
        return rest

    def refuse_unchosen(self, ctx: click.Context, names: Iterable[str]) -> None:
        """Raise `UserError` for the first existing setting that is no option of this command."""
        from ..config import Config
        from ..config.fields import find_setting, settings_of

        settings = settings_of(Config)
        for name in names:
            found = find_setting(name, settings)
            if found and not self.choose(found[0].name):
                raise UserError(
                    f"command line: {cut_middle(name)} is no option of `{ctx.command_path}`",
                    f"type `{ctx.command_path} --help`",
                )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then the settings under the heads of their sections."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                section = dotted(param).rpartition(".")[0]
                groups.setdefault(f"[{section}]" if section else "Options", []).append(record)
        for head, records in groups.items():
            with formatter.section(head):
                formatter.write_dl(records, col_max=30)


def with_options(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    """Give a command options, shown in the order of `options`."""
    for option in reversed(options):
        command = option(command)
    return command


def dotted(param: click.Parameter) -> str:
    """Name of an option as typed, without the dashes."""
    return param.opts[0].removeprefix("--")


def setting_option(setting: "Setting") -> click.Option:
    """Make the option of a setting; the help text is the docstring and the default of the setting."""
    entry = f"One entry: --{setting.name}.NAME VALUE." if setting.table else ""
    default = f"[default: {setting.shown_default}]" if setting.shown_default else ""
    return click.Option(
        [setting.name.replace(".", "__"), f"--{setting.name}"],
        metavar=setting.metavar,
        help=" ".join(f"{setting.text} {entry} {default}".split()),
    )


def loose_settings(args: list[str], known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Separate dotted options unknown to click from all other arguments.

    Unknown dotted options are entries of tables (`--model.config.hidden_size 64`) or typing mistakes. Mistakes are
    passed on like settings, and are reported together with the mistakes of the configuration file.

    Args:
        args: command line.
        known: options known to click, with their dashes.

    Raises:
        UserError: a dotted option has no value.
    """
    loose: dict[str, str] = {}
    rest: list[str] = []
    queue = deque(args)
    # Arguments after `--` belong to another command and may look like settings, so the loop stops there.
    while queue and queue[0] != "--":
        arg = queue.popleft()
        name, equals, value = arg.partition("=")
        if name in known or not name.startswith("--") or "." not in name:
            rest.append(arg)
        # A value beginning with `--` needs `=`: read greedily, it would swallow the next option.
        elif equals or (queue and not queue[0].startswith("--")):
            loose[name.removeprefix("--")] = value if equals else queue.popleft()
        else:
            raise UserError(f"command line: {cut_middle(name)} was given no value", f"type: {cut_middle(name)} VALUE")
    return loose, [*rest, *queue]
