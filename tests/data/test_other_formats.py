"""Formats beyond PNG, TIFF and BMP against OpenCV and ffmpeg (PyAV); where these disagree, the specification."""

import io
import itertools
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from progan.data.decoding import decode, formats, peek
from progan.errors import DataError
from references import image_writers as write
from references.decoders import as_rgba, ffmpeg, opencv, rgba, samples, shown

SIZE = (13, 19)


@pytest.mark.parametrize("most", [1, 3, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_netpbm(channels: int, most: int) -> None:
    """Numbers are fractions of the maximum (netpbm's manual, pgm and ppm); OpenCV leaves most of them as they are."""
    deep = samples(channels, 16) % (most + 1)
    deep[0, 0] = most
    body = deep.astype(">u2" if most > 255 else "u1").tobytes()
    text = " ".join(map(str, deep.ravel())).encode()
    size = f"# a comment\n{SIZE[1]} {SIZE[0]}\n{most}\n".encode()
    binary = (b"P5" if channels == 1 else b"P6") + b"\n" + size + body
    wanted = deep >> 8 if most == 65535 and channels == 3 else np.rint(deep * (255 / most))
    assert np.abs(rgba(binary) - as_rgba(wanted)).max() <= (most == 100)  # the only one with ties
    plain = (b"P2" if channels == 1 else b"P3") + b"\n" + size + text
    assert np.abs(rgba(plain) - as_rgba(deep * (255 / most))).max() < 0.6 + (most == 65535)
    if most in (255, 65535):
        np.testing.assert_array_equal(np.squeeze(opencv(binary)), np.squeeze(deep))
    with pytest.raises(DataError, match="broken image"):
        decode(binary[:-1])


def test_netpbm_of_one_bit() -> None:
    bits = samples(1, 1)[..., 0]
    data = b"P4\n19 13\n" + b"".join(write.packed(1 - bits, 1))  # 1 is black
    np.testing.assert_array_equal(rgba(data), as_rgba(bits[..., None] * 255))
    np.testing.assert_array_equal(opencv(data), bits * 255)


@pytest.mark.parametrize("most", [1, 255, 1023, 65535])
@pytest.mark.parametrize(("channels", "kind"), [(1, "GRAYSCALE"), (2, "GRAYSCALE_ALPHA"), (3, "RGB"), (4, "RGB_ALPHA")])
def test_pam(channels: int, kind: str, most: int) -> None:
    deep = samples(channels, 16) % (most + 1)
    head = f"P7\nWIDTH 19\nHEIGHT 13\nDEPTH {channels}\n# no\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n".encode()
    data = head + deep.astype(">u2" if most > 255 else "u1").tobytes()
    eight = deep >> 8 if most == 65535 and channels > 1 else np.rint(deep * (255 / most))
    alpha = eight[..., -1] if channels in (2, 4) else None
    np.testing.assert_array_equal(rgba(data), as_rgba(eight[..., : 3 if channels > 2 else 1], alpha))
    if most > 1:  # ffmpeg does not scale 0 and 1
        assert np.abs(rgba(data) - ffmpeg(data, "pam")).max() <= (1 if most > 255 else 0)
    with pytest.raises(DataError, match="cut off"):
        decode(data[:-1])


@pytest.mark.parametrize("flags", [0x00, 0x10, 0x20, 0x30])
@pytest.mark.parametrize("depth", [16, 24, 32])
def test_tga(depth: int, flags: int) -> None:
    """The highest of 16 bits is a control bit, which ffmpeg ignores, too."""
    raw = samples(depth // 8, 8).astype(np.uint8)
    if depth == 16:
        bits = raw.view("<u2")[..., 0].astype(int)
        wanted = as_rgba(np.stack([bits >> 10 & 31, bits >> 5 & 31, bits & 31], 2) * 255 / 31)
    else:
        wanted = as_rgba(raw[..., 2::-1], raw[..., 3] if depth == 32 else None)
    wanted = wanted if flags & 0x20 else wanted[::-1]
    wanted = wanted[:, ::-1] if flags & 0x10 else wanted
    data = write.tga(raw.tobytes(), SIZE, depth=depth, flags=flags | (8 if depth == 32 else 0))
    assert np.abs(rgba(data) - wanted).max() < 1
    assert np.abs(rgba(data) - ffmpeg(data, "targa")).max() <= 1


@pytest.mark.parametrize("entry", [16, 24, 32])
def test_tga_with_a_palette(entry: int) -> None:
    table, index = samples(entry // 8, 8, (2, 100))[1].astype(np.uint8), samples(1, 6)[..., 0] + 7
    data = write.tga(
        index.astype(np.uint8).tobytes(), SIZE, kind=1, depth=8, table=table.tobytes(), entry=entry, first=7
    )
    assert np.abs(rgba(data) - ffmpeg(data, "targa")).max() <= 1
    if entry == 32:
        np.testing.assert_array_equal(rgba(data), table[index - 7][..., [2, 1, 0, 3]])


@pytest.mark.parametrize("attributes", range(5))
def test_tga_says_what_its_alpha_is(attributes: int) -> None:
    """Types of the extension area: none, to be ignored, to be kept, alpha, alpha by which colors are multiplied."""
    raw = samples(4, 8)
    raw[..., :3] = np.minimum(raw[..., :3], raw[..., 3:])
    found = rgba(write.tga(raw.astype(np.uint8).tobytes(), SIZE, depth=32, flags=0x28, attributes=attributes))
    wanted = as_rgba(raw[..., 2::-1], raw[..., 3] if attributes > 2 else None)
    if attributes == 4:
        assert np.abs(shown(found) - (wanted[..., :3] + 255 - wanted[..., 3:])).max() <= 1
    else:
        np.testing.assert_array_equal(found, wanted)


def test_tga_whose_alpha_is_0_everywhere_has_none() -> None:
    raw = samples(4, 8)
    raw[..., 3] = 0
    assert decode(write.tga(raw.astype(np.uint8).tobytes(), SIZE, depth=32, flags=0x28)).mode == "RGB"


@pytest.mark.parametrize("background", [0, 5])
@pytest.mark.parametrize("transparent", [None, 3])
def test_gif_whose_frame_is_smaller_than_its_screen(background: int, transparent: int | None) -> None:
    index, palette = samples(1, 3, (6, 7))[..., 0], samples(3, 8, (2, 8))[1]
    data = write.gif(index, palette, screen=SIZE, at=(3, 4), background=background, transparent=transparent)
    found, other = rgba(data), ffmpeg(data, "gif")
    np.testing.assert_array_equal(found[..., 3], other[..., 3])
    np.testing.assert_array_equal(shown(found), shown(other))
    assert (found[0, 0, :3] == palette[background]).all() or transparent is not None


KINDS = [
    *itertools.product(["GIF"], ["1", "L", "P"], [{}, {"interlace": 0}], ["gif"]),
    *itertools.product(["WEBP"], ["L", "RGB", "RGBA"], [{"lossless": True, "exact": True}], ["webp"]),
    *itertools.product(["JPEG2000"], ["L", "LA", "RGB", "RGBA"], [{}, {"no_jp2": True}], ["jpeg2000"]),
    *itertools.product(["TGA"], ["L", "P", "RGB", "RGBA"], [{}, {"compression": "tga_rle"}], ["targa"]),
    *itertools.product(["PCX"], ["1", "L", "P", "RGB"], [{}], ["pcx"]),
    *itertools.product(["SGI"], ["L", "RGB", "RGBA"], [{}], ["sgi"]),
    *itertools.product(["QOI"], ["RGB", "RGBA"], [{}], ["qoi"]),
    *itertools.product(["DDS"], ["RGB", "RGBA"], [{}], ["dds"]),
    *itertools.product(["XBM"], ["1"], [{}], ["xbm"]),
]


@pytest.mark.parametrize(("kind", "mode", "options", "codec"), KINDS)
def test_lossless_formats_equal_ffmpeg(kind: str, mode: str, options: dict, codec: str) -> None:
    image = Image.fromarray(samples(4, 8).astype(np.uint8)).convert("RGB" if mode == "P" else mode)
    file = io.BytesIO()
    (image.quantize(50) if mode == "P" else image).save(file, kind, **options)
    np.testing.assert_array_equal(rgba(file.getvalue()), ffmpeg(file.getvalue(), codec))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_equals_opencv(mode: str, options: dict) -> None:
    smooth = Image.fromarray(samples(4, 8, (4, 6)).astype(np.uint8)).resize((37, 29), Image.Resampling.BICUBIC)
    image = Image.frombytes("CMYK", smooth.size, smooth.tobytes()) if mode == "CMYK" else smooth.convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    found, other = rgba(file.getvalue())[..., :3], opencv(file.getvalue()).astype(int)
    assert np.abs(found - (other if other.ndim == 3 else other[..., None])).max() <= (3 if mode == "CMYK" else 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_equals_its_source(mode: str) -> None:
    smooth = Image.fromarray(samples(4, 8, (3, 4)).astype(np.uint8)).resize((48, 32), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    smooth.convert(mode).save(file, "AVIF", quality=100, subsampling="4:4:4")
    assert np.abs(rgba(file.getvalue()) - np.asarray(smooth.convert(mode).convert("RGBA")).astype(int)).max() <= 3


def codestream(bits: int, channels: int) -> bytes:
    """A JPEG 2000 of 8 bits that says it has another precision."""
    file = io.BytesIO()
    Image.fromarray(samples(channels, 8).astype(np.uint8).squeeze()).save(file, "JPEG2000", no_jp2=True)
    data = bytearray(file.getvalue())
    data[42 : 42 + 3 * channels : 3] = bytes([bits - 1]) * channels
    return bytes(data)


def test_jpeg_2000_of_more_than_8_bits() -> None:
    """Pillow wraps white of 16-bit colors around to black, so they are refused."""
    deep = samples(1, 16).astype(np.uint16)[..., 0]
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "JPEG2000", no_jp2=True)
    np.testing.assert_array_equal(rgba(file.getvalue())[..., 0], np.rint(deep / 257))
    assert np.abs(rgba(file.getvalue()) - ffmpeg(file.getvalue(), "jpeg2000")).max() <= 1
    with pytest.raises(DataError, match="a JPEG 2000 with colors of 12 bits; save it as PNG"):
        decode(codestream(12, 3))


@pytest.mark.parametrize("suffix", [".heic", ".jxl"])
def test_formats_of_plug_ins(suffix: str) -> None:
    smooth = Image.fromarray(samples(3, 8, (3, 4)).astype(np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").from_pillow(smooth).save(file, quality=-1, chroma=444)
    else:
        pytest.importorskip("pillow_jxl")
        smooth.save(file, "JXL", lossless=True)
    assert np.abs(rgba(file.getvalue())[..., :3] - np.asarray(smooth).astype(int)).max() <= 2
    assert peek(file.getvalue()) == (False, (48, 64))
    assert suffix in formats.READABLE_SUFFIXES
    assert formats.why_left_out(suffix) is None


def psd(pixels: np.ndarray, layers: int) -> bytes:
    """A PSD of 8-bit RGB with further channels [H, W, C] and this number of layers in its layer info."""
    height, width, channels = pixels.shape
    head = b"8BPS" + struct.pack(">HxxxxxxHIIHHII", 1, channels, height, width, 8, 3, 0, 0)
    info = struct.pack(">IIh", 6, 2, layers) if layers else bytes(4)
    return head + info + bytes(2) + pixels.transpose(2, 0, 1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("layers", [0, 2, -2])
def test_psd_with_a_fourth_channel(layers: int) -> None:
    """It is transparency if the number of layers is negative; the colors are on white. Else ffmpeg drops it, too."""
    pixels = samples(4, 8)
    pixels[..., :3] = np.maximum(pixels[..., :3], 255 - pixels[..., 3:])  # as colors on white are
    found = rgba(psd(pixels, layers))
    assert np.abs(shown(found) - pixels[..., :3]).max() <= 1
    np.testing.assert_array_equal(found[..., 3], pixels[..., 3] if layers < 0 else 255)
    if layers >= 0:
        np.testing.assert_array_equal(found, ffmpeg(psd(pixels, layers), "psd"))


def test_broken_files_are_named_by_their_format() -> None:
    for head, name in ((b"GIF89a", "GIF"), (b"8BPS" + bytes(40), "PSD"), (b"\0\0\0\x1cftypavif", "AVIF")):
        with pytest.raises(DataError, match=rf"cannot be opened \(a broken {name}, or one of an unsupported kind\)"):
            decode(head)


MISSING = """
import sys
sys.modules.update(pillow_heif=None, pillow_jxl=None)
from progan.data.decoding import decode
for head in (b"\\0\\0\\0\\x18ftypheic", b"\\xff\\x0a", b"\\0\\0\\0\\x0cJXL \\r\\n\\x87\\n"):
    try:
        decode(head + bytes(40))
    except Exception as error:
        print(error)
"""


def test_a_missing_plug_in_is_named() -> None:
    found = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True).stdout
    fix = "pip install 'progan[formats]'"
    lines = [f"not an image in a supported format: {name}; {fix}" for name in ("HEIC", "JPEG XL", "JPEG XL")]
    assert found.splitlines() == lines


@pytest.mark.parametrize(("head", "message"), [
    (b"%PDF-1.7", "PDF; render it"), (b"<?xml version='1.0'?>\n<svg>", "SVG; render it"),
    (b"SIMPLE  = T", "FITS; save it as PNG"), (b"FUJIFILMCCD-RAW", "camera raw; develop it"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera raw file; develop it"),
    (b"v/1\x01", "OpenEXR; it has no white"), (b"\xd7\xcd\xc6\x9a", "WMF; render it"),
])  # fmt: skip
def test_what_is_no_picture_of_pixels_is_named(head: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(head)


def test_suffixes_say_what_to_do() -> None:
    assert formats.why_left_out(".CR2") == "camera raw; develop it to JPEG or to TIFF with 8 or 16 bits"
    assert formats.why_left_out(".svg") == "SVG; render it to PNG or JPEG in the wanted size"
    assert {".avif", ".jp2", ".tga", ".qoi", ".jpg"} <= formats.READABLE_SUFFIXES
    assert [formats.why_left_out(suffix) for suffix in (".jpg", ".txt", "")] == [None, None, None]


@pytest.mark.parametrize(("kind", "share"), [("WEBP", 2), ("JPEG2000", 5)])
def test_formats_whose_decoders_need_more_memory_have_a_lower_limit(monkeypatch, kind: str, share: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind)
    for limit, taken in ((256 * share, True), (256 * share - 1, False)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        if taken:
            assert decode(file.getvalue()).size == (16, 16)
        else:
            with pytest.raises(DataError, match=r"too large .*\(256 pixels\) exceeds limit of 255 pixels"):
                decode(file.getvalue())
