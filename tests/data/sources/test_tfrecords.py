import gzip
from pathlib import Path

import numpy as np
import pytest

from progan.data.decoding import decode
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.crc32c import crc32c
from progan.data.sources.tfrecords import tfrecord_files, tfrecord_source
from progan.errors import DataError
from references import tfrecord_writer
from references.image_files import encoded, noise

HEADER = 12  # bytes in front of the data of a record


def images(channels: int, count: int = 5, side: int = 16) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 256, (count, channels, side, side), np.uint8)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return tfrecord_writer.write(tmp_path / "faces", images(3))


def top(folder: Path) -> Path:
    return folder / "faces-r04.tfrecords"


@pytest.mark.parametrize("length", [*range(18), 255, 256, 257, 1021])
def test_crc_equals_division_bit_by_bit(length: int) -> None:
    rows = np.random.default_rng(length).integers(0, 256, (3, length), np.uint8)
    assert crc32c(rows).tolist() == [tfrecord_writer.crc32c(row.tobytes()) for row in rows]


def test_crc_equals_values_of_rfc_3720() -> None:
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert [int(crc32c(np.frombuffer(data, np.uint8))) for data in known] == list(known.values())


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip_bit_for_bit(tmp_path: Path, channels: int, packed: bool, labelled: bool) -> None:
    pixels, numbers = images(channels), [2, 0, 1, 1, 2]
    labels = np.eye(3, dtype=np.float32)[numbers] if labelled else None
    folder = tfrecord_writer.write(tmp_path / "faces", pixels, labels, packed=packed)
    for path in (folder, top(folder)):
        store = prepare(path, tmp_path / f"store-{path.name}")
        np.testing.assert_array_equal(store.level(16).transpose(0, 3, 1, 2), pixels)
        found = store.labels()
        assert (None if found is None else found.tolist()) == (numbers if labelled else None)
        assert store.classes == (("0", "1", "2") if labelled else ())


def test_positions_are_read_without_the_others(faces: Path) -> None:
    found = [(r.name, r.data) for r in open_source(faces).records([1, 4])]
    assert [name for name, _ in found] == ["faces-r04.tfrecords[1]", "faces-r04.tfrecords[4]"]
    np.testing.assert_array_equal(np.stack([data for _, data in found]), images(3)[[1, 4]].transpose(0, 2, 3, 1))


def test_file_is_recognised_without_its_name(faces: Path, tmp_path: Path) -> None:
    assert len(open_source(top(faces).rename(tmp_path / "x"))) == 5


def test_every_flipped_bit_of_data_is_found(faces: Path) -> None:
    sound, size = top(faces).read_bytes(), top(faces).stat().st_size // 5
    for at in np.random.default_rng(0).integers(HEADER, size, 30):
        data = bytearray(sound)
        data[2 * size + at] ^= 1 << (at % 8)
        top(faces).write_bytes(data)
        payloads = [record.data for record in open_source(faces)]
        assert [i for i, payload in enumerate(payloads) if isinstance(payload, DataError)] == [2]


