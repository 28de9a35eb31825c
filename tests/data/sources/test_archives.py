"""WebDataset shards and hostile archives; what all archives share is in test_sources.py."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from progan.data.pixels import decode
from progan.data.preparing import prepare
from progan.data.sources import archives, open_source
from progan.errors import DataError
from references.image_files import encoded, make_tar, make_zip, noise


def sample(key: str, seed: int, kind: str) -> dict[str, bytes]:
    label = {"cls": str(seed % 2).encode(), "json": json.dumps({"label": seed % 2, "x": 1}).encode()}[kind]
    return {f"{key}.png": encoded(noise(8, 8, seed=seed)), f"{key}.{kind}": label, f"{key}.txt": b"a caption"}


@pytest.mark.parametrize("kind", ["cls", "json"])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_shards_are_one_source(tmp_path: Path, kind: str, suffix: str) -> None:
    (tmp_path / "s").mkdir()
    for shard in (1, 0):
        files = [sample(f"{i:04d}", i, kind) for i in (shard * 3 + 2, shard * 3, shard * 3 + 1)]
        make_tar(tmp_path / "s" / f"0000{shard}{suffix}", {k: v for part in files for k, v in part.items()})
    source = open_source(tmp_path / "s")
    assert list(source.names) == [f"0000{i // 3}{suffix}/{i:04d}.png" for i in range(6)]
    assert [record.label for record in source] == [0, 1, 0, 1, 0, 1]
    assert source.classes == ("0", "1")
    for i, record in zip((1, 4, 5), source.records([1, 4, 5]), strict=True):
        np.testing.assert_array_equal(np.asarray(decode(record.data)), noise(8, 8, seed=i))
    one = open_source(tmp_path / "s" / f"00001{suffix}")
    assert [record.label for record in one] == [1, 0, 1]


def test_json_without_a_label_is_no_label(tmp_path: Path) -> None:
    files = {"cat/1.png": encoded(noise(8, 8)), "cat/1.json": b'{"width": 8}', "dog/1.png": encoded(noise(8, 8))}
    assert open_source(make_tar(tmp_path / "a.tar", files)).classes == ("cat", "dog")


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **facts) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in facts.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


def test_links_out_and_devices_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(noise(8, 8)))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "a.png", encoded(noise(8, 8)))
        add(archive, "b.png", type=tarfile.LNKTYPE, linkname="a.png")
        add(archive, "c.png", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.png"))
        add(archive, "d.png", type=tarfile.CHRTYPE)
        add(archive, "e.png", type=tarfile.FIFOTYPE)
        add(archive, "f.png", type=tarfile.LNKTYPE, linkname=str(tmp_path / "secret.png"))
    payloads = {record.name: record.data for record in open_source(tmp_path / "a.tar")}
    assert list(payloads) == ["a.png", "b.png", "f.png"]
    assert payloads["b.png"] == payloads["a.png"]
    with pytest.raises(DataError, match=r"a link to '.*secret.png', which is not in the archive"):
        decode(payloads["f.png"])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("c.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(tmp_path / "secret.png"))
        archive.writestr("a.png", encoded(noise(8, 8)))
    assert list(open_source(tmp_path / "a.zip").names) == ["a.png"]


@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])  # inside a member, inside a header, between members
def test_cut_off_tar_says_what_was_readable(tmp_path: Path, share: float) -> None:
    data = encoded(noise(8, 8))
    member = 512 + -(-len(data) // 512) * 512
    path = make_tar(tmp_path / "a.tar", {f"{i}.png": data for i in range(4)})
    end = {0.5: 2 * member + 600, 0.75: 2 * member + 100, 1.0: 2 * member}[share]
    path.write_bytes(path.read_bytes()[:end])
    wanted = (
        r"a.tar: not a readable tar file .*\n.* files before the damage, the last one '\d.png'\n  fix:.*tar -xf a.tar"
    )
    with pytest.raises(DataError, match=wanted):
        open_source(path)


def test_damaged_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    data = encoded(noise(8, 8))
    path = make_tar(tmp_path / "a.tar", {f"{i}.png": data for i in range(4)})
    content = bytearray(path.read_bytes())
    content[2 * (512 + -(-len(data) // 512) * 512)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged: bad checksum\)\n  found: .* 2 files before the damage"):
        open_source(path)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_members_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch, make) -> None:
    monkeypatch.setattr(archives, "MEMBER_BYTES", 5000)
    path = make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), {"a.png": bytes(5001), "b.png": bytes(5000)})
    large, small = (record.data for record in open_source(path))
    assert small == bytes(5000)
    with pytest.raises(DataError, match="unpacks to 5001 bytes, more than the 5000 allowed"):
        decode(large)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_huge_headers_are_refused_before_they_are_read(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 1 << 40
    first = make_tar(tmp_path / "b.tar", {"a.png": b""}).read_bytes()[:512]
    (tmp_path / "a.tar").write_bytes(first + member.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match="a header of 1099511627776 bytes"):
        open_source(tmp_path / "a.tar")


def test_folder_that_may_not_be_listed_is_an_error(tmp_path: Path, pets: dict, monkeypatch) -> None:
    def scandir(path: str):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"dog: cannot be listed \(Permission denied\)\n  fix:   run chmod u\+rx"):
        open_source(tmp_path / "pets")


def test_several_zips_in_a_folder_are_classes(tmp_path: Path) -> None:
    images = [encoded(noise(8, 8, seed=i)) for i in range(4)]
    (tmp_path / "pets").mkdir()
    make_zip(tmp_path / "pets" / "dog.zip", {"a/1.png": images[0], "b/2.png": images[1]})
    assert (open_source(tmp_path / "pets").classes, len(open_source(tmp_path / "pets"))) == ((), 2)
    make_zip(tmp_path / "pets" / "cat.zip", {"1.png": images[2], "2.png": images[3]})
    source = open_source(tmp_path / "pets")
    assert (source.classes, source.labels) == (("cat", "dog"), [0, 0, 1, 1])
    assert source.names[1:3] == ["cat.zip/2.png", "dog.zip/a/1.png"]
    assert [record.data for record in source] == [images[i] for i in (2, 3, 0, 1)]
    assert [record.data for record in source.records([1, 3])] == [images[3], images[1]]
    assert prepare(tmp_path / "pets", tmp_path / "store").classes == ("cat", "dog")


def test_header_that_points_back_does_not_loop(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{i}.png": encoded(noise(8, 8)) for i in range(3)})
    data, second = bytearray(path.read_bytes()), 1024
    data[second + 124 : second + 136] = (-512).to_bytes(12, "big", signed=True)
    data[second + 148 : second + 156] = b" " * 8
    data[second + 148 : second + 156] = b"%06o\0 " % sum(data[second : second + 512])
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a readable tar file"):
        open_source(path)


def test_links_that_go_round_are_broken_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, to, kind in (("a.png", "b.png", tarfile.LNKTYPE), ("b.png", "a.png", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, to
            archive.addfile(member)
    source = open_source(path)
    assert all(isinstance(data, DataError) for data in source.read(range(len(source))))


@pytest.mark.parametrize("places", [1, 2])
def test_name_that_is_no_utf_8_though_the_zip_says_so_is_damage(tmp_path: Path, places: int) -> None:
    file = make_zip(tmp_path / "a.zip", {"a.png": encoded(noise(8, 8)), "é.png": encoded(noise(8, 8, seed=1))})
    file.write_bytes(
        file.read_bytes().replace("é".encode(), b"\xff\xfe", places)
    )  # before the picture, and in the list
    if places == 2:
        with pytest.raises(DataError, match="not a readable zip file"):
            open_source(file)
    else:
        good, bad = [record.data for record in open_source(file)]
        assert decode(good).size == (8, 8)
        assert isinstance(bad, DataError)
