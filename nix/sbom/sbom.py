"""The bill of materials: SPDX 2.3 and CycloneDX 1.6, from the locks and from what is in the image.

In (environment): `packages` (packages.json of the root: what has files in the root or the boot slot), `crates` (a list of each program's
crates), `linked` (NAME:ARCHITECTURE of packages that the compiler links into them), `debian_lock`, `cargo_locks`, `npm_lock` (for hashes),
`product`, `version`, `verity`, `SOURCE_DATE_EPOCH`, `out`. Several files or names are separated by spaces.
Out: PRODUCT-VERSION.spdx.json, PRODUCT-VERSION.cdx.json. Never: the time of day, a random number, a component that is not in the image.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import parts as components
from parts import Part


@dataclass(frozen=True)
class Image:
    """What the bill is of."""

    product: str
    version: str
    verity: str
    #: The lock's date, as both forms write it.
    made: str

    def content(self, parts: list[Part]) -> str:
        """Different for every content, and the same for the same."""
        return json.dumps([self.version, self.verity, [part.purl for part in parts]])


def spdx(parts: list[Part], image: Image) -> dict:
    """SPDX 2.3."""
    packages = [{
        "SPDXID": "SPDXRef-image", "name": f"{image.product}-image", "versionInfo": image.version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "MIT OR Apache-2.0", "copyrightText": "NOASSERTION", "primaryPackagePurpose": "OPERATING-SYSTEM",
    }]
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}]
    for part in parts:
        package = {
            "SPDXID": part.ref, "name": part.name, "versionInfo": part.version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION", "licenseDeclared": part.licence, "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl}],
        }
        if part.checksum:
            package["checksums"] = [{"algorithm": part.checksum[0], "checksumValue": part.checksum[1]}]
        packages.append(package)
        relations.append({"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": part.ref})
    name = hashlib.sha256(image.content(parts).encode()).hexdigest()[:32]
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"{image.product}-{image.version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{image.product}-{image.version}-{name}",
        "creationInfo": {"created": image.made, "creators": ["Tool: duplex-sbom"]}, "packages": packages, "relationships": relations,
    }


def cyclonedx(parts: list[Part], image: Image) -> dict:
    """CycloneDX 1.6."""
    listed = []
    for part in parts:
        component = {"type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl}
        if part.checksum:
            component["hashes"] = [{"alg": part.checksum[0].replace("SHA", "SHA-"), "content": part.checksum[1]}]
        if part.licence != "NOASSERTION":
            component["licenses"] = [{"expression": part.licence}]
        listed.append(component)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, image.content(parts))
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1,
        "metadata": {"timestamp": image.made, "component": {
            "type": "operating-system", "bom-ref": f"{image.product}-image", "name": f"{image.product}-image", "version": image.version,
            "licenses": [{"expression": "MIT OR Apache-2.0"}], "properties": [{"name": "duplex:verity", "value": image.verity}]}},
        "components": listed,
        "dependencies": [{"ref": f"{image.product}-image", "dependsOn": [part.purl for part in parts]}],
    }


def main() -> None:
    def files(name: str) -> list[Path]:
        return [Path(file) for file in os.environ[name].split()]

    (packages,), (debian_lock,), (npm_lock,), (verity,) = (files(name) for name in ("packages", "debian_lock", "npm_lock", "verity"))
    epoch = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    image = Image(os.environ["product"], os.environ["version"], verity.read_text().strip(), epoch.strftime("%Y-%m-%dT%H:%M:%SZ"))
    parts = components.joined(components.debs(packages, debian_lock), components.linked(os.environ["linked"].split(), debian_lock),
                              components.crates(files("crates"), files("cargo_locks")), components.npm(npm_lock))
    out = Path(os.environ["out"])
    out.mkdir(parents=True, exist_ok=True)
    for ending, make in (("spdx", spdx), ("cdx", cyclonedx)):
        (out / f"{image.product}-{image.version}.{ending}.json").write_text(json.dumps(make(parts, image), indent=1, sort_keys=True) + "\n")
    kinds = {kind: sum(part.kind == kind for part in parts) for kind in ("deb", "cargo", "npm")}
    print("bill of materials: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))


if __name__ == "__main__":
    main()
