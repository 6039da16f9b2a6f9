"""Reads an image's bills of materials, and judges their form.

In: FOLDER/PRODUCT-VERSION, of which there are .spdx.json and .cdx.json. Out: what they list, by purl. Never: a bill that its format's rules
refuse, that names a thing twice, or that says other things than the other one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

PURL = re.compile(r"pkg:(deb/debian/[A-Za-z0-9%.-]+@[A-Za-z0-9%.~_-]+\?arch=(arm64|all)|cargo/[A-Za-z0-9_-]+@[A-Za-z0-9%.-]+|npm/(%40[a-z0-9.-]+/)?[a-z0-9._-]+@[A-Za-z0-9%.-]+)")
LENGTHS = {"SHA256": 64, "SHA512": 128}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Part:
    """What both bills say of one component."""

    name: str
    version: str
    checksum: tuple[str, str] | None
    licence: str


def read(stem: Path) -> dict[str, Part]:
    """The components by purl; an assertion fails if the two bills are not whole or not the same."""
    spdx, cdx = (json.loads(Path(f"{stem}.{form}.json").read_text()) for form in ("spdx", "cdx"))
    one, other = _spdx(spdx), _cyclonedx(cdx)
    assert one == other, f"only or otherwise in one of the bills: {sorted(dict(one.items() ^ other.items()))}"
    image, same = spdx["packages"][0], cdx["metadata"]["component"]
    assert (image["name"], image["versionInfo"], image["licenseDeclared"]) == (same["name"], same["version"], same["licenses"][0]["expression"])
    assert spdx["creationInfo"]["created"] == cdx["metadata"]["timestamp"] and TIME.fullmatch(cdx["metadata"]["timestamp"])
    assert spdx["name"] == f"{image['name'].removesuffix('-image')}-{image['versionInfo']}" == stem.name
    return one


def _spdx(bill: dict) -> dict[str, Part]:
    assert (bill["spdxVersion"], bill["dataLicense"], bill["SPDXID"]) == ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT")
    assert re.fullmatch(r"https://[^#\s]+", bill["documentNamespace"]) and bill["name"] and bill["creationInfo"]["creators"]
    refs = [package["SPDXID"] for package in bill["packages"]]
    assert len(set(refs)) == len(refs) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", ref) for ref in refs)
    found: dict[str, Part] = {}
    for package in bill["packages"][1:]:
        assert package["downloadLocation"] == "NOASSERTION" and package["filesAnalyzed"] is False
        (reference,) = package["externalRefs"]
        assert (reference["referenceCategory"], reference["referenceType"]) == ("PACKAGE-MANAGER", "purl")
        (checksum,) = package.get("checksums", [None])
        pair = (checksum["algorithm"], checksum["checksumValue"]) if checksum else None
        _add(found, reference["referenceLocator"], Part(package["name"], package["versionInfo"], pair, package["licenseDeclared"]))
    relations = [(each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"]) for each in bill["relationships"]]
    assert relations == [("SPDXRef-DOCUMENT", "DESCRIBES", refs[0]), *((refs[0], "CONTAINS", ref) for ref in refs[1:])]
    return found


def _cyclonedx(bill: dict) -> dict[str, Part]:
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    found: dict[str, Part] = {}
    for component in bill["components"]:
        assert component["bom-ref"] == component["purl"] and component["type"] == "library"
        (digest,) = component.get("hashes", [None])
        pair = (digest["alg"].replace("-", ""), digest["content"]) if digest else None
        (licence,) = component.get("licenses", [{"expression": "NOASSERTION"}])
        _add(found, component["purl"], Part(component["name"], component["version"], pair, licence["expression"]))
    (image,) = bill["dependencies"]
    assert image["ref"] == bill["metadata"]["component"]["bom-ref"] and image["dependsOn"] == list(found)
    return found


def _add(found: dict[str, Part], purl: str, part: Part) -> None:
    assert PURL.fullmatch(purl), purl
    assert purl not in found, f"{purl} is there twice"
    assert part.checksum is None or re.fullmatch(rf"[0-9a-f]{{{LENGTHS[part.checksum[0]]}}}", part.checksum[1]), purl
    found[purl] = part
