import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.data.pixels import Plan, decode, peek, to_pixels
from progan.errors import DataError
from references import store_reference as reference
from references.image_files import encoded, noise


def plan(height: int = 16, width: int = 16, channels: int = 3, **changes) -> Plan:
    defaults = {"box": None, "center": False, "fit": "crop", "filter": "lanczos", "upscale": False}
    return Plan(height=height, width=width, channels=channels, **(defaults | changes))


def as_png(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_alpha_is_composited_over_white_unless_asked_for(channels: int) -> None:
    pixels = noise(16, 16, 4)
    found = to_pixels(decode(encoded(pixels)), plan(channels=channels))
    flat = reference.over_white(pixels[:, :, :3], pixels[:, :, 3])
    if channels == 1:
        weights = np.array([0.299, 0.587, 0.114])
        assert np.abs(found[:, :, 0] - flat @ weights).max() < 1
    else:
        np.testing.assert_array_equal(found, flat if channels == 3 else pixels)


def test_grey_with_alpha() -> None:
    grey, alpha = noise(16, 16, 1, seed=1), noise(16, 16, 1, seed=2)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    assert peek(as_png(image)) == (True, (16, 16))
    found = to_pixels(decode(as_png(image)), plan(channels=1))
    np.testing.assert_array_equal(found, reference.over_white(grey[:, :, None], alpha))
    found = to_pixels(decode(as_png(image)), plan(channels=3))
    np.testing.assert_array_equal(found, reference.over_white(grey[:, :, None], alpha).repeat(3, 2))


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_images_count_as_their_colors(transparent: bool, kind: str) -> None:
    colors = noise(1, 8, 3)[0]
    index = np.random.default_rng(5).integers(0, 8, (16, 16), np.uint8)
    image = Image.frombytes("P", (16, 16), index.tobytes())
    image.putpalette(colors.tobytes())
    data = as_png(image, kind, **({"transparency": 3} if transparent else {}))
    assert peek(data)[0] is False
    wanted = colors[index]
    if transparent:
        wanted = np.where((index == 3)[:, :, None], 255, wanted)
    np.testing.assert_array_equal(to_pixels(decode(data), plan()), wanted)
    if transparent:
        alpha = to_pixels(decode(data), plan(channels=4))[:, :, 3]
        np.testing.assert_array_equal(alpha, np.where(index == 3, 0, 255))


def test_color_key_of_grey_and_rgb_is_alpha() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = to_pixels(decode(encoded(grey, transparency=7)), plan(channels=1))[:, :, 0]
    np.testing.assert_array_equal(found, np.where(grey == 7, 255, grey))
    color = np.stack([grey, grey, grey], 2)
    found = to_pixels(decode(encoded(color, transparency=(9, 9, 9))), plan())
    np.testing.assert_array_equal(found, np.where(color == 9, 255, color))


def test_16_bit_grey_is_scaled() -> None:
    grey = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    grey[0, :4] = 0, 65535, 128, 129
    for kind in ("PNG", "TIFF"):
        data = encoded(grey, kind)
        assert peek(data)[0] is True
        np.testing.assert_array_equal(to_pixels(decode(data), plan(channels=1))[:, :, 0], reference.eight_bit(grey))


def test_bits_and_floats() -> None:
    bits = Image.fromarray(noise(16, 16, 1) > 127)
    np.testing.assert_array_equal(np.asarray(decode(as_png(bits))), np.asarray(bits) * np.uint8(255))
    with pytest.raises(DataError, match="floating-point"):
        decode(encoded(np.zeros((8, 8), np.float32), "TIFF"))
    with pytest.raises(DataError, match="more than 16 bits"):
        decode(encoded(np.full((8, 8), 70000, np.int32), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, :, 0] = 255  # cyan
    data = as_png(Image.frombytes("CMYK", (16, 16), ink.tobytes()), "TIFF")
    np.testing.assert_array_equal(to_pixels(decode(data), plan()), np.broadcast_to([0, 255, 255], (16, 16, 3)))


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_exif_rotation_is_applied_before_the_crop(orientation: int, turn) -> None:
    pixels = noise(16, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(encoded(pixels, exif=exif.tobytes()))
    np.testing.assert_array_equal(np.asarray(upright), turn(pixels))
    part = to_pixels(upright, plan(8, 8, box=(1, 2, 8, 8)))
    np.testing.assert_array_equal(part, turn(pixels)[2:10, 1:9])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_images_are_detected(tmp_path: Path, kind: str) -> None:
    data = encoded(noise(64, 64), kind)
    (tmp_path / "x.img").write_bytes(data[: len(data) * 2 // 3])
    for payload in (tmp_path / "x.img", data[: len(data) * 2 // 3], data[:20]):
        with pytest.raises(
            DataError, match=r"broken image|not an image in a supported format \(JPEG, PNG, .*PPM|cannot be opened"
        ):
            decode(payload)


@pytest.mark.parametrize(("size", "target"), [((40, 64), (16, 16)), ((64, 40), (16, 16)), ((64, 64), (16, 32))])
@pytest.mark.parametrize("filter", ["lanczos", "box"])
def test_crop_takes_the_centre_at_the_aspect_ratio(size: tuple, target: tuple, filter: str) -> None:
    pixels = noise(*size)
    found = to_pixels(decode(encoded(pixels)), plan(*target, filter=filter))
    part = reference.center_crop(pixels, *target)
    kind = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}[filter]
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(part).resize(target[::-1], kind)))
    if filter == "box" and part.shape[0] % target[0] == 0:
        exact = reference.box_level(part, part.shape[0] // target[0])
        assert np.abs(found.astype(int) - exact).max() <= 1


def test_image_of_the_right_size_is_kept_and_stretch_distorts() -> None:
    pixels = noise(16, 16)
    np.testing.assert_array_equal(to_pixels(decode(encoded(pixels)), plan()), pixels)
    wide = noise(32, 64)
    found = to_pixels(decode(encoded(wide)), plan(fit="stretch"))
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(wide).resize((16, 16), Image.Resampling.LANCZOS)))
    center = to_pixels(decode(encoded(wide)), plan(fit="stretch", center=True))
    np.testing.assert_array_equal(center, to_pixels(decode(encoded(wide)), plan()))


def test_pad_centres_on_black_and_shrinks_only_what_is_too_large() -> None:
    digit = noise(28, 28, 1)
    found = to_pixels(decode(digit), plan(32, 32, 1, fit="pad"))
    np.testing.assert_array_equal(found, reference.pad_center(digit[:, :, None], 32))
    tall = to_pixels(decode(noise(64, 32)), plan(16, 16, fit="pad"))
    assert not tall[:, :4].any()
    assert not tall[:, 12:].any()
    assert tall[:, 4:12].any((1, 2)).all()
    opaque = to_pixels(decode(encoded(noise(28, 28, 4))), plan(32, 32, 4, fit="pad"))
    assert opaque[0, 0].tolist() == [0, 0, 0, 255]


def test_too_small_images_are_named_with_both_sizes() -> None:
    with pytest.raises(DataError, match=r"8x8 pixels .* smaller than the requested 16x16; add --upscale"):
        to_pixels(decode(noise(8, 30)), plan())
    assert to_pixels(decode(noise(8, 30)), plan(upscale=True)).shape == (16, 16, 3)
    with pytest.raises(DataError, match=r"only 20x20 pixels .* --crop 5,6,16,16 requires at least 22x21"):
        to_pixels(decode(noise(20, 20)), plan(box=(5, 6, 16, 16)))


def test_workers_do_not_load_torch() -> None:
    code = "import sys, progan.data.pixels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("filter", ["lanczos", "box"])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_colors_count_by_their_alpha_when_images_are_resized(filter: str, fit: str) -> None:
    pixels = noise(48, 48, 4)
    pixels[:, :, 3] = np.choose(noise(48, 48, 1, seed=3) % 4, [0, 1, pixels[:, :, 3], 255])  # much is faint
    pixels[:20, :20, 3] = 0
    found = to_pixels(Image.fromarray(pixels), plan(12, 12, 4, filter=filter, fit=fit)).astype(float)
    alpha = reference.resized(pixels[:, :, 3:], 12, 12, filter)
    color = reference.resized(pixels[:, :, :3] * (pixels[:, :, 3:] / 255), 12, 12, filter) * 255
    seen = alpha[:, :, 0] >= 0.5
    assert 0 < (~seen).sum() < 100
    assert np.abs(found[:, :, 3:] - alpha.clip(0, 255)).max() < 0.501  # rounded once
    assert np.abs(found[:, :, :3] - (color / np.maximum(alpha, 0.5)).clip(0, 255))[seen].max() < 0.501
    plain = reference.resized(pixels[:, :, :3], 12, 12, filter).clip(0, 255)
    assert np.abs(found[:, :, :3] - plain)[~seen].max() <= 1  # Pillow rounds twice


def test_opaque_images_with_alpha_are_resized_as_without() -> None:
    pixels = noise(40, 40, 4)
    pixels[:, :, 3] = 255
    found = to_pixels(Image.fromarray(pixels), plan(channels=4))
    np.testing.assert_array_equal(found[:, :, :3], to_pixels(Image.fromarray(pixels[:, :, :3]), plan()))
    assert (found[:, :, 3] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(("height", "width"), [(1, 40), (40, 1)])
def test_a_strip_that_is_cropped_to_the_other_shape_keeps_a_pixel(mode: str, height: int, width: int) -> None:
    image = Image.fromarray(noise(height, width)).convert(mode)
    found = to_pixels(image, plan(width, height, 4, upscale=True, filter="box"))
    assert found.shape == (width, height, 4)
    assert len(np.unique(found.reshape(-1, 4), axis=0)) == 1
    assert found[0, 0].tolist() in np.asarray(image.convert("RGBA")).reshape(-1, 4).tolist()


@pytest.mark.parametrize("filter", ["box", "lanczos"])
def test_resizing_with_alpha_does_not_depend_on_how_many_rows_are_done_at_a_time(
    filter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, how = Image.fromarray(noise(50, 30, 4)), plan(13, 17, 4, fit="stretch", filter=filter)
    whole = to_pixels(image, how)
    monkeypatch.setattr("progan.data.pixels._PART", 100)
    np.testing.assert_array_equal(to_pixels(image, how), whole)


def test_a_side_of_more_than_a_million_pixels_is_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (1 << 21, 1)).save(file, "PNG")
    with pytest.raises(DataError, match="a side of 2097152 pixels, more than the 1048576 allowed"):
        decode(file.getvalue())
