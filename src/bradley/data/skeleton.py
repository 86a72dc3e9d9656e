"""Skeletons of a chat template: the text between the contents of the turns, found once for each order of roles.

Most templates write every content as it is, or without outer blanks, between texts that depend on roles alone. Such a
template is run once with placeholders for the contents (symbolic execution). A placeholder allows only what treats all
contents alike: joining, trimming, writing. Any other use, such as a comparison or a search, ends the attempt, and
conversations with these roles are rendered in full. A skeleton then gives the text of a rendering in a tenth of the
time.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .sandbox import limited, rendered, replace_concats

JOIN = "bradley: join"
"""Name of the filter that joins the sides of `~`; no template can spell a name with a colon."""
MOST_SKELETONS = 4096
"""Most orders of roles kept; conversations of a set share a few dozen."""
MOST_PARTS, MOST_FIXED, MOST_COPIES = 2**16, 2**20, 8
"""Most parts of a skeleton, characters of these, and copies of a content: a template that doubles a text has none."""
STANDING = {"string": True, "defined": True, "iterable": True, "sequence": True}
STANDING |= dict.fromkeys(("undefined", "none", "mapping", "number", "integer", "float", "boolean", "callable"), False)
"""Answers of Jinja's tests about a text, whatever the text."""
UNCHANGED = ("string", "safe")
"""Filters that return a text unchanged where nothing is escaped."""


class Slot(NamedTuple):
    """Place of a content in a skeleton.

    Attributes:
        turn: number of the turn.
        trimmed: True for the content without outer blanks.
    """

    turn: int
    trimmed: bool


Parts = tuple[str | Slot, ...]


class Varies(Exception):
    """Raised by a placeholder for a use with a result that depends on the content."""


class Skeletons:
    """Skeletons of a template, by roles.

    Args:
        template: a template of `sandbox.compiled`.
        text: the template.
        values: variables shared by all conversations.

    Example:
        skeletons = Skeletons(compiled(environment, "{{ messages[0].content }}!"), "{{ messages[0].content }}!", {})
        skeletons.fill(("user",), ["Yes"], opens=False)  # "Yes!"
    """

    def __init__(self, template: Any, text: str, values: dict[str, Any]) -> None:
        self._template, self._text, self._values = template, text, values
        self._known: dict[tuple[bool, tuple[str, ...]], Parts | None] = {}

    @functools.cached_property
    def _traced(self) -> Any:
        """Template for placeholders, compiled for the first conversation: many programs load a model and write none."""
        return _traceable(self._template, self._text)

    def fill(self, roles: tuple[str, ...], contents: Sequence[str], opens: bool) -> str | None:
        """Return the text of a conversation of turns with role and content alone; None without a skeleton.

        Args:
            roles: role of each turn.
            contents: content of each turn; a blank content has no skeleton, because templates test for blank contents.
            opens: True to end the text where a response begins.
        """
        for content in contents:
            if not content or content.isspace():
                return None
        key = (opens, roles)
        if key not in self._known:
            if self._traced is None or len(self._known) >= MOST_SKELETONS:
                return None
            self._known[key] = self._found(roles, contents, opens)
        parts = self._known[key]
        return None if parts is None else _filled(parts, contents)

    def _found(self, roles: Sequence[str], contents: Sequence[str], opens: bool) -> Parts | None:
        """Trace a skeleton, and compare the text of a first conversation with the full rendering."""
        marks = [Joined((Slot(place, False),)) for place in range(len(roles))]
        turns = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        full = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            parts = _trace(self._traced, {**self._values, "messages": turns, "add_generation_prompt": opens})
            text = rendered(self._template, {**self._values, "messages": full, "add_generation_prompt": opens})
        # A template raises whatever it likes; the full rendering of the conversation raises the same, in words.
        except Exception:
            return None
        return parts if _filled(parts, contents) == text else None


def _filled(parts: Parts, contents: Sequence[str]) -> str:
    """Put contents into the slots of a skeleton."""
    return "".join(
        [
            part if type(part) is str else contents[part[0]].strip() if part[1] else contents[part[0]]  # type: ignore[index]
            for part in parts
        ]
    )


class Joined:
    """Placeholder for a text of known parts and contents; any use beyond joining, trimming and writing is refused."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def trimmed(self) -> "Joined":
        """Return the placeholder without outer blanks, for a content alone."""
        if len(self.parts) != 1 or not isinstance(slot := self.parts[0], Slot):
            raise Varies
        return Joined((Slot(slot.turn, trimmed=True),))

    def __bool__(self) -> bool:
        # Only contents with more than blanks reach a skeleton.
        return True

    def __getattr__(self, name: str) -> Any:
        # Jinja takes an AttributeError for a missing key, and would go on with an undefined value.
        if name == "strip":
            return functools.partial(_strip, self)
        raise Varies

    def _varies(self, *_: Any) -> Any:
        raise Varies

    __str__ = __repr__ = __format__ = __hash__ = __len__ = __iter__ = __contains__ = __getitem__ = _varies
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _varies
    __add__ = __radd__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _varies


class Piece(str):
    """Part of the output with a placeholder: Jinja keeps a subclass of `str` as the subclass."""

    parts: Parts


class Writing:
    """Value that Jinja turns into a `Piece` on output."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined

    def __str__(self) -> str:
        piece = Piece()
        piece.parts = self.joined.parts
        return piece


