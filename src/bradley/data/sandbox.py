"""Limits of a chat template: steps, characters and seconds of a rendering, and the size of every value made on the way.

The sandbox of transformers keeps a template from Python, and lets the template fill the memory or run for ever. Here
every operation that can make a value larger than all its inputs is checked before the value is made. Loops and calls
count as steps. The counts do not depend on the machine; the seconds are a last resort.
"""

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NoReturn

from ..errors import UserError

MOST_STEPS = 1_000_000
"""Most turns of loops, calls and filters of a rendering; a conversation of 10,000 turns takes a tenth."""
MOST_CHARACTERS = 2**26
"""Most characters of a rendering, or of a value on the way."""
MOST_SECONDS = 20.0
"""Longest rendering; a usual conversation takes less than a millisecond."""
MOST_ITEMS = 2**20
"""Most items of a list that is made by repetition."""
MOST_BITS = 2**12
"""Most bits of a product or power of whole numbers."""
SPEND, CHECK = "bradley: spend", "bradley: check"
"""Names of our own filters; no template can spell a name with a colon."""
WIDTHS = {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "batch", "slice", "truncate"}
"""Filters and methods with a width: the result grows with the number."""
WRITERS = {"join", "list", "pprint", "string", "sum", "tojson", "urlencode", "xmlattr", "wordwrap"}
"""Filters and methods that write or copy a whole value, with every repetition inside."""
GROWING = {*WIDTHS, *WRITERS, "format", "format_map", "replace"}
"""Filters and methods checked before the call; the result of any other is about as large as the inputs."""
STEPS_UNTIMED = 256
"""Steps between two looks at the clock."""
NESTED = re.compile(r"\{[^{}]+\{")
"""A field of `str.format` within a field."""
HINT = "give another template with render.template"


class _Budget(threading.local):
    """Steps and characters used by the rendering of this thread, and the end of its time."""

    def __init__(self) -> None:
        self.used = [0, 0]
        self.deadline = float("inf")


BUDGET = _Budget()


@contextmanager
def limited() -> Iterator[None]:
    """Count steps, characters and seconds anew inside a `with` block."""
    BUDGET.used, BUDGET.deadline = [0, 0], time.monotonic() + MOST_SECONDS
    try:
        yield
    finally:
        BUDGET.deadline = float("inf")


def compiled(environment: Any, text: str) -> Any:
    """Compile a template for a copy of a sandboxed environment with limits.

    Args:
        environment: a sandboxed environment of Jinja; left as it is.
        text: the template.

    Raises:
        UserError: the text is not Jinja, or nested too deeply.
    """
    from jinja2 import TemplateSyntaxError

    bounded = environment.overlay()
    bounded.__class__ = _bounded_kind(environment.__class__)
    # Without the interception, Jinja computes `10 ** 10 ** 8` already while compiling.
    bounded.intercepted_binops = frozenset(["*", "**", "%", "+"])
    bounded.finalize = _written
    bounded.filters = {name: _checked(name, function) for name, function in environment.filters.items()}
    bounded.filters |= {SPEND: _spend_in(), CHECK: _of_fair_size}
    bounded.globals = {name: value for name, value in environment.globals.items() if name != "lipsum"}
    try:
        with limited():
            return bounded.from_string(text)
    except TemplateSyntaxError as error:
        message = " ".join(str(error.message).split())[:200]
        raise UserError(f"the chat template is not Jinja: line {error.lineno}: {message}", HINT) from error
    # Python's own limits: 20 blocks inside each other, and the depth of expressions.
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UserError("the chat template is nested too deeply", HINT) from error
    except UserError:
        raise
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"the chat template cannot be compiled: {message}", HINT) from error


def rendered(template: Any, values: dict[str, Any]) -> str:
    """Render a template of `compiled`.

    Raises:
        UserError: the template goes beyond a limit.
        Exception: any error raised by the template.
    """
    # `limited` and `Template.render` in place: a million conversations are rendered three times each, and a context
    # manager and a copy of the values take longer than most of the operations that they surround.
    BUDGET.used, BUDGET.deadline = [0, 0], time.monotonic() + MOST_SECONDS
    try:
        text = str(template.environment.concat(template.root_render_func(template.new_context(values))))
    finally:
        BUDGET.deadline = float("inf")
    _check_size(len(text))
    return text


