"""Every mode, depth and layout of PNG, TIFF and BMP against OpenCV and tifffile.

Where these disagree, the specification decides.
"""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from progan.data.decoding import decode, peek
from progan.errors import DataError
from references import image_writers as write
from references.decoders import as_rgba, opencv, rgba, samples, shown

SIZE = (13, 19)


PNGS = [(0, bits, 1) for bits in (1, 2, 4, 8, 16)] + [
    (2, 8, 3),
    (2, 16, 3),
    (4, 8, 2),
    (4, 16, 2),
    (6, 8, 4),
    (6, 16, 4),
]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("color", "bits", "channels"), PNGS)
def test_png(color: int, bits: int, channels: int, interlaced: bool) -> None:
    deep = samples(channels, bits)
    data = write.png(deep, bits, color, interlaced=interlaced)
    eight = deep >> 8 if bits == 16 and channels > 1 else np.rint(deep * (255 / ((1 << bits) - 1)))
    count = 3 if channels > 2 else 1
    alpha = eight[..., -1] if color in (4, 6) else None
    np.testing.assert_array_equal(rgba(data), as_rgba(eight[..., :count], alpha))
    assert peek(data) == (color in (0, 4), SIZE)
    other = opencv(data)  # 16 bits as they are; gray with alpha as RGBA
    wanted = deep if bits == 16 else eight
    np.testing.assert_array_equal(other, (wanted if color != 4 else wanted[..., [0, 0, 0, 1]]).squeeze())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("color", "bits", "channels"), PNGS[:7])
def test_png_with_a_transparent_color(color: int, bits: int, channels: int, interlaced: bool) -> None:
    """The key is compared with all bits of the samples (PNG specification, section 11.3.2.1)."""
    deep = samples(channels, bits)
    key = deep[4, 5].copy()
    if bits == 16:  # a color that differs from the key in the lower byte is not transparent
        deep[2, :9] = key ^ 1
    deep[3, :9] = key
    high = 0x0F00 if bits < 16 else 0  # bits of the key beyond those of the samples do not count
    data = write.png(
        deep, bits, color, interlaced=interlaced, more=write.chunk(b"tRNS", (key | high).astype(">u2").tobytes())
    )
    unseen = (deep == key).all(2)
    eight = deep >> 8 if bits == 16 and channels > 1 else np.rint(deep * (255 / ((1 << bits) - 1)))
    wanted = shown(as_rgba(eight, np.where(unseen, 0, 255)))
    assert np.abs(shown(rgba(data)) - wanted).max() <= (1 if bits == 16 else 0)  # gray with alpha: the upper byte
    assert unseen.sum() >= 9
    assert not unseen.all()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_with_a_palette(bits: int, interlaced: bool) -> None:
    index = samples(1, bits)[..., 0]
    colors = samples(4, 8, (1, 1 << bits))[0]
    more = write.chunk(b"PLTE", colors[:, :3].astype(np.uint8).tobytes())
    for alpha in (b"", colors[: 1 << bits >> 1, 3].astype(np.uint8).tobytes()):  # the others are opaque
        data = write.png(
            index[..., None],
            bits,
            3,
            interlaced=interlaced,
            more=more + (write.chunk(b"tRNS", alpha) if alpha else b""),
        )
        full = np.full(1 << bits, 255)
        full[: len(alpha)] = list(alpha)
        wanted = as_rgba(colors[index][..., :3], full[index])
        np.testing.assert_array_equal(rgba(data), wanted)
        np.testing.assert_array_equal(opencv(data), wanted if alpha else wanted[..., :3])


TIFFS = list(itertools.product((1, 5, 8, 32773), (False, True), (None, (16, 32)), "<>", (False, True)))
LAYOUTS = [
    (1, 1, ()), (1, 0, ()), (2, 1, (2,)), (2, 1, (1,)), (3, 2, ()), (4, 2, (0,)), (4, 2, (2,)), (4, 2, (1,)),
    (4, 2, ()),
    (5, 2, (0, 2)), (5, 2, (2, 0)), (4, 5, ()), (5, 5, (0,)),
]  # fmt: skip


