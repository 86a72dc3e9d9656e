"""End of a conversation: what a chat template writes after the last response, and where the text of a policy stops.

A score is read at the last token that the template writes. Some templates write more after the token at which a policy
stops, such as the newline of ChatML after `<|im_end|>`. The text of a policy then lacks the scored token.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

MARK = "A9z"
"""Response whose end is found in a rendering; no template writes this text by itself."""


class Ending(NamedTuple):
    """End of every conversation of a model.

    Attributes:
        tail: text that the template writes after the last response, such as `<|im_end|>\\n`; may be empty.
        stop: beginning of the tail up to its last special token, where a policy stops; the whole tail without one.
    """

    tail: str
    stop: str

    def complete(self, query: str) -> str:
        """Complete the text of a conversation as a policy leaves the text: whole, stopped, or cut off by a limit.

        Example:
            Ending("<|im_end|>\\n", "<|im_end|>").complete("...Seven.<|im_end|>")  # adds the newline
        """
        # Only whole parts are looked for: a response may end in the first character of a special token.
        written = next(part for part in (self.tail, self.stop, "") if query.endswith(part))
        return query + self.tail[len(written) :]


def find_ending(render: Callable[[str], str], special: Collection[str]) -> Ending:
    """Find the end of the conversations that a template writes.

    Args:
        render: writes a conversation with this text as the last response.
        special: special tokens of the tokenizer as texts.
    """
    tail = render(MARK).rpartition(MARK)[2]
    return Ending(tail, stopped(tail, special))


def stopped(text: str, special: Collection[str]) -> str:
    """Return a text up to the end of its last special token; the whole text without any special token."""
    ends = [text.rfind(token) + len(token) for token in special if token and token in text]
    return text[: max(ends, default=len(text))]
