"""One test for each row of the table 'image | rule' in docs/data.md that test_pixels.py does not have."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from progan.data.decoding import colors
from progan.data.options import PrepareOptions
from progan.data.pixels import decode, peek
from progan.data.preparing import prepare
from progan.errors import DataError
from references import color_profiles as reference
from references.image_files import encoded, noise, save


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits; color types 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 2: 4, 4: 6}[channels], 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep_tiff(pixels: np.ndarray, *, bits: int = 0, maximum: int = 0, white_is_zero: bool = False) -> bytes:
    """Uncompressed little-endian TIFF [H, W, C] of 12 (packed) or 16 bits, or of float32."""
    height, width, channels = pixels.shape
    data, bits = pixels.tobytes(), bits or 8 * pixels.dtype.itemsize
    if bits == 12:  # two samples in three bytes
        a, b = pixels.reshape(-1, 2).astype(int).T
        data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()
    color = 2 if channels == 3 else 0 if white_is_zero else 1
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, color)]
    entries += [(273, 4, 300), (277, 3, channels), (278, 4, height), (279, 4, len(data))]
    entries += [(281, 3, maximum)] if maximum else []
    entries += [(339, 3, 3 if pixels.dtype.kind == "f" else 1)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    if channels == 3:  # three numbers of bits do not fit into the entry
        table = table.replace(struct.pack("<HHII", 258, 3, 1, bits), struct.pack("<HHII", 258, 3, 3, 290))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    return head.ljust(290, b"\0") + struct.pack("<3H", bits, bits, bits).ljust(10, b"\0") + data


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_lossless_files_are_read_as_they_are(kind: str) -> None:
    pixels = noise(8, 12)
    data = encoded(pixels, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(np.asarray(decode(data)), pixels)


@pytest.mark.parametrize("write", [deep_png, deep_tiff])
def test_16_bits_grey_to_nearest_and_color_by_the_upper_byte(write) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16, 3), np.uint16)
    grey = decode(write(deep[:, :, :1]))
    np.testing.assert_array_equal(np.asarray(grey), np.rint(deep[:, :, 0] / 257))
    np.testing.assert_array_equal(np.asarray(decode(write(deep))), deep >> 8)
    assert peek(write(deep[:, :, :1])) == (True, (16, 16))


@pytest.mark.parametrize(
    ("bits", "maximum", "white"),
    [(12, 0, 4095), (16, 4095, 4095), (16, 1023, 1023), (16, 4000, 65535), (16, 65535, 65535), (12, 100, 4095)],
)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_fewer_bits_reaches_white(bits: int, maximum: int, white: int, white_is_zero: bool) -> None:
    deep = np.random.default_rng(0).integers(0, white + 1, (16, 16, 1), np.uint16)
    deep[0, :2, 0] = 0, white
    found = np.asarray(decode(deep_tiff(deep, bits=bits, maximum=maximum, white_is_zero=white_is_zero)))
    wanted = np.rint(deep[:, :, 0] * 255.0 / white)
    np.testing.assert_array_equal(found, 255 - wanted if white_is_zero else wanted)
    assert (found.min(), found.max()) == (0, 255)


def test_colors_of_fewer_bits_in_16_reach_white() -> None:
    deep = np.random.default_rng(0).integers(0, 4096, (16, 16, 3), np.uint16)
    np.testing.assert_array_equal(np.asarray(decode(deep_tiff(deep, maximum=4095))), np.rint(deep * 255.0 / 4095))


def test_alpha_of_16_bits_is_kept() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (8, 8, 4), np.uint16)
    np.testing.assert_array_equal(np.asarray(decode(deep_png(deep))), deep >> 8)
    two = np.asarray(decode(deep_png(deep[:, :, :2])).convert("LA"))
    np.testing.assert_array_equal(two, deep[:, :, :2] >> 8)


def test_pixels_without_a_fixed_range_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"floating-point pixels, whose range is not defined; save it with 8 or 16 bits"
    ):
        decode(deep_tiff(np.zeros((8, 8, 1), np.float32)))
    wide = saved(Image.fromarray(np.full((8, 8), 70000, np.int32)), "TIFF")
    with pytest.raises(DataError, match="pixels of more than 16 bits, whose range is not defined"):
        decode(wide)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_or_page_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    np.testing.assert_array_equal(np.asarray(decode(data).convert("RGB")), np.asarray(frames[0]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(bool)
    data = saved(Image.fromarray(bits), kind)
    assert peek(data)[0]
    np.testing.assert_array_equal(np.asarray(decode(data)), bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_turns_every_kind(kind: str) -> None:
    pixels = noise(8, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the left; to be shown turned to the right
    plain, turned = (decode(encoded(pixels, kind, **more)) for more in ({}, {"exif": exif.tobytes()}))
    assert turned.size == (8, 16)
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(np.asarray(plain), -1))


@pytest.mark.parametrize("ycck", [False, True])
def test_cmyk_jpegs_are_inverted_as_adobe_writes_them(ycck: bool) -> None:
    ink = np.asarray(Image.fromarray(noise(4, 4, 4)).resize((64, 64), Image.Resampling.BICUBIC))
    data = bytearray(saved(Image.frombytes("CMYK", (64, 64), ink.tobytes()), "JPEG", quality=100, subsampling=0))
    at = data.index(b"Adobe")
    assert data[at + 11] == 0  # plain CMYK
    if ycck:  # the same bytes as luminance, chrominance and black
        data[at + 11] = 2
    cv2 = pytest.importorskip("cv2")
    wanted = np.asarray(cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR_RGB)).astype(int)
    difference = np.abs(np.asarray(decode(bytes(data))).astype(int) - wanted)
    assert difference.max() <= 3
    assert np.asarray(decode(bytes(data))).std() > 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_color_profiles_are_converted_to_srgb(kind: str, gamma: float) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    smooth = np.asarray(Image.fromarray(noise(3, 3)).resize((32, 32), Image.Resampling.BICUBIC))
    plain = np.asarray(decode(encoded(smooth, kind, **options)))
    icc = reference.profile(gamma, reference.ADOBE)
    found = np.asarray(decode(encoded(smooth, kind, icc_profile=icc, **options)))
    wanted = reference.to_srgb(plain, gamma, reference.ADOBE)
    assert np.abs(found - wanted).max() < 2
    assert np.abs(wanted - plain).max() > 20


def test_profiles_leave_alpha_and_grey_as_they_are() -> None:
    rgba, grey = noise(16, 16, 4), noise(16, 16, 1)
    icc = reference.profile(1.0, reference.ADOBE)
    found = np.asarray(decode(encoded(rgba, icc_profile=icc)))
    np.testing.assert_array_equal(found[:, :, 3], rgba[:, :, 3])
    assert np.abs(found[:, :, :3] - reference.to_srgb(rgba[:, :, :3], 1.0, reference.ADOBE)).max() < 2
    icc = reference.profile(1.8, None)
    wanted = reference.to_srgb(grey[:, :, None].repeat(3, 2), 1.8, reference.SRGB)[:, :, 0]
    found = decode(encoded(grey, icc_profile=icc))
    assert found.mode == "L"
    assert np.abs(np.asarray(found) - wanted).max() < 2
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(rgba[:, :, 3])])
    found = np.asarray(decode(saved(both, "PNG", icc_profile=icc)))
    assert np.abs(found[:, :, 0] - wanted).max() < 2
    np.testing.assert_array_equal(found[:, :, 1], rgba[:, :, 3])


@pytest.mark.parametrize("kind", ["sRGB", "broken", "of other colors"])
def test_other_profiles_change_nothing(kind: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    icc = {"sRGB": srgb, "broken": b"junk" * 99, "of other colors": reference.profile(1.0, None)}[kind]
    pixels = noise(16, 16)
    np.testing.assert_array_equal(np.asarray(decode(encoded(pixels, icc_profile=icc))), pixels)
    assert colors._transform(icc, "RGB") is None  # so that it costs nothing


def test_the_content_counts_and_not_the_extension(tmp_path: Path) -> None:
    pixels = noise(8, 8)
    (tmp_path / "a.jpg").write_bytes(encoded(pixels))
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.jpg")), pixels)
    for data, message in (
        (b"", "an empty file"),
        (b"<html>no</html>", r"not an image in a supported format \(JPEG, PNG, WEBP, TIFF"),
    ):
        (tmp_path / "a.png").write_bytes(data)
        for payload in (tmp_path / "a.png", data):
            with pytest.raises(DataError, match=message) as error:
                decode(payload)
            assert "\n" not in str(error.value)


def test_files_that_start_programs_are_refused() -> None:
    with pytest.raises(DataError, match="not an image in a supported format: EPS; render it to PNG"):
        decode(saved(Image.new("RGB", (8, 8)), "EPS"))


@pytest.mark.parametrize("limit", [100, 190])  # Pillow raises for twice the limit, and only warns below
def test_decompression_bomb_names_size_and_limit(monkeypatch, recwarn, limit: int) -> None:
    data = encoded(noise(16, 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for read in (decode, peek):
        with pytest.raises(DataError, match=rf"too large to be opened: .*256 pixels.* limit of ({limit}|{2 * limit}) "):
            read(data)
    assert not recwarn.list


def test_file_without_permission_names_the_remedy(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise(8, 8)))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match=r"permission denied; run chmod u\+r"):
        decode(path)


def test_a_link_to_nothing_is_named_or_skipped(tmp_path: Path) -> None:
    save(tmp_path / "in/0.png", noise(8, 8))
    (tmp_path / "in/1.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"1.png: cannot be read \(No such file or directory\)"):
        prepare(tmp_path / "in", tmp_path / "store", workers=0)
    assert prepare(tmp_path / "in", tmp_path / "store", PrepareOptions(on_error="skip"), workers=0).count == 1
