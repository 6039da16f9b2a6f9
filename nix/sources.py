"""What is asked for, where files come from (the machine's own Debian mirror, the snapshot archive), and where they are kept.

In: debian/suites.json and sets.json, rootfs/kernel.toml, the machine's apt set-up, flags. Out: suites, sets, base addresses per archive, a cache folder.
Never: a mirror's name written down; only Debian's snapshot archive is known by name.
"""
import argparse
import datetime
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Callable, NoReturn
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
KERNEL = HERE / "rootfs/kernel.toml"
SNAPSHOT = "https://snapshot.debian.org/archive"
#: In the lock, the suite of a package that was given as a file.
FILE = "file"
# The releases that Debian's mirrors carry, whichever of them this machine runs.
RELEASES = r"(bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)"


def fail(sentence: str, code: int = 1) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)


def say(sentence: str) -> None:
    print(f"\033[1m==>\033[0m {sentence}" if sys.stderr.isatty() else f"==> {sentence}", file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> None:
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped; what is done is kept", file=sys.stderr)
        sys.exit(130)


def wanted() -> tuple[list, dict]:
    """Suites and sets of packages: those of debian/suites.json and sets.json, and what kernel.toml says of the kernel."""
    suites = json.loads((HERE / "debian/suites.json").read_text())
    sets = json.loads((HERE / "debian/sets.json").read_text())
    source = tomllib.loads(KERNEL.read_text())["source"]
    keys = {"files"} if "files" in source else {"suite", "roots", "version", "keep", "needs"}
    if set(source) != keys:
        fail(f"{KERNEL.name}: [source] has {', '.join(sorted(source))}; it takes either files alone, or suite, roots, version, keep and needs")
    sets["kernel"] = {"arch": "arm64", **source}
    if "files" in source:
        return suites, sets
    names = [*source["needs"], *source["keep"]]
    found = next((suite for suite in suites if suite["suite"] == source["suite"]), None)
    if found is None:
        suites.append({"suite": source["suite"], "archive": "debian", "components": ["main"], "only": names})
    elif "only" in found:
        found["only"] = names + found["only"]
        found["components"] += ["main"] if "main" not in found["components"] else []
    return suites, sets


def cache() -> Path:
    """Downloads and apt's state; may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("DUPLEX_CACHE") or Path(base) / "duplex")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def add_mirror_arguments(words: argparse.ArgumentParser) -> None:
    words.add_argument("--mirror", metavar="URL", help="Debian mirror (default: the one in this machine's apt sources)")
    words.add_argument("--security-mirror", metavar="URL", help="mirror of the security updates (default: likewise)")


def mirrors(given: argparse.Namespace) -> dict:
    """Base address per archive. Without apt or Debian sources there is none, and only the snapshot archive is left."""
    found = {}
    if shutil.which("apt-get"):
        lines = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL).stdout.splitlines()
        for line in sorted(set(lines)):
            base, _, release = line.partition(" ")
            match = re.fullmatch(RELEASES + r"(-security|/updates|-updates|-backports)?", release)
            if match:
                found.setdefault("debian-security" if match[2] in ("-security", "/updates") else "debian", base)
    if given.mirror:
        found["debian"] = given.mirror
        found.pop("debian-security", None)
    if given.security_mirror:
        found["debian-security"] = given.security_mirror
    if "debian" in found:
        found.setdefault("debian-security", found["debian"].rstrip("/") + "-security")
    return {archive: base.rstrip("/") + "/" for archive, base in found.items()}


def download(files: list, bases: dict, snapshot: str, folder: Path) -> list:
    """Brings Debian packages into the folder, each checked by its hash; returns what no source has.

    `files` are entries of the lock. Tried in turn: the machine's mirror, the snapshot archive at the lock's time and a day later
    (what was new at that time came into the archive with its next run).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, given = [file for file in files if file["suite"] != FILE], [file for file in files if file["suite"] == FILE]
    total = sum(file["size"] for file in files)
    missing = [file for file in files if not is_there(folder, file)]
    attempts = [("mirror", lambda file: bases.get(archive(file), ""))] if bases else []
    attempts += [(f"snapshot archive, {when}", lambda file, days=days: in_snapshot(file, snapshot, days))
                 for days, when in enumerate(("at the lock's time", "a day later"))]
    for place, base in attempts:
        if not missing:
            break
        if place != "mirror":
            say(f"{len(missing)} packages are not on the mirror, trying: {place}")
        # An archive that does not answer at all is asked once, not for every file.
        for batch in batches(missing, 24):
            get([(base(file) + file["path"], folder / store_name(file["path"]), file["sha256"]) for file in batch], place == "mirror")
            left = [file for file in missing if not is_there(folder, file)]
            say(f"Debian packages: {len(files) - len(left)} of {len(files)}, {(total - sum(f['size'] for f in left)) / 1e6:.0f} of {total / 1e6:.0f} MB")
            if place != "mirror" and all(file in left for file in batch):
                break
        missing = [file for file in missing if not is_there(folder, file)]
    return missing + take(given, folder)


def in_snapshot(file: dict, snapshot: str, days: int = 0) -> str:
    """Base address in the snapshot archive, some days after the date of the lock, or of the one set that was resolved later."""
    time = datetime.datetime.strptime(file.get("snapshot", snapshot), "%Y%m%dT%H%M%SZ") + datetime.timedelta(days=days)
    return f"{SNAPSHOT}/{archive(file)}/{time:%Y%m%dT%H%M%SZ}/"


def take(files: list, folder: Path) -> list:
    """Copies packages that kernel.toml names by their paths, if they are the locked ones; returns those that nobody has."""
    right = lambda place, file: place.exists() and hashlib.sha256(place.read_bytes()).hexdigest() == file["sha256"]  # noqa: E731
    places = {Path(place).name: KERNEL.parent / place for place in tomllib.loads(KERNEL.read_text())["source"].get("files", [])}
    # A kernel that was built anew may have the name and size of the one before.
    for file in [file for file in files if not right(folder / store_name(file["path"]), file)]:
        if file["path"] in places and right(places[file["path"]], file):
            shutil.copy(places[file["path"]], folder / store_name(file["path"]))
    return [file for file in files if not right(folder / store_name(file["path"]), file)]


def archive(file: dict) -> str:
    return "debian-security" if file["suite"].endswith("-security") else "debian"


def batches(files: list, count: int) -> list:
    return [files[i:i + count] for i in range(0, len(files), count)]


def get(wanted: list, by_apt: bool) -> None:
    """Downloads (address, file, sha256) triples as far as they are to be had. apt's own downloader knows the machine's proxy."""
    helper = Path("/usr/lib/apt/apt-helper")
    if by_apt and helper.exists():
        words = [str(helper), "-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "download-file"]
        for address, file, sha256 in wanted:
            words += [quote(address, safe="/:+~"), f"{file}.part", f"SHA256:{sha256}"]
    else:
        if not shutil.which("curl"):
            fail("curl is not here: install it")
        words = ["curl", "--fail", "--location", "--silent", "--connect-timeout", "20", "--retry", "2", "--parallel", "--parallel-max", "4"]
        for address, file, _ in wanted:
            words += [quote(address, safe="/:+~"), "--output", f"{file}.part"]
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    for _, file, sha256 in wanted:
        partial = Path(f"{file}.part")
        if partial.exists():
            if hashlib.sha256(partial.read_bytes()).hexdigest() == sha256:
                partial.rename(file)
            else:
                partial.unlink()


def is_there(folder: Path, file: dict) -> bool:
    found = folder / store_name(file["path"])
    # Files get their name only after their hash was checked; nix checks it again.
    return found.exists() and found.stat().st_size == file["size"]


def store_name(path: str) -> str:
    """A file's name as the Nix store allows it; nix/debian/default.nix has the same rule."""
    return path.rsplit("/", 1)[-1].replace("~", "-").replace("%", "_")


def unpack_busybox(deb: Path, folder: Path) -> str:
    """Puts the program into folder/busybox; returns the hash by which Nix knows such a folder."""
    members, data = {}, deb.read_bytes()
    at = 8
    while at < len(data):
        name, size = data[at:at + 16].decode().strip().rstrip("/"), int(data[at + 48:at + 58])
        members[name] = data[at + 60:at + 60 + size]
        at += 60 + size + size % 2
    packed = next(name for name in members if name.startswith("data.tar"))
    with tarfile.open(fileobj=io.BytesIO(members[packed])) as tar:
        program = next(tar.extractfile(entry).read() for entry in tar if entry.name.endswith("bin/busybox"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "busybox").write_bytes(program)
    (folder / "busybox").chmod(0o755)
    words = [b"nix-archive-1", b"(", b"type", b"directory", b"entry", b"(", b"name", b"busybox", b"node",
             b"(", b"type", b"regular", b"executable", b"", b"contents", program, b")", b")", b")"]
    nar = b"".join(len(word).to_bytes(8, "little") + word + bytes(-len(word) % 8) for word in words)
    return hashlib.sha256(nar).hexdigest()
