"""Counts of the source tree: rooms, imports between them, files, and the words of docstrings and comments.

    python benchmarks/house.py                    # this checkout
    python benchmarks/house.py BEFORE AFTER       # two checkouts side by side, as a table in Markdown

A room is a folder or a file at the top of `src/bradley`; an arrow is one room importing another, at any level.
"""

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

HEADLESS = re.compile(r"(Whether|What|How|Why|Where|Which|That|When)\b")
PRONOUNS = {"it", "its", "that", "which", "what", "whatever", "one", "those", "so", "them", "there"}
"""Words that make a reader look back for the thing meant."""
OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DIRECTIVES = re.compile(r"#\s*(noqa|type:|fmt:|-{5,})")
LONGEST_SENTENCE, LONGEST_FILE, LONGEST_FUNCTION = 25, 400, 60
Edge = tuple[str, str]


def main() -> None:
    """Print the counts of one checkout, or of two side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="*", type=Path, default=[Path(__file__).parents[1]])
    roots = parser.parse_args().roots
    found = [counts(root / "src" / "bradley") for root in roots]
    print("| figure |" + "".join(f" {name} |" for name in ("before", "after")[-len(found) :]))
    print("|---|" + "---|" * len(found))
    for name in found[0]:
        print(f"| {name} |" + "".join(f" {each[name]:g} |" for each in found))


def counts(source: Path) -> dict[str, float]:
    """Measure the package in a folder."""
    files = sorted(source.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    arrows = {edge for path, tree in trees.items() for edge in room_arrows(source, path, tree)}
    docs = [doc for tree in trees.values() for doc in docstrings(tree)]
    words = re.findall(r"[A-Za-z']+", " ".join(docs))
    sentences = [text for doc in docs for text in re.split(r"(?<=[.!?:])\s+|\n\s*\n", doc) if text.strip()]
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    comments, code = (sum(each) for each in zip(*(comment_and_code_lines(path) for path in files), strict=True))
    return {
        "rooms": len({room(source, path) for path in files}),
        "arrows between rooms": len(arrows),
        "arrows that run back up": len(feedback(arrows)),
        "loose files at the top": len(list(source.glob("*.py"))),
        "files in the flat part of `training/`": len(
            [p for p in (source / "training").glob("*.py") if p.stat().st_size]
        ),
        "files": len(files),
        f"files over {LONGEST_FILE} lines": sum(length > LONGEST_FILE for length in lengths),
        f"functions over {LONGEST_FUNCTION} lines": sum(
            (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION for node in functions
        ),
        "headless docstrings, %": percent(sum(bool(HEADLESS.match(doc)) for doc in docs), len(docs)),
        "pronouns and relatives in 100 words of docstrings": percent(
            sum(w.lower() in PRONOUNS for w in words), len(words)
        ),
        f"docstring sentences over {LONGEST_SENTENCE} words, %": percent(
            sum(len(text.split()) > LONGEST_SENTENCE for text in sentences), len(sentences)
        ),
        "comment lines in 100 code lines": percent(comments, code),
    }


def percent(part: int, whole: int) -> float:
    """Return a share in percent, to one decimal."""
    return round(100 * part / max(1, whole), 1)


def room(source: Path, path: Path) -> str:
    """Return the room of a file: the first part of its path below the package."""
    return path.relative_to(source).parts[0].removesuffix(".py")


def room_arrows(source: Path, path: Path, tree: ast.Module) -> Iterator[Edge]:
    """Yield each other room that a file imports, relative imports resolved by hand."""
    package = path.relative_to(source).parts[:-1]
    rooms = {room(source, each) for each in source.rglob("*.py")}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        named = (node.module or "").split(".") if node.module else []
        if node.level:
            named = [*package[: len(package) - (node.level - 1)], *named]
        elif named[:1] == [source.name]:
            named = named[1:]
        else:
            continue
        # `from .. import x` names either a room or a public name of the package.
        targets = [named[0]] if named else [a.name if a.name in rooms else "__init__" for a in node.names]
        yield from ((room(source, path), target) for target in targets if target != room(source, path))


def feedback(edges: set[Edge]) -> tuple[Edge, ...]:
    """Return the fewest arrows whose removal leaves no circle of rooms."""
    suspects = sorted(edge for edge in edges if edge[0] in reachable(edges, edge[1]))
    for size in range(len(suspects) + 1):
        for chosen in combinations(suspects, size):
            left = edges - set(chosen)
            if not any(start in reachable(left, target) for start, target in left):
                return chosen
    return tuple(suspects)


def reachable(edges: set[Edge], start: str) -> set[str]:
    """Return every room that one room imports, directly or through others."""
    found: set[str] = set()
    queue = [start]
    while queue:
        current = queue.pop()
        new = {target for origin, target in edges if origin == current} - found
        found |= new
        queue += new
    return found


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and its functions."""
    return (doc for node in ast.walk(tree) if isinstance(node, OWNERS) and (doc := ast.get_docstring(node)))


def comment_and_code_lines(path: Path) -> tuple[int, int]:
    """Count lines with a comment, directives and rules left out, and lines with code."""
    comments, code = set(), set()
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not DIRECTIVES.match(token.string):
                comments.add(token.start[0])
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            is_text = token.type == tokenize.STRING and token.line.lstrip().startswith(('"""', "'''"))
            code |= set() if is_text else {*range(token.start[0], token.end[0] + 1)}
    return len(comments), len(code)


if __name__ == "__main__":
    main()
