"""Zips as Windows Explorer makes them when they are large."""

import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from progan.data.sources import open_source
from progan.data.sources.deflate64 import open_zip
from progan.errors import DataError
from references.image_files import encoded, make_zip, noise

inflate64 = pytest.importorskip("inflate64")

FILES = {f"{i}.bmp": encoded(noise(40, 40, seed=i), "BMP") + bytes(100_000) for i in range(3)}


def deflated(data: bytes) -> bytes:
    packer = inflate64.Deflater()
    return packer.deflate(data) + packer.flush()


def make(path: Path, files: dict[str, bytes]) -> Path:
    """A zip of Deflate64, made of one that only stores the packed bytes."""
    make_zip(path, {name: deflated(data) for name, data in files.items()})
    content = bytearray(path.read_bytes())
    for signature, method, at in ((b"PK\3\4", 8, 14), (b"PK\1\2", 10, 16)):
        place = 0
        for data in files.values():
            place = content.index(signature, place)
            struct.pack_into("<H", content, place + method, 9)
            struct.pack_into("<I", content, place + at, zipfile.crc32(data))
            struct.pack_into("<I", content, place + at + 8, len(data))
            place += 4
    path.write_bytes(content)
    return path


def test_members_equal_what_was_packed(tmp_path: Path) -> None:
    files = FILES | {"empty": b"", "one": b"x", "text/a.txt": b"abc" * 100_000}
    with open_zip(make(tmp_path / "a.zip", files)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
        with archive.open("text/a.txt") as file:
            assert (file.read(5), file.read(4), file.seekable()) == (b"abcab", b"cabc", False)
    with open_zip(make_zip(tmp_path / "b.zip", FILES)) as archive:  # other methods are left to Python
        assert archive.read("1.bmp") == FILES["1.bmp"]


@pytest.mark.parametrize("change", ["packed", "crc", "longer", "shorter"])
def test_damage_is_found(tmp_path: Path, change: str) -> None:
    content = bytearray(make(tmp_path / "a.zip", {"a.txt": b"abcdefgh" * 1000 + np.arange(999).tobytes()}).read_bytes())
    at = content.index(b"PK\1\2")
    if change == "packed":
        content[60:70] = bytes(10)
    else:
        offset, by = {"crc": (16, 1), "longer": (24, 1), "shorter": (24, -1)}[change]
        (value,) = struct.unpack_from("<I", content, at + offset)
        struct.pack_into("<I", content, at + offset, value + by)
    (tmp_path / "a.zip").write_bytes(content)
    with open_zip(tmp_path / "a.zip") as archive, pytest.raises((zipfile.BadZipFile, EOFError)):
        archive.read("a.txt")


@pytest.mark.parametrize("at", [b"PK\3\4", b"PK\1\2"])
def test_names_that_are_no_text_are_damage(tmp_path: Path, at: bytes) -> None:
    content = bytearray(make_zip(tmp_path / "a.zip", {"ä.txt": b"x", "b.npy": b"y"}).read_bytes())
    name = content.index("ä".encode(), content.index(at))
    content[name : name + 2] = b"\xff\xff"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="utf-8"), open_zip(tmp_path / "a.zip") as archive:
        archive.read(archive.namelist()[0])
    with pytest.raises(DataError):
        list(open_source(tmp_path / "a.zip"))


def test_output_beyond_the_stated_size_is_never_held(tmp_path: Path, monkeypatch) -> None:
    seen = []
    original = inflate64.Inflater

    class Watched:
        def __init__(self) -> None:
            self.inner = original()

        eof = property(lambda self: self.inner.eof)

        def inflate(self, data: bytes) -> bytes:
            seen.append(len(self.inner.inflate(data)))
            return bytes(seen[-1])

    monkeypatch.setattr(inflate64, "Inflater", Watched)
    with open_zip(make(tmp_path / "a.zip", {"a": bytes(40 << 20)})) as archive, archive.open("a") as file:
        assert sum(len(block) for block in iter(lambda: file.read(1 << 20), b"")) == 40 << 20
    assert len(seen) > 2
    assert max(seen) < 16 << 20


def test_sources_of_deflate64(tmp_path: Path, monkeypatch) -> None:
    path = make(tmp_path / "a.zip", FILES)
    assert [record.data for record in open_source(path)] == list(FILES.values())
    monkeypatch.setitem(sys.modules, "inflate64", None)
    payloads = [record.data for record in open_source(path)]
    assert all(isinstance(data, DataError) and "pip install 'progan[deflate64]'" in str(data) for data in payloads)