def tiff_colors(deep: np.ndarray, bits: int, color: int, extra: tuple[int, ...]) -> np.ndarray:
    """The pixels on white [H, W, 3], after TIFF 6.0: exact fractions of the samples' range."""
    part = deep / ((1 << bits) - 1)
    count = {0: 1, 1: 1, 2: 3, 5: 4}[color]
    found = 1 - part[..., :1] if color == 0 else part[..., :count]
    if color == 5:
        found = (1 - found[..., :3]) * (1 - found[..., 3:])
    kinds = extra or (
        (2,) if (deep.shape[2], color) == (4, 2) else ()
    )  # RGBA without the tag, as older programs write it
    if alphas := [i for i, kind in enumerate(kinds) if kind]:
        alpha = part[..., [count + alphas[0]]]
        found = found * (1 if kinds[alphas[0]] == 1 else alpha) + 1 - alpha
    return 255 * np.broadcast_to(found, (*deep.shape[:2], 3))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("channels", "color", "extra"), LAYOUTS)
def test_tiff_of_every_layout(bits: int, channels: int, color: int, extra: tuple[int, ...]) -> None:
    """tifffile unpacks what it can without its codecs; the meaning of the samples is the specification's."""
    tifffile = pytest.importorskip("tifffile")
    deep = samples(channels, bits, (19, 37))
    if 1 in extra:
        deep[..., :-1] = np.minimum(deep[..., :-1], deep[..., -1:])
    wanted = tiff_colors(deep, bits, color, extra)
    for compression, planar, tile, order, predictor in TIFFS:
        if (planar and channels == 1) or (predictor and compression in (1, 32773)):
            continue
        layout = {"planar": planar, "tile": tile, "compression": compression, "order": order, "predictor": predictor}
        data = write.tiff(deep, bits, color, extra=extra, **layout)
        assert np.abs(shown(rgba(data)) - wanted).max() <= (2.5 if color == 5 or channels % 3 else 1), layout
        if compression in (1, 8):
            found = tifffile.imread(io.BytesIO(data))
            np.testing.assert_array_equal(found.transpose(1, 2, 0) if planar else found.reshape(deep.shape), deep)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 14])
