"""The oracle: what is wrong with the end of a command, whatever the damage was."""

import json
from pathlib import Path

from bradley.errors import EXIT_CODES
from tests.fuzz.case import Case, Ended, Snapshot, changed, drafts
from tests.fuzz.values import PLANTED

MOST_BYTES = 64 * 1024
"""Most output of a command."""
MOST_CHARACTERS = 2000
"""Most characters of a line of an error."""


def complaints(case: Case, ended: Ended, before: Snapshot, after: Snapshot, world: Path) -> list[str]:
    """List what is wrong with the end of a case; an empty list is a passed case."""
    found = [*ends_wrongly(ended), *says_wrongly(case, ended)]
    found += [f"a file outside of the output: {each}" for each in changed(case, before, after)]
    if not ended.stood:
        found += [f"left-overs: {each}" for each in drafts(before, after)]
    if ended.megabytes > case.megabytes:
        found.append(f"memory: {ended.megabytes:.0f} MB, {case.megabytes:.0f} allowed")
    if ended.code == 0:
        found += [f"silent success: {each}" for each in case.judge(ended, world)]
    return found


def ends_wrongly(ended: Ended) -> list[str]:
    """Complain about the exit code, a command without an end, and processes left behind."""
    if ended.stood:
        return [f"no end: the command {ended.stood}"]
    found = [f"exit code {ended.code}"] if ended.code not in EXIT_CODES else []
    return found + (["a process was left running"] if ended.left else [])


def says_wrongly(case: Case, ended: Ended) -> list[str]:
    """Complain about the output: tracebacks, control characters, no UTF-8, length, errors without form."""
    found = []
    for name, data in (("stdout", ended.out), ("stderr", ended.err)):
        text = data.decode("utf-8", errors="replace")
        if "Traceback (most recent call last)" in text:
            found.append(f"traceback: {text.strip().splitlines()[-1][:200]}")
        if "\ufffd" in text and b"\xef\xbf\xbd" not in data:
            found.append(f"{name} is no UTF-8")
        if odd := sorted({c for c in text if _is_control(c, json_text=name == "stdout" and _is_json(text))}):
            found.append(f"control characters on {name}: {odd[:5]}")
        # Scored rows on stdout are as long as the rows that went in.
        if len(data) > MOST_BYTES and not (name == "stdout" and case.args[:1] == ["score"]):
            found.append(f"{len(data):,} bytes on {name}")
        if any(line.startswith((f"error: {PLANTED}", f"hint: {PLANTED}", PLANTED)) for line in text.split("\n")):
            found.append(f"a line of a value on {name}")
    if "traceback" not in " ".join(found) and not ended.stood:
        found += errors_without_form(case, ended)
    return found


def errors_without_form(case: Case, ended: Ended) -> list[str]:
    """Complain unless an error is a group of `error:` lines with one `hint:` line, at the end of stderr."""
    lines = ended.err.decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    if "--json" in case.args and any(line.startswith('{"event": "error"') for line in lines):
        event = json.loads(next(line for line in lines if line.startswith('{"event": "error"')))
        what, hint = str(event["what"]).split("\n"), [event["fix"]] if event["fix"] else []
        rest = []
    else:
        what = [line for line in lines if line.startswith("error: ")]
        hint = [line for line in lines if line.startswith("hint: ")]
        rest = lines[lines.index(what[0]) :][len(what) + len(hint) :] if what else []
    if ended.code == 0:
        return ["an error, and exit code 0"] if what else []
    found = [] if what else [f"exit code {ended.code} without an error: {lines[-1:]}"]
    if what and len(hint) != 1:
        found.append(f"{len(hint)} hints for one error: {what[0][:200]}")
    if rest:
        found.append(f"text after the error: {rest[0][:100]!r}")
    return found + [f"an error of {len(line):,} characters" for line in what + hint if len(line) > MOST_CHARACTERS][:1]


def _is_json(text: str) -> bool:
    return text.startswith(("{", "["))


def _is_control(c: str, *, json_text: bool) -> bool:
    """Tell if a character can move a cursor, or reorder a line; JSON for programs may hold every letter."""
    if c == "\n":
        return False
    return ord(c) < 32 or 127 <= ord(c) < 160 if json_text else not c.isprintable()
