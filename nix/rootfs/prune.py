"""What of the packages stays.

In: a tree with all packages, the rules of prune.toml. Out: the same tree without what no program in it can reach.
Never: guesses: a library stays if a kept program or library needs it, or the rules name it.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import defaultdict

import elf
from tree import Tree

#: Folders whose libraries nobody links to, and which are loaded by name: the rules say which of them stay.
PLUGINS = "usr/lib/aarch64-linux-gnu/gstreamer-1.0"
LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")


class Rules:
    """The rules, compiled."""

    def __init__(self, table: dict):
        self.table = table
        self.keep = matcher(table["keep"])
        self.drop = matcher(table["drop"])
        self.plugins = {f"{PLUGINS}/libgst{name}.so" for name in table["gstreamer-plugins"]}
        self.opened = matcher(table["opened-libraries"])

    def unwanted(self, path: str) -> bool:
        """Whether a path goes, whoever needs it."""
        if path.startswith(PLUGINS + "/"):
            return path not in self.plugins
        return bool(self.drop(path)) and not self.keep(path)


def matcher(patterns: list[str]):
    """A function that says whether a path matches one of the patterns; ``*`` also matches slashes."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)").match


def libraries(tree: Tree, rules: Rules) -> None:
    """Removes libraries that nothing which stays needs, and the packages of which no library stays."""
    files = {path: parsed for path, entry in tree.files() if (parsed := elf.parse(entry.data))}
    names: dict[str, set[str]] = defaultdict(set)
    for path, entry in tree.entries.items():
        if entry.kind != "d" and LIBRARY.search(path):
            names[posixpath.basename(path)].add(path)
    for path, parsed in files.items():
        if parsed.soname:
            names[parsed.soname].add(path)
    reached: set[str] = set()
    waiting = [path for path in files if not _is_library(path, rules)]
    waiting += [path for path in tree.entries if rules.opened(path)]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        target = tree.resolve(path)
        parsed = files.get(target or path)
        if target and target != path:
            waiting.append(target)
        if not parsed:
            continue
        wanted = [*parsed.needed, *(name for name, priority in parsed.opens.items() if priority == "required")]
        for name in wanted:
            if not names[name] and name in parsed.needed:
                raise SystemExit(f"error: {path} needs {name}, which no package brings")
            waiting.extend(names[name])
    before: dict[str, int] = defaultdict(int)
    after: dict[str, int] = defaultdict(int)
    for path in list(tree.entries):
        entry = tree.entries[path]
        if entry.kind == "d" or not LIBRARY.search(path) or not path.startswith("usr/lib/"):
            continue
        before[entry.package] += 1
        if path in reached:
            after[entry.package] += 1
        elif _is_library(path, rules):
            del tree.entries[path]
        else:
            after[entry.package] += 1
    empty = {package for package in before if package.startswith("lib") and not after[package]}
    empty |= set(rules.table["drop-packages"])
    for path in [path for path, entry in tree.entries.items() if entry.package in empty and entry.kind != "d"]:
        del tree.entries[path]


def links(tree: Tree) -> None:
    """Removes symbolic links into what went; those to /proc, /run and the like stay."""
    while True:
        broken = []
        for path, entry in tree.entries.items():
            if entry.kind != "l":
                continue
            target = entry.target if entry.target.startswith("/") else f"/{posixpath.dirname(path)}/{entry.target}"
            target = posixpath.normpath(target).lstrip("/")
            if target.split("/")[0] in ("proc", "run", "dev", "sys", "data", "var", "tmp"):
                continue
            if entry.package and not tree.resolve(path):
                broken.append(path)
        if not broken:
            return
        for path in broken:
            del tree.entries[path]


def _is_library(path: str, rules: Rules) -> bool:
    return bool(LIBRARY.search(path)) and path not in rules.plugins and not rules.opened(path)
