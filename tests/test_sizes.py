import pytest

from progan.data.levels import level_sizes
from progan.errors import ConfigError
from progan.sizes import check_growable, growable, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", (64, 64)),
        ("64x128", (64, 128)),
        ("256X64", (256, 64)),
        ("1", (1, 1)),
        ("28", (28, 28)),
        ("60x90", (60, 90)),
    ],
)
def test_sizes_are_height_by_width(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "-64", "6.4", "1x2x4"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="resolution must look like 64 or 64x128"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0", "0x4", "4x0"])
def test_a_side_has_at_least_one_pixel(text: str) -> None:
    with pytest.raises(ConfigError, match="both sides must be at least 1"):
        parse_size(text)


@pytest.mark.parametrize("size", [(4, 4), (8, 24), (256, 64), (1024, 1024)])
def test_networks_grow_to_these(size: tuple[int, int]) -> None:
    assert check_growable(*size) == size


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((100, 100), "resolution 100x100: the shorter side must be a power of two, at least 4; try 64 or 128"),
        ((128, 96), "128x96: the shorter side must be a power of two, at least 4; try 64 or 128"),
        ((2, 2), "at least 4; try 4 or 8"),
        ((64, 100), "resolution 64x100: the longer side must be a multiple of the shorter one"),
    ],
)
def test_sizes_that_cannot_grow_say_what_to_type(size: tuple[int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_growable(*size)


def test_growable_sizes_come_from_doubling_a_shorter_side_of_4() -> None:
    reached = {
        size
        for k in range(6)
        for m in range(1, 40)
        for size in [(4 << k, m * (4 << k)), (m * (4 << k), 4 << k)]
        if max(size) < 40
    }
    found = {(h, w) for h in range(1, 40) for w in range(1, 40) if growable(h, w)}
    assert found == reached
    for height in range(1, 40):
        for width in range(1, 40):
            sizes = level_sizes(height, width)
            assert sizes[0] == (height, width)
            assert (min(sizes[-1]) == 4) or (height, width) not in reached
            assert len(sizes) == 1 or (height, width) in reached
