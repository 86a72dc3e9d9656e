"""A click command whose options are the settings of `config`, one `--section.field` for each.

The options are made when the command is invoked, so that `bradley --help` loads neither pydantic nor the settings.
"""

from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..config.fields import Setting


class SettingsCommand(click.Command):
    """A command that takes settings as options and is called with those given as `overrides`, dotted name -> text.

    Args:
        choose: whether a setting is an option of this command, by its dotted name.
    """

    def __init__(self, *args: Any, choose: Callable[[str], bool] = lambda name: True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choose = choose

    @cached_property
    def settings(self) -> list[click.Option]:
        """One option for each setting that the command takes."""
        from ..config import Config
        from ..config.fields import settings_of

        return [setting_option(setting) for setting in settings_of(Config).values() if self.choose(setting.name)]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then the settings."""
        return [*super().get_params(ctx), *self.settings]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and gather the settings among the options."""
        loose, args = loose_settings(args, {name for param in self.get_params(ctx) for name in param.opts})
        for name in loose:
            self.refuse_unchosen(ctx, name)
        rest = super().parse_args(ctx, args)
        given = {dotted(option): ctx.params.pop(str(option.name)) for option in self.settings}
        ctx.params["overrides"] = {name: text for name, text in given.items() if text is not None} | loose
        return rest

    def refuse_unchosen(self, ctx: click.Context, name: str) -> None:
        """Raise `UserError` for a setting that exists, but not in this command."""
        from ..config import Config
        from ..config.fields import find_setting, settings_of

        found = find_setting(name, settings_of(Config))
        if found and not self.choose(found[0].name):
            raise UserError(
                f"command line: {name} is no option of `{ctx.command_path}`", f"type `{ctx.command_path} --help`"
            )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then the settings under the head of their section."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                section = dotted(param).rpartition(".")[0]
                groups.setdefault(f"[{section}]" if section else "Options", []).append(record)
        for head, records in groups.items():
            with formatter.section(head):
                formatter.write_dl(records, col_max=30)


def dotted(param: click.Parameter) -> str:
    """The name of an option as it is typed, without the dashes."""
    return param.opts[0].removeprefix("--")


def setting_option(setting: "Setting") -> click.Option:
    """The option of one setting; its help is the setting's docstring and its default."""
    entry = f"One entry: --{setting.name}.NAME VALUE." if setting.table else ""
    default = f"[default: {setting.shown_default}]" if setting.shown_default else ""
    return click.Option(
        [setting.name.replace(".", "__"), f"--{setting.name}"],
        metavar=setting.metavar,
        help=" ".join(f"{setting.text} {entry} {default}".split()),
    )


def loose_settings(args: list[str], known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Dotted options that are no option of click's, and all other arguments.

    They are the entries of tables (`--model.config.hidden_size 64`), and slips, which are passed on like settings so
    that they are reported together with the mistakes of the file.

    Raises:
        UserError: such an option without a value.
    """
    loose: dict[str, str] = {}
    rest: list[str] = []
    queue = deque(args)
    while queue and queue[0] != "--":
        arg = queue.popleft()
        name, equals, value = arg.partition("=")
        if name in known or not name.startswith("--") or "." not in name:
            rest.append(arg)
        elif equals or (queue and not queue[0].startswith("--")):
            loose[name.removeprefix("--")] = value if equals else queue.popleft()
        else:
            raise UserError(f"command line: {name} was given no value", f"type: {name} VALUE")
    return loose, [*rest, *queue]