def test_bad_data_fails_with_its_number_or_is_skipped(faces: Path, tmp_path: Path) -> None:
    data = bytearray(top(faces).read_bytes())
    data[len(data) // 2] ^= 1
    top(faces).write_bytes(data)
    with pytest.raises(
        DataError, match=r"found: faces-r04.tfrecords\[2\]: bad checksum[^\n]*\n  fix: .*--on-error skip"
    ):
        prepare(faces, tmp_path / "store")
    store = prepare(faces, tmp_path / "store", PrepareOptions(on_error="skip"))
    np.testing.assert_array_equal(store.level(16).transpose(0, 3, 1, 2), images(3)[[0, 1, 3, 4]])


def test_bad_length_is_named_even_where_it_hides_the_rest(faces: Path) -> None:
    sound = top(faces).read_bytes()
    for byte in (0, 1, 7):
        data = bytearray(sound)
        data[len(data) // 5 * 3 + byte] ^= 0x7F
        top(faces).write_bytes(data)
        with pytest.raises(DataError, match=r"r04.tfrecords: bad checksum of the length of record 3 .*\n.*\n  fix: "):
            open_source(faces)


@pytest.mark.parametrize(("records", "extra", "whole"), [(5, -1, 4), (3, 5, 3), (3, 12, 3), (1, 100, 1), (2, -3, 1)])
def test_cut_off_file_is_named(faces: Path, records: int, extra: int, whole: int) -> None:
    sound = top(faces).read_bytes()
    top(faces).write_bytes(sound[: len(sound) // 5 * records + extra])
    with pytest.raises(DataError, match=rf"truncated in record {whole} .*\n  found: \d+ bytes with {whole} complete"):
        open_source(faces)


@pytest.mark.parametrize("data", [b"", b"short"])
def test_file_without_records_is_named(faces: Path, data: bytes) -> None:
    top(faces).write_bytes(data)
    with pytest.raises(DataError, match="truncated in record 0"):
        open_source(faces)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no images in its records\n  found: records without features"),
        (b"\xff" * 20, "more than 64 bits"),
        (tfrecord_writer.field(1, b"\x0a\x7f"), "exceeds the message"),
        (b"\x0b", "unknown type 3"),
        (
            tfrecord_writer.features(a=[1, 2], b=0.5, c=b"12345", d=3),
            r"no images in its records\n  found: the features a \(int64, 2\), b \(float\), c \(bytes, 5\), d \(int64\)",
        ),
        (
            tfrecord_writer.features(image=bytes(50), height=4, width=4),
            r"found: the features image \(bytes, 50\), height",
        ),
        (tfrecord_writer.features(image=[1, 2, 3]), r"found: the features image \(int64, 3\)"),
        (tfrecord_writer.example(np.zeros((2, 4, 4), np.uint8)), r"found 32 bytes for shape \[2, 4, 4\]"),
        (tfrecord_writer.example(np.zeros((3, 4), np.uint8)), r"found 12 bytes for shape \[3, 4\]"),
        (tfrecord_writer.example(np.zeros((3, 4, 4), np.float32)), r"found 192 bytes for shape \[3, 4, 4\]"),
    ],
)
def test_sound_record_of_something_else_says_so(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.tfrecords").write_bytes(tfrecord_writer.record(data))
    with pytest.raises(DataError, match=message):
        raise next(open_source(tmp_path).read([0]))


PIXELS = [noise(8, 8, seed=i) for i in range(4)]
PNGS = [encoded(pixels) for pixels in PIXELS]


def write(file: Path, records: list[dict], pack=bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(tfrecord_writer.record(tfrecord_writer.features(**one)) for one in records)
    file.write_bytes(pack(data))
    return file


def pixels_of(source) -> list[np.ndarray]:
    return [np.asarray(decode(record.data)) for record in source]


MASK = encoded(np.zeros((8, 8), np.uint8))
IMAGES = {
    "image/encoded": lambda i: {"image__encoded": PNGS[i], "image__format": b"png", "image__height": 8},
    "image": lambda i: {"image": PNGS[i], "id": b"x"},
    "image_raw": lambda i: {"mask_raw": MASK, "image_raw": PNGS[i]},
    "pixels": lambda i: {"height": 8, "width": 8, "depth": 3, "image_raw": PIXELS[i].tobytes()},
    "pixels of images": lambda i: {"image__height": 8, "image__width": 8, "image__raw": PIXELS[i].tobytes()},
    "several": lambda i: {"images": [PNGS[i], MASK]},
}


@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES)
def test_images_of_other_projects(tmp_path: Path, make) -> None:
    for pack in (bytes, gzip.compress):
        source = open_source(write(tmp_path / "a.tfrecord", [make(i) for i in range(4)], pack))
        np.testing.assert_array_equal(pixels_of(source), PIXELS)
        assert [len(data) for data in source.read([1, 3])] == [len(next(source.read([i]))) for i in (1, 3)]
        assert source.heeds == {"column"}


def test_the_feature_of_the_images_can_be_chosen(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tfrecord", [{"mask": MASK, "image": png, "n": 1} for png in PNGS])
    assert open_source(file).notes == ("images from feature 'image'; 'mask' is left out (--column mask takes it)",)
    assert pixels_of(tfrecord_source(file, [file], Choice(column="mask")))[0].max() == 0
    with pytest.raises(DataError, match=r"feature 'n' contains no images\n  found: images in mask, image\n"):
        tfrecord_source(file, [file], Choice(column="n"))


LABELS = {
    "numbers": ([{"label": n} for n in (3, 1, 1, 10)], [1, 0, 0, 2], ("1", "3", "10"), {}),
    "class/label": ([{"image__class__label": n} for n in (0, 1, 0, 1)], [0, 1, 0, 1], ("0", "1"), {}),
    "with names": (
        [
            {"image__class__label": n, "image__class__text": t}
            for n, t in ((2, "cat"), (1, "dog"), (2, "cat"), (5, "ant"))
        ],
        [1, 0, 1, 2],
        ("dog", "cat", "ant"),
        {},
    ),
    "with names that do not fit": (
        [{"image__class__label": n, "image__class__text": t} for n, t in ((2, "a"), (1, "a"), (2, "b"), (5, ""))],
        [1, 0, 1, 2],
        ("1", "2", "5"),
        {},
    ),
    "text": ([{"class": t} for t in ("b", "a", "b", "a")], [1, 0, 1, 0], ("a", "b"), {}),
    "minus one": ([{"label": n} for n in (-1, -1, -1, -1)], None, (), {}),
    "whole floats": ([{"label": n} for n in (0.0, 1.0, 1.0, 0.0)], [0, 1, 1, 0], ("0", "1"), {}),
    "floats": ([{"label": n} for n in (0.5, 1.0, 1.0, 0.0)], None, (), {"label": [0.5, 1, 1, 0]}),
    "one-hot": ([{"label": [0, 1]}, {"label": [1, 0]}] * 2, [1, 0, 1, 0], ("0", "1"), {}),
    "several": (
        [{"labels": [4, 7]}, {"labels": 4}, {"labels": [7]}, {"labels": [7, 4]}],
        None,
        (),
        {"labels=4": [1, 1, 0, 1], "labels=7": [1, 0, 1, 1]},
    ),
}


@pytest.mark.parametrize(("cells", "labels", "classes", "columns"), LABELS.values(), ids=LABELS)
def test_labels_of_other_projects(tmp_path: Path, cells: list, labels, classes: tuple, columns: dict) -> None:
    records = [{"image__encoded": png, **cell} for png, cell in zip(PNGS, cells, strict=True)]
    source = open_source(write(tmp_path / "a.tfrecord", records))
    assert (source.labels, source.classes) == (labels, classes)
    assert {column.name: column.values.tolist() for column in source.columns} == columns


def test_names_of_classes_in_the_file_of_tensorflow_datasets(tmp_path: Path) -> None:
    write(
        tmp_path / "pets-train.tfrecord-00000-of-00001", [{"image": png, "label": i % 2} for i, png in enumerate(PNGS)]
    )
    (tmp_path / "label.labels.txt").write_text("zebra\nant\ncat\n")
    source = open_source(tmp_path)
    assert (source.labels, source.classes) == ([0, 1, 0, 1], ("zebra", "ant", "cat"))


NAMES = {
    "shards without an extension": ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"),
    "shards of tensorflow": ("a-train.tfrecord-000-of-002", "a-train.tfrecord-001-of-002", "a-val.tfrecord-000-of-001"),
    "packed": ("train-0.tfrecords.gz", "train-1.tfrecords.gz", "dev-0.tfrecords.gz"),
    "folders": ("train/00-192.tfrec", "train/01-192.tfrec", "val/00-192.tfrec"),
    "capitals": ("Train_0.TFRecord", "Train_1.TFRecord", "Val_0.TFRecord"),
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_shards_and_splits(tmp_path: Path, names: tuple) -> None:
    for name, rows in zip(names, ([0, 1], [2], [3]), strict=True):
        pack = gzip.compress if name.endswith(".gz") else bytes
        write(tmp_path / "s" / name, [{"image": PNGS[i], "label": i} for i in rows], pack)
    (tmp_path / "s" / "notes.txt").write_text("x")
    for split, rows in (("train", [0, 1, 2]), ("val", [3]), ("test", [3]), ("all", [0, 1, 2, 3])):
        source = tfrecord_source(tmp_path / "s", tfrecord_files(tmp_path / "s"), Choice(split=split))
        np.testing.assert_array_equal(pixels_of(source), [PIXELS[i] for i in rows])
        assert [int(source.classes[label]) for label in source.labels] == rows
        assert source.heeds == {"split", "column"}
    assert not any("missing" in note for note in open_source(tmp_path / "s").notes)


def test_shards_that_are_missing_are_told(tmp_path: Path) -> None:
    for i in (0, 2):
        write(tmp_path / f"train-0000{i}-of-00005", [{"image": PNGS[i]}])
    assert "2 of the 5 files that their names tell of; the others are missing" in open_source(tmp_path).notes


def test_damaged_first_record_does_not_hide_the_others(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tfrecord", [{"image": png} for png in PNGS])
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    assert [isinstance(record.data, DataError) for record in open_source(file)] == [True, False, False, False]


@pytest.mark.parametrize("cut", [-9, 40, 11])
def test_cut_off_gzip_is_named(tmp_path: Path, cut: int) -> None:
    file = write(tmp_path / "a.tfrecord", [{"image": png} for png in PNGS], gzip.compress)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a.tfrecord: broken gzip file \(.*\)\n  found: \d records before\n"):
        open_source(file)
    write(file, [{"image": png} for png in PNGS], lambda data: gzip.compress(data[:-3]))
    with pytest.raises(DataError, match=r"truncated in record 3 .*\n  found: \d+ bytes with 3 complete"):
        open_source(file)


def test_gzip_of_zeros_does_not_fill_memory(tmp_path: Path, monkeypatch) -> None:
    rows = []
    monkeypatch.setattr("progan.data.sources.record_files.crc32c", lambda data: rows.append(len(data)) or crc32c(data))
    (tmp_path / "a.tfrecord").write_bytes(gzip.compress(bytes(1 << 22)))
    with pytest.raises(DataError, match=r"bad checksum of the length of record 0 "):
        open_source(tmp_path / "a.tfrecord")
    assert max(rows) == 4096


def test_labels_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for labels in (np.eye(4), np.ones((4, 3)), np.arange(5), np.array([["a"]] * 5)):
        folder = tfrecord_writer.write(tmp_path / "faces", images(1), labels)
        with pytest.raises(
            DataError, match=r"faces-rxx.labels: the labels do not match the images\n.*expected numbers \[5, K\]"
        ):
            open_source(folder)
    np.save(tmp_path / "o.npy", np.array([{}] * 5, object), allow_pickle=True)
    (tmp_path / "o.npy").rename(folder / "faces-rxx.labels")
    with pytest.raises(DataError, match=r"rxx.labels: not a NumPy array \(objects, which could run code"):
        open_source(folder)
    np.save(tmp_path / "o.npy", np.eye(5))
    data = (tmp_path / "o.npy").read_bytes()
    for bad in (data[:-1], data.replace(b"{'descr'", b'{{{{((("'), data.replace(b"(5, 5)", b"(5,55)"), data[:9]):
        (folder / "faces-rxx.labels").write_bytes(bad)
        with pytest.raises(DataError, match=r"rxx.labels: not a NumPy array"):
            open_source(folder)


def test_several_data_sets_in_a_folder_are_named(faces: Path) -> None:
    top(faces).rename(faces / "pets-r04.tfrecords")
    with pytest.raises(DataError, match=r"several TFRecords.*\n  found: faces-r02.tfrecords, .*\n  fix:   pass one"):
        open_source(faces)


def test_labels_that_come_later_make_another_store(tmp_path: Path) -> None:
    folder = tfrecord_writer.write(tmp_path / "faces", images(3))
    assert prepare(top(folder), tmp_path / "store").classes == ()
    tfrecord_writer.write(tmp_path / "more", images(3), np.eye(5))
    (tmp_path / "more" / "more-rxx.labels").rename(folder / "faces-rxx.labels")
    assert prepare(top(folder), tmp_path / "store").classes == ("0", "1", "2", "3", "4")
