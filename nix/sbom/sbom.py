"""The bill of materials: SPDX 2.3 and CycloneDX 1.6, from the locks and from what is in the root file system.

In (environment): `packages` (packages.json of the root), `debian_lock` (for hashes; may be missing), `cargo_lock`, `crates` (what
`cargo tree` says goes into the program; may be missing, then every crate of the lock counts), `npm_lock`, `version`, `verity`,
`SOURCE_DATE_EPOCH`, `out`. Out: duplex-VERSION.spdx.json, duplex-VERSION.cdx.json.
Never: the time of day, a random number, a component that is not in the image.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, order=True)
class Part:
    """One component."""

    kind: str  # deb, cargo or npm
    name: str
    version: str
    purl: str
    #: Algorithm as SPDX writes it, and the hash in hexadecimal; or nothing.
    checksum: tuple[str, str] | None = None
    licence: str = "NOASSERTION"


def debs(packages: Path, lock: Path | None) -> list[Part]:
    """The Debian packages that have something in the root or the boot slot."""
    hashes = {}
    if lock and lock.exists():
        for entry in json.loads(lock.read_text())["packages"].values():
            hashes[entry["package"], entry["version"], entry["architecture"]] = entry["sha256"]
    parts = []
    for entry in json.loads(packages.read_text())["packages"]:
        name, version, arch = entry["package"], entry["version"], entry["architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={arch}"
        digest = hashes.get((name, version, arch))
        parts.append(Part("deb", name, version, purl, ("SHA256", digest) if digest else None))
    return parts


def crates(lock: Path, tree: Path | None) -> list[Part]:
    """The crates of the program."""
    wanted = None
    if tree and tree.exists():
        wanted = {tuple(match.groups()) for line in tree.read_text().splitlines() if (match := re.match(r"(\S+) v(\S+)", line))}
    parts = []
    for entry in tomllib.loads(lock.read_text())["package"]:
        name, version = entry["name"], entry["version"]
        if wanted is not None and (name, version) not in wanted:
            continue
        checksum = ("SHA256", entry["checksum"]) if "checksum" in entry else None
        parts.append(Part("cargo", name, version, f"pkg:cargo/{name}@{version}", checksum))
    return parts


def npm(lock: Path) -> list[Part]:
    """The npm packages in the page: those that are not for building it."""
    parts = []
    for path, entry in json.loads(lock.read_text())["packages"].items():
        if not path or entry.get("dev") or entry.get("optional"):
            continue
        name = path.rsplit("node_modules/", 1)[1]
        checksum = None
        if entry.get("integrity", "").startswith("sha512-"):
            checksum = ("SHA512", base64.b64decode(entry["integrity"][7:]).hex())
        licence = entry.get("license", "NOASSERTION")
        parts.append(Part("npm", name, entry["version"], f"pkg:npm/{quote(name, safe='/')}@{entry['version']}", checksum, licence))
    return parts


def spdx(parts: list[Part], version: str, verity: str, made: str) -> dict:
    """SPDX 2.3."""
    packages = [{
        "SPDXID": "SPDXRef-image", "name": "duplex-image", "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "MIT OR Apache-2.0", "copyrightText": "NOASSERTION", "primaryPackagePurpose": "OPERATING-SYSTEM",
    }]
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}]
    for part in parts:
        ref = "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{part.kind}-{part.name}-{part.version}")
        package = {
            "SPDXID": ref, "name": part.name, "versionInfo": part.version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION", "licenseDeclared": part.licence, "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl}],
        }
        if part.checksum:
            package["checksums"] = [{"algorithm": part.checksum[0], "checksumValue": part.checksum[1]}]
        packages.append(package)
        relations.append({"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": ref})
    # The name of the document is different for every content, and the same for the same.
    name = hashlib.sha256(json.dumps([version, verity, [part.purl for part in parts]]).encode()).hexdigest()[:32]
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"duplex-{version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/duplex-{version}-{name}",
        "creationInfo": {"created": made, "creators": ["Tool: duplex-sbom"]}, "packages": packages, "relationships": relations,
    }


def cyclonedx(parts: list[Part], version: str, verity: str, made: str) -> dict:
    """CycloneDX 1.6."""
    components = []
    for part in parts:
        component = {"type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl}
        if part.checksum:
            component["hashes"] = [{"alg": part.checksum[0].replace("SHA", "SHA-"), "content": part.checksum[1]}]
        components.append(component)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([version, verity, [part.purl for part in parts]]))
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1,
        "metadata": {"timestamp": made, "component": {
            "type": "operating-system", "bom-ref": "duplex-image", "name": "duplex-image", "version": version,
            "properties": [{"name": "duplex:verity", "value": verity}]}},
        "components": components,
        "dependencies": [{"ref": "duplex-image", "dependsOn": [part.purl for part in parts]}],
    }


def main() -> None:
    def file(name: str) -> Path | None:
        return Path(os.environ[name]) if os.environ.get(name) else None

    version, out = os.environ["version"], Path(os.environ["out"])
    verity = Path(os.environ["verity"]).read_text().strip()
    made = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = sorted({*debs(Path(os.environ["packages"]), file("debian_lock")), *crates(Path(os.environ["cargo_lock"]), file("crates")),
                    *npm(Path(os.environ["npm_lock"]))}, key=lambda part: part.purl)
    out.mkdir(parents=True, exist_ok=True)
    for ending, make in (("spdx", spdx), ("cdx", cyclonedx)):
        (out / f"duplex-{version}.{ending}.json").write_text(json.dumps(make(parts, version, verity, made), indent=1, sort_keys=True) + "\n")
    kinds = {kind: sum(part.kind == kind for part in parts) for kind in ("deb", "cargo", "npm")}
    print("bill of materials: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))


if __name__ == "__main__":
    main()