def _strip(joined: Joined) -> Joined:
    """Stand in for `str.strip` without arguments."""
    return joined.trimmed()


def _trace(template: Any, values: dict[str, Any]) -> Parts:
    """Run a template with placeholders; raise `Varies` if the text depends on contents, or is beyond the limits."""
    found: list[str | Slot] = []
    with limited():
        for piece in template.root_render_func(template.new_context(values)):
            found += piece.parts if isinstance(piece, Piece) else [piece]
            if len(found) > MOST_PARTS:
                raise Varies
    return _bounded(found)


def _bounded(parts: Sequence[str | Slot]) -> Parts:
    """Return parts within the limits; raise `Varies` beyond these."""
    copies = Counter(part.turn for part in parts if isinstance(part, Slot))
    fixed = sum(len(part) for part in parts if isinstance(part, str))
    if len(parts) > MOST_PARTS or fixed > MOST_FIXED or max(copies.values(), default=0) > MOST_COPIES:
        raise Varies
    return tuple(parts)


def _traceable(template: Any, text: str) -> Any:
    """Compile a template for placeholders; None for a template that keeps written text, or draws at random."""
    from jinja2 import nodes

    environment = template.environment.overlay()
    environment.__class__ = _tracing_kind(template.environment.__class__)
    tree = environment.parse(text)
    # Written text that is kept becomes a usual text, in which a placeholder would be lost.
    keeping = (nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Block, nodes.Extends)
    if tree.find((*keeping, nodes.Include, nodes.Import, nodes.FromImport)):
        return None
    if any(loop.recursive for loop in tree.find_all(nodes.For)):
        return None
    if any(part.name == "random" for part in tree.find_all(nodes.Filter)):
        return None
    finalize = template.environment.finalize
    environment.finalize = lambda value: Writing(value) if isinstance(value, Joined) else finalize(value)
    environment.filters = {name: _on_texts(name, each) for name, each in environment.filters.items()}
    environment.filters[JOIN] = _joined
    environment.tests = {name: _on_any(name, each) for name, each in environment.tests.items()}
    environment.intercepted_unops = frozenset(["+", "-"])
    with limited():
        found = environment.from_string(text)
    found.globals = template.globals
    return found


@functools.cache
def _tracing_kind(kind: Any) -> Any:
    """Derive the class of an environment with placeholders from a class of `sandbox`."""

    class Tracing(kind):  # type: ignore[misc]
        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            tree = super()._parse(source, name, filename)
            replace_concats(tree, _joining)
            return tree.set_environment(self)

        def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
            if isinstance(called, functools.partial) and called.func is _strip:
                # Jinja hands the variables of a loop to every call.
                if args or kwargs.keys() - {"_loop_vars", "_block_vars"}:
                    raise Varies
                return called()
            # A namespace keeps a value and does not look at the value.
            if getattr(called, "__name__", "") != "Namespace" and _among((*args, *kwargs.values())):
                raise Varies
            return super().call(context, called, *args, **kwargs)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, Joined) or isinstance(right, Joined):
                if operator != "+":
                    raise Varies
                return _joined([left, right])
            return super().call_binop(context, operator, left, right)

    return Tracing


def _joining(node: Any) -> Any:
    """Put a filter in place of a node of `~`, which would write its sides."""
    from jinja2 import nodes

    joined = nodes.Filter(nodes.List(node.nodes), JOIN, [], [], None, None)
    return joined.set_lineno(node.lineno)


def _joined(values: Sequence[Any]) -> Any:
    """Join texts and placeholders; other values only among themselves, as `~` writes these."""
    if not any(isinstance(value, Joined) for value in values):
        return "".join(map(str, values))
    parts: list[str | Slot] = []
    for value in values:
        if isinstance(value, Joined):
            parts += value.parts
        elif isinstance(value, str):
            parts.append(value)
        else:
            raise Varies
    return Joined(_bounded(parts))


def _on_texts(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter take placeholders only where the filter treats all texts alike."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not _among((*args, *kwargs.values())):
            return function(*args, **kwargs)
        if len(args) == 1 and not kwargs and isinstance(args[0], Joined):
            if name == "trim":
                return args[0].trimmed()
            if name in UNCHANGED:
                return args[0]
        # The sandbox's own checks of sizes: the contents count when the text is filled in.
        if name.startswith("bradley: "):
            return args[0]
        raise Varies

    return checked


def _on_any(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a test take a placeholder only where the answer is that for every text."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not _among((*args, *kwargs.values())):
            return function(*args, **kwargs)
        if len(args) == 1 and name in STANDING:
            return STANDING[name]
        raise Varies

    return checked


def _among(values: Sequence[Any]) -> bool:
    """Return True for a placeholder among values; inside lists and dicts placeholders guard themselves."""
    return any(isinstance(value, Joined) for value in values)