@pytest.mark.parametrize(("channels", "color"), [(1, 1), (1, 0), (3, 2)])
def test_tiff_of_few_bits(bits: int, channels: int, color: int) -> None:
    deep = samples(channels, bits)
    wanted = tiff_colors(deep, bits, color, ())
    for order, planar, reverse in itertools.product("<>", (False, True), (False, True)):
        data = write.tiff(deep, bits, color, order=order, planar=planar and channels > 1, reverse=reverse)
        assert np.abs(shown(rgba(data)) - wanted).max() < 0.51
    if bits == 1 and channels == 1:  # OpenCV reads no others
        np.testing.assert_array_equal(opencv(data), wanted[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_with_a_palette(bits: int) -> None:
    index, palette = samples(1, bits), samples(3, 16, (1, 1 << bits))[0]
    data = write.tiff(index, bits, 3, palette=palette)
    assert peek(data) == (False, SIZE)
    np.testing.assert_array_equal(rgba(data)[..., :3], palette[index[..., 0]] >> 8)
    if bits == 8:
        np.testing.assert_array_equal(rgba(data)[..., :3], opencv(data)[..., :3])


@pytest.mark.parametrize(("kind", "mode"), [
    ("group3", "1"), ("group4", "1"), ("jpeg", "L"), ("jpeg", "RGB"), ("jpeg", "YCbCr"), ("tiff_lzw", "YCbCr"),
])  # fmt: skip
def test_tiff_whose_colors_libtiff_converts(kind: str, mode: str) -> None:
    image = Image.fromarray(samples(3, 8, (32, 48)).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF", compression=kind)
    found, other = rgba(file.getvalue())[..., :3], opencv(file.getvalue())
    np.testing.assert_array_equal(found, other if other.ndim == 3 else other[..., None].repeat(3, 2))


@pytest.mark.parametrize(("layout", "message"), [
    ({"kind": 2, "bits": 8}, "signed samples of 8 bits"),
    ({"kind": 2, "bits": 16}, "negative samples"),
    ({"kind": 3, "bits": 32}, "floating-point"),
    ({"kind": 1, "bits": 32}, "more than 16 bits"),
    ({"color": 8, "channels": 3}, r"colors are CIE L\*a\*b\*; save it as gray or RGB"),
    ({"color": 1, "channels": 2}, "a gray TIFF with 1 further channel"),
    ({"color": 1, "channels": 5, "extra": (0, 0, 0, 0)}, "a gray TIFF with 4 further channels of unknown meaning"),
    ({"color": 32803}, "camera raw file; develop it"),
    ({"more": ((50706, 1, [1, 4, 0, 0]),)}, "camera raw file; develop it"),
    ({"more": ((254, 4, [1]), (330, 4, [8]))}, "camera raw file; develop it"),
])  # fmt: skip
def test_tiffs_that_have_no_defined_colors_are_refused(layout: dict, message: str) -> None:
    layout = {"bits": 8, "color": 1, "channels": 1} | layout
    deep = samples(layout.pop("channels"), layout["bits"])
    with pytest.raises(DataError, match=message) as error:
        decode(write.tiff(deep, layout.pop("bits"), layout.pop("color"), **layout))
    assert "\n" not in str(error.value)


def test_signed_tiff_without_negative_numbers_has_15_bits() -> None:
    deep = samples(1, 15)
    np.testing.assert_array_equal(rgba(write.tiff(deep, 16, 1, kind=2))[..., 0], np.rint(deep[..., 0] * (255 / 32767)))


MASKS = [
    (16, (0x7C00, 0x3E0, 0x1F, 0)), (16, (0xF800, 0x7E0, 0x1F, 0)), (16, (0x1F, 0x7E0, 0xF800, 0)),
    (16, (0xF00, 0xF0, 0xF, 0xF000)), (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0)), (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)), (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "masks"), MASKS)
def test_bmp_with_masks(bits: int, masks: tuple[int, ...]) -> None:
    """Every channel is scaled to 0 ... 255; OpenCV shifts 5 bits only, and ffmpeg knows no alpha of 16 bits."""
    values = samples(1, bits)[..., 0].astype(np.int64)
    for header, packing, down in (
        (40, 3, False),
        (40, 6, False),
        (52, 3, True),
        (56, 3, False),
        (108, 3, False),
        (124, 3, True),
    ):
        given = masks if packing == 6 or header > 52 else masks[:3]
        channels = [((values & mask) / mask * 255) if mask else values * 0 + 255 for mask in (*given, 0)[:4]]
        data = write.bmp(values, bits, header=header, packing=packing, masks=given, down=down)
        found = rgba(data)
        assert np.abs(found - np.stack(channels, 2)).max() < 0.51
        if header == 124 and bits == 32:
            assert np.abs(found[..., :3] - opencv(data)[..., :3]).max() <= 1


def test_bmp_whose_alpha_is_0_everywhere_has_none() -> None:
    values = samples(1, 24)[..., 0]
    data = write.bmp(values, 32, header=108, packing=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    assert decode(data).mode == "RGB"
    values[0, 0] |= 1 << 31
    assert (
        decode(write.bmp(values, 32, header=108, packing=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))).mode == "RGBA"
    )


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 24, 32])
def test_bmp_without_masks(bits: int, down: bool) -> None:
    """The fourth byte of 32 bits is no alpha (as OpenCV; ffmpeg takes it for alpha, which the format does not have)."""
    if bits == 24:
        pixels = samples(3, 8)
        data, wanted = write.bmp(pixels, 24, down=down), pixels[..., ::-1]
    elif bits == 32:
        pixels = samples(4, 8).astype(np.uint8)
        data, wanted = write.bmp(pixels.view("<u4")[..., 0], 32, down=down), pixels[..., 2::-1]
    else:
        colors, index = samples(4, 8, (3, 1 << bits))[2].astype(np.uint8), samples(1, bits)[..., 0]
        data, wanted = write.bmp(index, bits, palette=colors.tobytes(), down=down), colors[index][..., 2::-1]
        assert not peek(data)[0]
        ramp = np.rint(np.linspace(0, 255, 1 << bits))[:, None].repeat(4, 1).astype(np.uint8)
        assert peek(write.bmp(index, bits, palette=ramp.tobytes()))[0]
    np.testing.assert_array_equal(rgba(data)[..., :3], wanted)
    assert decode(data).mode == "RGB"
    if bits != 2:  # OpenCV does not read it
        np.testing.assert_array_equal(opencv(data)[..., :3], wanted)
