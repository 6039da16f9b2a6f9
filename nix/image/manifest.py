"""What goes with the image: `manifest.py IMAGE PACKED VERSION FOLDER`; PACKED is called PRODUCT-VERSION-arm64.img.zst.

In: the raw and the packed image. Out: .bmap (which blocks hold data, as bmaptool reads it), .sha256, and the list for Raspberry Pi
Imager, PRODUCT-VERSION.rpi-imager-manifest. Never: a date or a path of the machine that builds.
"""

import datetime
import hashlib
import json
import os
import sys
from pathlib import Path

BLOCK = 4096


def main() -> None:
    image, packed, version, folder = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    raw_hash, ranges = read(image)
    packed_hash = hashlib.sha256(packed.read_bytes()).hexdigest()
    name = packed.name
    product = name.removesuffix(f"-{version}-arm64.img.zst")
    (folder / f"{name}.sha256").write_text(f"{packed_hash}  {name}\n")
    (folder / f"{image.name}.bmap").write_text(bmap(image.stat().st_size, ranges))
    date = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc).date().isoformat()
    entry = {
        "name": f"{product.replace('-', ' ').capitalize()} {version}", "description": "Two-way audio and video appliance", "url": name, "release_date": date,
        "extract_size": image.stat().st_size, "extract_sha256": raw_hash,
        "image_download_size": packed.stat().st_size, "image_download_sha256": packed_hash,
        "devices": ["pi5-64bit", "pi4-64bit"], "init_format": "none",
    }
    (folder / f"{product}-{version}.rpi-imager-manifest").write_text(json.dumps({"os_list": [entry]}, indent=2) + "\n")


def read(image: Path) -> tuple[str, list[tuple[int, int, str]]]:
    """The image's hash, and the ranges of blocks that are not all zeros with the hash of each."""
    whole, ranges, begin, part = hashlib.sha256(), [], None, hashlib.sha256()
    with image.open("rb") as file:
        index, zeros = 0, bytes(BLOCK)
        while block := file.read(BLOCK):
            whole.update(block)
            if block != zeros:
                if begin is None:
                    begin, part = index, hashlib.sha256()
                part.update(block)
            elif begin is not None:
                ranges.append((begin, index - 1, part.hexdigest()))
                begin = None
            index += 1
        if begin is not None:
            ranges.append((begin, index - 1, part.hexdigest()))
    return whole.hexdigest(), ranges


def bmap(size: int, ranges: list[tuple[int, int, str]]) -> str:
    """Version 2.0 of the format."""
    mapped = sum(last - first + 1 for first, last, _ in ranges)
    lines = "".join(f'    <Range chksum="{digest}">{first}-{last}</Range>\n' for first, last, digest in ranges)

    def text(digest: str) -> str:
        return (
            '<?xml version="1.0" ?>\n<bmap version="2.0">\n'
            f"  <ImageSize>{size}</ImageSize>\n  <BlockSize>{BLOCK}</BlockSize>\n  <BlocksCount>{-(-size // BLOCK)}</BlocksCount>\n"
            f"  <MappedBlocksCount>{mapped}</MappedBlocksCount>\n  <ChecksumType>sha256</ChecksumType>\n"
            f"  <BmapFileChecksum>{digest}</BmapFileChecksum>\n  <BlockMap>\n{lines}  </BlockMap>\n</bmap>\n"
        )
    # The format's own rule: the file's hash is made with zeros in its place.
    return text(hashlib.sha256(text("0" * 64).encode()).hexdigest())


if __name__ == "__main__":
    main()
