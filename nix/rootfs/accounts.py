"""The account files, from the table of fixed numbers.

In: accounts.toml, the sysusers.d files of the packages. Out: etc/passwd, group, shadow, gshadow.
Never: a number chosen at build time, or a password.
"""

from __future__ import annotations

import re

from tree import Entry, Tree


def write(tree: Tree, table: dict) -> None:
    """Adds the four files; fails for an account that a package wants and the table does not have."""
    groups: dict[str, int] = table["groups"]
    users: dict[str, dict] = table["users"]
    if len(set(groups.values())) != len(groups) or len({user["id"] for user in users.values()}) != len(users):
        raise SystemExit("error: accounts.toml gives one number to two names")
    for path, entry in tree.files():
        if path.startswith("usr/lib/sysusers.d/"):
            check(path, entry.data.decode(), users, groups, set(table["unused"]["names"]))
    passwd, shadow = [], []
    for name, user in sorted(users.items(), key=lambda item: item[1]["id"]):
        shell = user.get("shell", "/usr/sbin/nologin")
        passwd.append(f"{name}:x:{user['id']}:{groups[user['group']]}:{user['about']}:{user.get('home', '/')}:{shell}")
        # Nobody signs in with a password; an owner's key is no password.
        shadow.append(f"{name}:*:0::::::")
    members = {"netdev": [], **{group: [] for group in groups}}
    order = sorted(groups, key=lambda name: groups[name])
    group = [f"{name}:x:{groups[name]}:{','.join(members[name])}" for name in order]
    gshadow = [f"{name}:*::" for name in order]
    for name, lines, mode in (("passwd", passwd, 0o644), ("group", group, 0o644), ("shadow", shadow, 0o600), ("gshadow", gshadow, 0o600)):
        tree.put(f"etc/{name}", Entry("f", mode, ("\n".join(lines) + "\n").encode()))


def check(path: str, text: str, users: dict, groups: dict, unused: set[str]) -> None:
    """Fails for an account that the table does not have."""
    for line in text.splitlines():
        match = re.match(r"([ugm])!?\s+(\S+)", line)
        if not match or match[2] in unused:
            continue
        kind, name = match.groups()
        if kind == "u" and name not in users or kind == "g" and name not in groups:
            raise SystemExit(f"error: {path} wants the account {name}, which nix/rootfs/accounts.toml does not have")