@functools.cache
def _bounded_kind(kind: Any) -> Any:
    """Derive the class of an environment with limits."""

    class Bounded(kind):  # type: ignore[misc]
        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            tree = super()._parse(source, name, filename)
            _count(tree)
            return tree.set_environment(self)

        def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
            _spend()
            method = getattr(called, "__wrapped__", called)
            if getattr(method, "__name__", "") in GROWING:
                owner = getattr(method, "__self__", None)
                if isinstance(owner, str | list | tuple | dict):
                    args = (_read(args[0]), *args[1:]) if args else args
                    _check_growth(method.__name__, (owner, *args), kwargs)
            return _of_fair_size(super().call(context, called, *args, **kwargs))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            # Most operations of a chat template join two texts.
            if operator == "+" and type(left) is str and type(right) is str:
                value = left + right
                return value if len(value) <= MOST_CHARACTERS else _of_fair_size(value)
            _check_operator(operator, left, right)
            return _of_fair_size(super().call_binop(context, operator, left, right))

    return Bounded


def _count(tree: Any) -> None:
    """Add a counting statement to each loop and macro, and a check to each `~`, of a parsed template."""
    from jinja2 import nodes

    for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
        # The fixed text of a body is written in every turn, and passes no other check.
        fixed = sum(len(text.data) for part in node.body for text in part.find_all(nodes.TemplateData))
        fixed += sum(len(part.data) for part in node.body if isinstance(part, nodes.TemplateData))
        counted = nodes.Filter(nodes.Const(fixed), SPEND, [], [], None, None)
        node.body = [nodes.ExprStmt(counted).set_lineno(node.lineno), *node.body]
    replace_concats(tree, _checked_node)


def replace_concats(tree: Any, make: Callable[[Any], Any]) -> None:
    """Replace each node of `~` in a parsed template by the node that `make` returns."""
    from jinja2 import nodes

    for parent in list(tree.find_all(nodes.Node)):
        for name, value in list(parent.iter_fields()):
            if isinstance(value, nodes.Concat):
                setattr(parent, name, make(value))
            elif isinstance(value, list):
                setattr(parent, name, [make(v) if isinstance(v, nodes.Concat) else v for v in value])


def _checked_node(node: Any) -> Any:
    """Put a node under the filter `CHECK`."""
    from jinja2 import nodes

    # Both sides are texts, numbers or lists; `~` writes them.
    node.nodes = [nodes.Filter(part, CHECK, [], [], None, None).set_lineno(node.lineno) for part in node.nodes]
    return nodes.Filter(node, CHECK, [], [], None, None).set_lineno(node.lineno)


def _checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter with checks; the marks of Jinja about further arguments are kept."""
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def light(*args: Any, **kwargs: Any) -> Any:
        _spend()
        value = function(*args, **kwargs)
        return _of_fair_size(value) if isinstance(value, str) else value

    @functools.wraps(function)
    def growing(*args: Any, **kwargs: Any) -> Any:
        _spend()
        given = args[skipped:]
        if name in WRITERS and given:
            given = (_read(given[0]), *given[1:])
        _check_growth(name, given, kwargs)
        return _of_fair_size(function(*args[:skipped], *given, **kwargs))

    return growing if name in GROWING else light


def _read(value: Any) -> Any:
    """Turn a lazy sequence, such as that of `map`, into a list: there is no size before the reading."""
    return list(islice(value, MOST_ITEMS + 1)) if hasattr(value, "__next__") else value


def _spend_in() -> Callable[..., str]:
    """Return the filter that counts a turn; Jinja never computes a filter with a context ahead of time."""
    from jinja2 import pass_context

    @pass_context
    def spend(context: Any, characters: int) -> str:
        _spend(characters)
        return ""

    return spend


def _spend(characters: int = 0) -> None:
    """Count a step and the characters written by the step."""
    used = BUDGET.used
    used[0] += 1
    used[1] += characters
    if used[0] % STEPS_UNTIMED == 0 and time.monotonic() > BUDGET.deadline:
        _refuse(f"takes more than {MOST_SECONDS:g} seconds")
    if used[0] > MOST_STEPS:
        _refuse(f"takes more than {MOST_STEPS:,} steps")
    if used[1] > MOST_CHARACTERS:
        _refuse(f"writes more than {MOST_CHARACTERS:,} characters")


def _written(value: Any) -> Any:
    """Count a value that a template writes."""
    _spend(len(value) if isinstance(value, str) else _weight(value))
    return value


def _of_fair_size(value: Any) -> Any:
    """Return a value; raise `UserError` for a value above the limits."""
    if isinstance(value, str):
        _check_size(len(value))
    elif isinstance(value, list | tuple | dict) and value:
        _check_size(_weight(value))
    return value


def _check_size(characters: int) -> None:
    if characters > MOST_CHARACTERS:
        _refuse(f"makes a value of more than {MOST_CHARACTERS:,} characters")


def _check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise `UserError` before an operation that would make a value above the limits."""
    if operator == "%":
        if isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,))
    elif operator == "**":
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MOST_BITS:
            _refuse(f"makes a number of more than {MOST_BITS} bits")
    elif operator == "*":
        for times, value in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(value, str):
                _check_size(times * len(value))
            elif isinstance(times, int) and hasattr(value, "__len__") and times * len(value) > MOST_ITEMS:
                _refuse(f"makes a list of more than {MOST_ITEMS:,} items")
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MOST_BITS:
            _refuse(f"makes a number of more than {MOST_BITS} bits")


