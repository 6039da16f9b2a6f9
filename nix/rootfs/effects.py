"""What maintainer scripts would have done, done here by declaration.

In: the tree after pruning. Out: the same tree with what the image needs of those effects; each step names the script it stands for
(the table scripts.json names the step in turn). Never: an effect that depends on the machine that builds.
"""

from __future__ import annotations

from debs import Deb
from prune import Rules
from tree import Entry, Tree


def apply(tree: Tree, version: str, packages: list[Deb], rules: Rules) -> None:
    """Applies all steps."""
    ca_bundle(tree, packages)
    dpkg_status(tree, packages, rules)
    links(tree)


def ca_bundle(tree: Tree, packages: list[Deb]) -> None:
    """ca-certificates' postinst: the bundle of all authorities that Debian ships enabled."""
    parts = []
    for path in [path for path, _ in tree.files() if path.startswith("usr/share/ca-certificates/mozilla/")]:
        parts.append(tree[path].data.rstrip(b"\n") + b"\n")
        tree.remove(path)
    if parts:
        tree.put("etc/ssl/certs/ca-certificates.crt", Entry("f", 0o644, b"".join(parts), package="ca-certificates"))


def dpkg_status(tree: Tree, packages: list[Deb], rules: Rules) -> None:
    """dpkg's own record, as scanners for known vulnerabilities look for it; only of what is in the tree."""
    there = {entry.package for entry in tree.entries.values() if entry.kind != "d"}
    for package in packages:
        if package.name in there:
            fields = ["Package", "Source", "Version", "Architecture", "Maintainer"]
            text = "".join(f"{name}: {package.fields[name]}\n" for name in fields if name in package.fields)
            body = f"{text}Status: install ok installed\n"
            tree.put(f"usr/lib/dpkg/status.d/{package.name}", Entry("f", 0o644, body.encode()))
    tree.put("var/lib/dpkg/status.d", Entry("l", 0o777, target="/usr/lib/dpkg/status.d"))


def links(tree: Tree) -> None:
    """base-files, libc-bin, systemd and others: links that their scripts make, and the files that must be there empty."""
    for path, target in LINKS.items():
        tree.put(path, Entry("l", 0o777, target=target))
    tree.put("etc/machine-id", Entry("f", 0o444, b""))
    tree.put("etc/.updated", Entry("f", 0o644, b""))
    tree.put("var/.updated", Entry("f", 0o644, b""))


LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib",
    "var/run": "/run", "var/lock": "/run/lock",
    "etc/mtab": "/proc/self/mounts",
    "etc/os-release": "../usr/lib/os-release",
    "etc/resolv.conf": "/run/systemd/resolve/resolv.conf",
    "etc/localtime": "/run/duplex/localtime",
    "usr/lib/firmware/regulatory.db": "regulatory.db-debian", "usr/lib/firmware/regulatory.db.p7s": "regulatory.db.p7s-debian",
    "usr/lib/systemd/system/default.target": "multi-user.target",
    "usr/lib/systemd/system/dbus-org.freedesktop.resolve1.service": "systemd-resolved.service",
    "usr/lib/systemd/system/dbus-org.freedesktop.network1.service": "systemd-networkd.service",
    "usr/lib/systemd/system/dbus-org.freedesktop.timesync1.service": "systemd-timesyncd.service",
    "usr/lib/systemd/system/ctrl-alt-del.target": "reboot.target",
}
for _unit in ("systemd-networkd.service", "systemd-resolved.service", "iwd.service", "dropbear.service", "duplex.service", "duplex-owner.path"):
    LINKS[f"usr/lib/systemd/system/multi-user.target.wants/{_unit}"] = f"../{_unit}"
LINKS["usr/lib/systemd/system/sockets.target.wants/systemd-networkd.socket"] = "../systemd-networkd.socket"
LINKS["usr/lib/systemd/system/sysinit.target.wants/systemd-timesyncd.service"] = "../systemd-timesyncd.service"
LINKS["usr/lib/systemd/system/sysinit.target.wants/duplex-provision.service"] = "../duplex-provision.service"
# A shell and the small tools of a person with a key: one program under many names.
LINKS["usr/bin/sh"] = "dash"
for _name in ("cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chmod", "chown", "echo", "env", "grep", "sed", "awk", "head", "tail", "sort",
              "wc", "find", "xargs", "ps", "top", "free", "df", "du", "kill", "sleep", "date", "dd", "sync", "id", "hostname", "ping", "wget", "vi", "less",
              "sha256sum", "stat", "touch", "true", "false", "test", "uname", "uptime", "dmesg", "hexdump", "cut", "tr", "od", "readlink",
              "basename", "dirname", "mktemp", "cmp", "diff", "nc", "tty", "clear", "more"):
    LINKS[f"usr/bin/{_name}"] = "busybox"
