"""Metadata that are damaged or huge do not cost the picture; damaged pixels do."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from progan.data.decoding import decode, peek
from progan.errors import DataError
from references import color_profiles
from references import image_writers as write
from references.decoders import opencv
from references.image_files import encoded, noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about metadata, which are ignored
PIXELS = noise(16, 24)
HUGE = zlib.compress(bytes(1_500_000))
CHUNKS = {
    "iTXt": b"k\0\1\0\0\0" + HUGE,
    "zTXt": b"k\0\0" + HUGE,
    "tEXt": b"k\0" + b"x" * 1_500_000,
    "iCCP": b"p\0\0" + HUGE,
    "iCCP of another method": b"p\0\7" + HUGE,
    "eXIf": b"junk" * 1000,
    "pHYs": b"\0",
    "sRGB": b"",
    "gAMA": b"\0",
    "cHRM": b"\0\0",
    "tIME": b"",
    "sBIT": b"",
    "acTL": b"\0",
    "abCd": bytes(3_000_000),
}


def same(data: bytes, pixels: np.ndarray = PIXELS) -> None:
    assert peek(data) == (False, pixels.shape[:2])
    np.testing.assert_array_equal(np.asarray(decode(data)), pixels)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_of_png(name: str, late: bool) -> None:
    chunk = write.chunk(name[:4].encode(), CHUNKS[name])
    broken = chunk[:-1] + bytes([chunk[-1] ^ 1])
    for part in (chunk, broken, chunk * 70 if name == "iTXt" else chunk * 2):
        same(write.png(PIXELS, 8, 2, **{"late" if late else "more": part}))


def test_many_texts_of_png() -> None:
    texts = b"".join(write.chunk(b"tEXt", b"k\0" + b"x" * 900_000) for _ in range(80))  # more than Pillow's 64 MiB
    same(write.png(PIXELS, 8, 2, more=texts))


def test_a_damaged_key_of_png_is_ignored_as_by_libpng() -> None:
    chunk = write.chunk(b"tRNS", PIXELS[3, 4].astype(">u2").tobytes())
    data = write.png(PIXELS, 8, 2, more=chunk[:-1] + bytes([chunk[-1] ^ 1]))
    same(data)
    np.testing.assert_array_equal(opencv(data), PIXELS)
    assert decode(write.png(PIXELS, 8, 2, more=chunk)).mode == "RGBA"


@pytest.mark.parametrize("size", [0, 2_000_000])
def test_a_profile_beside_damage_still_counts(size: int) -> None:
    icc = color_profiles.profile(1.0, color_profiles.ADOBE)
    good = np.asarray(decode(encoded(PIXELS, icc_profile=icc)))
    chunk = write.chunk(b"iCCP", b"p\0\0" + zlib.compress(icc + bytes(size)))  # with zeros behind the profile
    data = write.png(PIXELS, 8, 2, more=chunk + write.chunk(b"tEXt", b"k\0" + b"x" * 1_500_000) * (not size))
    np.testing.assert_array_equal(np.asarray(decode(data)), good)
    assert np.abs(good.astype(int) - PIXELS).max() > 20


def test_orientation_beside_damage_still_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    more = write.chunk(b"eXIf", exif.tobytes()[6:]) + write.chunk(b"iTXt", CHUNKS["iTXt"])
    np.testing.assert_array_equal(np.asarray(decode(write.png(PIXELS, 8, 2, more=more))), np.rot90(PIXELS, -1))


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


SEGMENTS = {
    "EXIF": segment(0xE1, b"Exif\0\0" + b"II*\0\xff\xff\xff\xff" + bytes(9)),
    "EXIF of no length": segment(0xE1, b"Exif\0\0"),
    "XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmp"),
    "profile": segment(0xE2, b"ICC_PROFILE\0\x07\x02" + b"junk" * 50),
    "MPF": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(30)),
    "MPF of no pages": segment(0xE2, b"MPF\0junk"),
    "Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x01"),
    "JFIF": segment(0xE0, b"JFIF\0\1"),
    "Adobe": segment(0xEE, b"Adobe"),
    "comment": segment(0xFE, b"\xff\xd8\xff\xc0" * 900),
    "resolution": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x1a\0\x05\0\0\0\1\0\0\0\x1a\0\0\0\0\0\0\0\0\0\0\0\0"),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_jpeg(name: str) -> None:
    data = encoded(PIXELS, "JPEG", quality=95)
    plain = np.asarray(decode(data))
    np.testing.assert_array_equal(plain, opencv(data))
    same(data[:2] + SEGMENTS[name] + data[2:], plain)
    same(data[:20] + SEGMENTS[name] * 3 + data[20:], plain)  # behind the JFIF segment


@pytest.mark.parametrize("key", ["exif", "icc_profile", "xmp"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF", "AVIF"])
def test_metadata_of_junk(kind: str, key: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    for junk in (b"junk" * 30, b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40), b"\0"):
        try:
            data = encoded(PIXELS, kind, **options, **{key: junk})
        except Exception:  # the writer looks at it
            continue
        same(data, np.asarray(decode(encoded(PIXELS, kind, **options))))


@pytest.mark.parametrize("tag", [700, 34665, 34675, 34853, 33723, 34377, 42113, 305])
@pytest.mark.parametrize("planar", [False, True])
def test_tags_of_tiff(tag: int, planar: bool) -> None:
    for kind, values in ((4, [0xFFFFFFF0]), (1, [255] * 9), (3, [0xFFFF] * 3), (2, [0x41] * 6)):
        same(write.tiff(PIXELS, 8, 2, planar=planar, more=((tag, kind, values),)))


@pytest.mark.parametrize("prefix", [b"\n\n", b"\r\n", b" ", b"\xef\xbb\xbf", bytes(4)])
def test_blanks_before_a_file(prefix: bytes) -> None:
    for kind in ("PNG", "JPEG"):
        data = encoded(PIXELS, kind)
        same(prefix + data, np.asarray(decode(data)))


def test_a_jpeg_that_lacks_its_end_mark_only() -> None:
    for options in ({}, {"subsampling": 2}, {"quality": 30}):
        data = encoded(noise(33, 47), "JPEG", **options)
        whole = np.asarray(decode(data))
        for cut in (data[:-2], data[:-1]):
            np.testing.assert_array_equal(np.asarray(decode(cut)), whole)
        for less in range(4, 300, 37):
            with pytest.raises(DataError, match="truncated"):
                decode(data[:-less])
    data = encoded(noise(33, 47), "JPEG", progressive=True)
    with pytest.raises(DataError, match="truncated"):  # whole scans could be missing
        decode(data[:-2])


@pytest.mark.parametrize("more", [b"", write.chunk(b"iTXt", CHUNKS["iTXt"])])
def test_damaged_pixels_of_png_stay_refused(more: bytes) -> None:
    data = write.png(PIXELS, 8, 2, more=more)
    at = data.index(b"IDAT")
    for i in (at + 10, at + 100, at + 900):
        with pytest.raises(DataError, match=r"broken|cannot be opened"):
            decode(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
    for end in (at + 2, at + 100, len(data) - 30):
        with pytest.raises(DataError, match=r"broken|cannot be opened|not an image"):
            decode(data[:end])


def test_truncated_files_stay_refused() -> None:
    for kind in ("JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "TGA", "QOI", "ICO"):
        data = encoded(noise(40, 40), kind)
        for part in (0.5, 0.9):
            with pytest.raises(DataError) as error:
                decode(data[: int(part * len(data))])
            assert "\n" not in str(error.value)
    for compression in write.PACKERS:
        data = write.tiff(noise(16, 24).astype(int), 16, 2, compression=compression)
        for end in (len(data) - 10, len(data) // 2, 50, 9):
            with pytest.raises(DataError):
                decode(data[:end])


def test_the_file_may_be_a_path(tmp_path) -> None:
    for i, data in enumerate((
        write.png(PIXELS, 8, 2, more=write.chunk(b"iTXt", CHUNKS["iTXt"])),
        write.png(PIXELS, 8, 2, late=write.chunk(b"iTXt", CHUNKS["iTXt"])),
        write.tiff(PIXELS, 8, 2, planar=True),
        b"\n" + encoded(PIXELS),
        encoded(PIXELS, "TGA"),
        encoded(PIXELS, "BMP"),
        encoded(PIXELS, "PPM"),
    )):  # fmt: skip
        (tmp_path / f"{i}.jpg").write_bytes(data)
        assert peek(tmp_path / f"{i}.jpg") == (False, (16, 24))
        np.testing.assert_array_equal(np.asarray(decode(tmp_path / f"{i}.jpg")), PIXELS)