def _check_growth(name: str, given: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `UserError` before a filter or method that would make a value above the limits."""
    if name in ("format", "format_map") and given and isinstance(given[0], str):
        _check_format(given[0], (*given[1:], *kwargs.values()))
        return
    value, others = (given[0] if given else ""), (*given[1:], *kwargs.values())
    size = len(value) if isinstance(value, str) else _weight(value)
    width = max((abs(n) for n in others if isinstance(n, int)), default=0)
    added = max((len(text) if isinstance(text, str) else 0 for text in others), default=0)
    if name == "replace":
        old = next(iter(given[1:]), kwargs.get("s", kwargs.get("old", "")))
        times = value.count(old) if isinstance(value, str) and isinstance(old, str) else size
        _check_size(size + times * added)
        return
    # `", ".join(list)` has the separator first, and the filter has the list first.
    if name == "join" and isinstance(value, str) and others:
        size, added = _weight(others[0]), len(value)
    pieces = size if name in WRITERS or not isinstance(value, str) else 1 + value.count("\n") + value.count("\t")
    _check_size(size + (added + width) * (pieces + 1))


def _check_format(text: str, given: Iterable[Any]) -> None:
    """Raise `UserError` before a format, as of `%` and `str.format`, that would make a value above the limits."""
    values = list(given)
    fields = text.count("%") + text.count("{")
    widths = sum(int(digits[:12]) for digits in re.findall(r"\d+", text))
    # A width may be an argument too, as a number or as a text: `%*d`, `{:>{}}`.
    nested = "*" in text or NESTED.search(text)
    asked = max((abs(n) for n in _whole_numbers(values)), default=0) if nested else 0
    _check_size(len(text) + widths + fields * (_weight(values) + min(asked, MOST_CHARACTERS + 1)))


def _whole_numbers(values: list[Any]) -> Iterator[int]:
    """Yield the whole numbers among values, also of mappings."""
    for value in values:
        if isinstance(value, int):
            yield value
        elif isinstance(value, str):
            yield from (int(digits[:12]) for digits in re.findall(r"\d+", value[:1000]))
        elif isinstance(value, dict):
            yield from _whole_numbers(list(value.values()))


def _weight(value: Any) -> int:
    """Count the characters and items in a value, up to a little above the limits; repeated parts count each time."""
    total, parts, open_parts = 0, 0, [iter((value,))]
    while open_parts:
        for part in open_parts[-1]:
            # A list of a few characters, doubled thirty times, is small in memory and endless on paper.
            total += len(part) if isinstance(part, str) else 1
            parts += 1
            if parts > MOST_ITEMS or total > MOST_CHARACTERS:
                return MOST_CHARACTERS + 1
            if isinstance(part, dict):
                open_parts.append(iter([*part, *part.values()]))
                break
            if isinstance(part, list | tuple | set | frozenset | range):
                open_parts.append(iter(part))
                break
        else:
            open_parts.pop()
    return total


def _refuse(why: str) -> NoReturn:
    raise UserError(f"the chat template {why}", HINT)
