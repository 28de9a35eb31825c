"""Files that people have, and what must come of them: one row for every kind that was once read wrongly."""

import gzip
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progan.cli import main
from progan.data.store import Store
from references.image_files import encoded, idx, make_tar, make_zip


def plain(value: int, side: int = 8) -> np.ndarray:
    """An image of one color, by which it is recognized in the store."""
    return np.full((side, side, 3), value, np.uint8)


def write(folder: Path, files: dict[str, np.ndarray | bytes | str]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encoded(data) if isinstance(data, np.ndarray) else data
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, color: int, rows: list[bytes], *extra: bytes) -> bytes:
    """A PNG of 8 pixels a row, of raw rows."""
    head = struct.pack(">IIBBBBB", 8, len(rows), bits, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp_without_alpha(red: int) -> bytes:
    """A BMP of 32 bits with a mask for alpha, which is 0 everywhere."""
    head = struct.pack("<IiiHHIIiiII", 124, 8, -8, 1, 32, 3, 256, 2835, 2835, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(64)
    pixels = bytes([0, 0, red, 0]) * 64
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels


def numbered_folders(at: Path) -> Path:
    return write(at / "a", {f"{i}/x.png": plain(i) for i in (1, 2, 10, 11)})


def dotted_samples(at: Path) -> Path:
    files: dict[str, bytes] = {}
    for i, name in enumerate(["v1.0", "v1.1", "v2", "v2.seg.x"]):
        files |= {f"{name}.png": encoded(plain(i * 10)), f"{name}.cls": str(i).encode()}
    return make_tar(at / "a.tar", files)


def masks_in_shards(at: Path) -> Path:
    files: dict[str, bytes] = {}
    for i in range(3):
        files |= {
            f"{i}.jpg": encoded(plain(i * 10)),
            f"{i}.mask.png": encoded(plain(255)),
            f"{i}.json": f'{{"cls": {i}}}'.encode(),
        }
    return make_tar(at / "a.tar", files)


def split_folders(at: Path) -> Path:
    return write(at / "a", {f"s/{part}/{c}/1.png": plain(v) for part, v in (("train", 10), ("val", 90)) for c in "xy"})


def windows_zip(at: Path) -> Path:
    with zipfile.ZipFile(at / "a.zip", "w") as archive:
        for name, data in {
            "p\\x\\1.png": plain(0),
            "p\\y\\1.png": plain(9),
            "__MACOSX\\p\\x\\._1.png": plain(99),
        }.items():
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, encoded(data))
    return at / "a.zip"


def letters(at: Path) -> Path:
    images = np.zeros((3, 8, 8), np.uint8)
    images[:, 2, 4:] = 200
    write(at / "a", {"emnist-letters-train-images-idx3-ubyte": gzip.compress(idx(images))})
    return write(at / "a", {"emnist-letters-train-labels.idx1-ubyte.gz": idx(np.array([1, 26, 1], np.uint8))})


def sizes_in_lmdb(at: Path) -> Path:
    import lmdb

    with lmdb.open(str(at / "a"), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for side in (16, 64, 32):
            for i in range(3):
                transaction.put(f"{side}-{i:05d}".encode(), encoded(plain(i * 10, side)))
        transaction.put(b"length", b"3")
    return at / "a"


def parquet(**columns: Any) -> Callable[[Path], Path]:
    def make(at: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        (at / "a").mkdir()
        images = {"image": [encoded(plain(i * 10)) for i in range(3)]}
        pq.write_table(pa.table(columns | images), at / "a" / "train.parquet")
        return at / "a"

    return make


def floats(extra: float) -> Callable[[Path], Path]:
    def make(at: Path) -> Path:
        array = np.linspace(0, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
        array[-1, -1, -1] = extra
        np.save(at / "a.npy", array)
        return at / "a.npy"

    return make


def grey(bits: int, values: list[int], side: int = 8) -> Callable[[Path], Path]:
    """PNG files of one value each."""

    def make(at: Path) -> Path:
        kind = np.uint16 if bits == 16 else np.uint8
        files: dict[str, Any] = {}
        for i, value in enumerate(values):
            pixels = np.full((side, side), value, kind)
            pixels[0, 0] = 0
            files[f"{i}.png"] = encoded(pixels)
        return write(at / "a", files)

    return make


def folder(**files: Any) -> Callable[[Path], Path]:
    return lambda at: write(at / "a", {name.replace("__", "/").replace("_", "."): data for name, data in files.items()})


LABELS = '{{"labels": [["1.png", {}], ["2.png", {}]]}}'
PAIR = {"1_png": plain(10), "2_png": plain(20)}
TRNS = chunk(b"tRNS", struct.pack(">H", 3))

READ: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "numbers of folders are sorted as numbers": (
        numbered_folders, {"classes": "1 2 10 11", "labels": [0, 2, 3, 1], "corner": [1, 10, 11, 2]}
    ),
    "keys of samples may have dots": (
        dotted_samples, {"classes": "0 1 2 3", "labels": [0, 1, 2, 3], "corner": [0, 10, 20, 30]}
    ),
    "masks of samples are no pictures": (
        masks_in_shards,
        {"classes": "0 1 2", "labels": [0, 1, 2], "corner": [0, 10, 20], "note": "'mask.png' (3) is left out"},
    ),
    "folders of splits are no classes": (
        split_folders,
        {"classes": "x y", "labels": [0, 1], "corner": [10, 10], "note": "split 'train' is used; 'val' is left out"},
    ),
    "validation stands in for tests": (
        split_folders, {"split": "test", "classes": "x y", "labels": [0, 1], "corner": [90, 90]}
    ),
    "backslashes in zips": (windows_zip, {"classes": "x y", "labels": [0, 1], "corner": [0, 9]}),
    "letters of EMNIST are turned": (
        letters,
        {"classes": " ".join(map(str, range(1, 27))), "labels": [0, 25, 0], "pixel": (4, 2, 200), "note": "upright"},
    ),
    "one size of an LMDB": (sizes_in_lmdb, {"shape": (3, 64, 64, 3), "corner": [0, 10, 20], "note": "3 of 32"}),
    "another size of an LMDB": (sizes_in_lmdb, {"member": "32", "shape": (3, 32, 32, 3), "corner": [0, 10, 20]}),
    "masks of tables are no pictures": (
        parquet(mask=[encoded(plain(255))] * 3, label=["b", "a", "b"]),
        {"classes": "a b", "labels": [1, 0, 1], "corner": [0, 10, 20], "note": "'mask' is left out"},
    ),
    "another column": (parquet(mask=[encoded(plain(255))] * 3), {"column": "mask", "corner": [255] * 3}),
    "truth values": (parquet(label=[True, False, True]), {"classes": "False True", "labels": [1, 0, 1]}),
    "whole floats": (parquet(label=[3.0, 1.0, 3.0]), {"classes": "1 3", "labels": [1, 0, 1]}),
    "floats are values": (parquet(label=[0.5, 1.0, 2.0]), {"columns": {"label": [0.5, 1, 2]}, "note": "numbers 0.5"}),
    "several labels": (
        parquet(labels=[["x"], ["x", "y"], []]), {"columns": {"labels=x": [1, 1, 0], "labels=y": [0, 1, 0]}}
    ),
    "labels from 1": (folder(**PAIR, dataset_json=LABELS.format(1, 3)), {"classes": "1 3", "labels": [0, 1]}),
    "labels after a byte order mark": (
        folder(**PAIR, dataset_json="\ufeff" + LABELS.format('"y"', '"x"')), {"classes": "x y", "labels": [1, 0]}
    ),
    "labels of null": (folder(a__1_png=plain(1), b__1_png=plain(2), dataset_json='{"labels": null}'), {"classes": ""}),
    "metadata of the hub": (
        folder(**PAIR, metadata_csv="file_name,label,text\n2.png,cat,\"a\nb\"\n1.png,dog,c\n"),
        {"classes": "cat dog", "labels": [1, 0]},
    ),
    "floats just above 1": (floats(1.0000001), {"darkest": (0, 255), "note": "clipped"}),
    "floats that overshoot": (floats(1.06), {"darkest": (0, 255), "note": "clipped"}),
    "masks of 0 and 1": (grey(8, [1, 1]), {"darkest": (0, 255), "note": "1 becomes 255"}),
    "12 bits in 16": (grey(16, [4095, 2048]), {"darkest": (0, 255), "note": "4095 becomes 255"}),
    "16 bits": (grey(16, [65535, 2048]), {"darkest": (0, 255)}),
    "tRNS of 2 bits": (
        folder(a_png=png(2, 0, [b"\xff\xff"] * 4 + [b"\x55\x55"] * 4, TRNS)), {"pixel": (6, 0, 85), "corner": [255]}
    ),
    "tRNS of 16 bits": (
        folder(a_png=png(16, 0, [b"\0\3" * 8] * 4 + [b"\x80\3" * 8] * 4, TRNS)), {"pixel": (6, 0, 128), "corner": [255]}
    ),
    "a broken comment": (folder(a_png=png(8, 0, [b"\x07" * 8] * 8, chunk(b"zTXt", b"x")[:-1] + b"?")), {"corner": [7]}),
    "alpha of 0 everywhere": (folder(a_bmp=bmp_without_alpha(77)), {"corner": [77]}),
    "JPEG 2000 and AVIF": (
        folder(a_jp2=encoded(plain(50), "JPEG2000"), b_avif=encoded(plain(60), "AVIF", quality=100), c_nef=b"x"),
        {"corner": [50, 60], "note": "1 file left out: 1 .nef (camera raw"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    make, wanted = READ[name]
    options = [f"--{key}={wanted[key]}" for key in ("split", "member", "column") if key in wanted]
    assert main(["prepare", str(make(tmp_path)), str(tmp_path / "store"), "--workers", "0", *options]) == 0
    shown = capsys.readouterr().out
    store = Store.open(tmp_path / "store")
    top = store.level(min(store.height, store.width))
    labels = store.labels()
    assert store.classes == tuple(wanted.get("classes", "").split())
    assert (None if labels is None else labels.tolist()) == wanted.get("labels")
    assert {column: store.column(column).values.tolist() for column in wanted.get("columns", {})} == wanted.get(
        "columns", {}
    )
    assert top.shape == wanted.get("shape", top.shape)
    if "corner" in wanted:
        np.testing.assert_allclose(top[:, 0, 0, 0].astype(int), wanted["corner"], atol=1)
    if "pixel" in wanted:
        y, x, value = wanted["pixel"]
        assert top[0, y, x, 0] == value
    if "darkest" in wanted:
        assert (top.min(), top.max()) == wanted["darkest"]
    assert wanted.get("note", "") in " ".join(shown.split())


def encrypted(at: Path) -> Path:
    data = bytearray(make_zip(at / "a.zip", {"1.png": encoded(plain(1))}).read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(mark) + place] |= 1
    (at / "a.zip").write_bytes(data)
    return at / "a.zip"


def half_labelled(at: Path) -> Path:
    make_tar(at / "a" / "1.tar", {"1.png": encoded(plain(1)), "1.cls": b"0"})
    make_tar(at / "a" / "2.tar", {"1.png": encoded(plain(1))})
    return at / "a"


REFUSED: dict[str, tuple[Callable[[Path], Path], list[str], str]] = {
    "a password": (encrypted, [], r"protected by a password; found: 1 encrypted file"),
    "labels of half of the images": (
        lambda at: ((at / "a").mkdir(), half_labelled(at))[1], [], r"1 of 2 images has no label; found: 2.tar/1.png"
    ),
    "a label that is null": (
        folder(**PAIR, dataset_json=LABELS.format("null", 1)), [], r"1 of 2 images has no label; found: 1.png"
    ),
    "labels of no kind": (
        folder(**PAIR, dataset_json=LABELS.format('{"a": 1}', 1)), [], r"found: .*; expected numbers, text"
    ),
    "two labels": (
        folder(**PAIR, dataset_json='{"labels": [["1.png", 1], ["1.png", 2]]}'), [], r"two different labels for '1.png'"
    ),
    "a split that is not there": (
        folder(**PAIR), ["--split", "test"], r"--split test: no effect, because this source has no splits"
    ),
    "a column that is not there": (folder(**PAIR), ["--column", "x"], r"--column x: no effect"),
    "a file of another kind under the name of an image": (folder(a_jpg=b"%PDF-1.4"), [], r"a.jpg: .*PDF"),
    "a cut image": (folder(a_png=png(8, 0, [b"\x07" * 8] * 8)[:-30]), [], r"a.png: (broken|truncated)"),
    "numbers beyond every range": (floats(5.0e5), [], r"from 0 to 500000; expected 0 ... 1, -1 ... 1 or 0 ... 255"),
    "signs for missing labels": (parquet(label=[-1, 1, 0]), [], r"1 of 3 images has no label"),
    "a web page": (folder(**{"train-images-idx3-ubyte_gz": b"<!DOCTYPE html>"}), [], r"web page"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    make, options, message = REFUSED[name]
    assert main(["prepare", str(make(tmp_path)), str(tmp_path / "store"), "--workers", "0", *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert re.search(message, line), line
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path / "a", {"1.png": plain(1)})
    os.mkfifo(tmp_path / "a" / "0.png")
    assert main(["prepare", str(tmp_path / "a"), str(tmp_path / "store"), "--workers", "0"]) == 0
    assert "pipes, sockets and devices are left out: 0.png" in capsys.readouterr().out
