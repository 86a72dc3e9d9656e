"""What a power cut leaves of a folder, by inode: content that was not synced is gone, and so may be names.

A file keeps what it held when it was last synced, or nothing. A folder keeps the names it had when it was last synced
(`names="lost"`), or those it has (`names="kept"`: a journal wrote them before the content), or each folder either
(`names="mixed"`).
"""

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .seam import wrap

Entries = dict[str, "Node"]


class Node:
    """A file or folder that exists or existed, under any name; `synced` is what a power cut leaves of it."""

    def __init__(self, folder: bool) -> None:
        self.folder = folder
        self.synced: bytes | Entries = {} if folder else b""


class Power:
    """Follows every file below `root` from now on; what is there already counts as synced.

    Inode numbers are given out again, so a number means a node only as long as a name or an open file has it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes: dict[int, Node] = {}
        for path in sorted(root.rglob("*"), reverse=True):
            self._sync(path, path.lstat())
        self._sync(root, root.lstat())
        wrap(self._around)

    def _around(self, name: str, call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        gone = self._about_to_go(name, given)
        result = call(*given)
        if gone is not None:
            self.nodes.pop(gone, None)
        if name == "sync":
            self._sync(Path(os.readlink(f"/proc/self/fd/{given[0]}")), os.fstat(given[0]))
        return result

    def _about_to_go(self, name: str, given: tuple[Any, ...]) -> int | None:
        """The inode that loses its last name in a call."""
        path = {"unlink": 0, "rmdir": 0, "rename": 1}.get(name)
        if path is None or not os.path.lexists(given[path]):
            return None
        found = os.lstat(given[path])
        return found.st_ino if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode) else None

    def _node(self, found: os.stat_result) -> Node:
        return self.nodes.setdefault(found.st_ino, Node(stat.S_ISDIR(found.st_mode)))

    def _sync(self, path: Path, found: os.stat_result) -> None:
        self._node(found).synced = self._entries(path) if stat.S_ISDIR(found.st_mode) else path.read_bytes()

    def _entries(self, folder: Path) -> Entries:
        return {path.name: self._node(path.lstat()) for path in folder.iterdir()}

    def cut(self, names: str, seed: int = 0) -> None:
        """Leave below `root` what a power cut now would leave."""
        left = self._left(self.root, self._node(self.root.lstat()), names, random.Random(seed))
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _restore(self.root, left)

    def _left(self, path: Path | None, node: Node, names: str, rng: random.Random) -> bytes | dict[str, Any]:
        if not node.folder:
            return node.synced  # type: ignore[return-value]
        kept = names == "kept" or (names == "mixed" and rng.random() < 0.5)
        if kept and path is not None:
            return {name: self._left(path / name, child, names, rng) for name, child in self._entries(path).items()}
        return {name: self._left(self._where(child), child, names, rng) for name, child in node.synced.items()}  # type: ignore[union-attr]

    def _where(self, node: Node) -> Path | None:
        """Where a folder is now, if it has a name yet."""
        for place, _, _ in os.walk(self.root):
            if self.nodes.get(os.stat(place).st_ino) is node:
                return Path(place)
        return None


def _restore(folder: Path, left: dict[str, Any]) -> None:
    for name, content in left.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).mkdir()
            _restore(folder / name, content)
