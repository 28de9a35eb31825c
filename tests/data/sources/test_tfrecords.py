from pathlib import Path

import numpy as np
import pytest

from progan.data.options import PrepareOptions
from progan.data.sources import open_source
from progan.data.sources.crc32c import crc32c
from progan.data.store import prepare
from progan.errors import DataError
from references import tfrecord_writer

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
        (b"", "KeyError: 'shape'"),
        (b"\xff" * 20, "more than 64 bits"),
        (tfrecord_writer.field(1, b"\x0a\x7f"), "exceeds the message"),
        (b"\x0b", "unknown type 3"),
        (tfrecord_writer.example(np.zeros((2, 4, 4), np.uint8)), r"found 32 bytes for shape \[2, 4, 4\]"),
        (tfrecord_writer.example(np.zeros((3, 4), np.uint8)), r"found 12 bytes for shape \[3, 4\]"),
        (tfrecord_writer.example(np.zeros((3, 4, 4), np.float32)), r"found 192 bytes for shape \[3, 4, 4\]"),
    ],
)
def test_sound_record_of_something_else_says_so(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.tfrecords").write_bytes(tfrecord_writer.record(data))
    (record,) = open_source(tmp_path)
    with pytest.raises(DataError, match=message):
        raise record.data


def test_labels_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for labels in (np.eye(4), np.ones((4, 3)), np.arange(5), np.array([["a"]] * 5)):
        folder = tfrecord_writer.write(tmp_path / "faces", images(1), labels)
        with pytest.raises(
            DataError, match=r"faces-rxx.labels: the labels do not match the images\n.*expected numbers \[5, K\]"
        ):
            open_source(folder)
    np.save(tmp_path / "o.npy", np.array([{}] * 5, object), allow_pickle=True)
    (tmp_path / "o.npy").rename(folder / "faces-rxx.labels")
    with pytest.raises(DataError, match=r"rxx.labels: not a NumPy array \(Object arrays cannot be loaded"):
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
