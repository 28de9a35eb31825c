"""One picture for one sample."""

from collections.abc import Sequence

import pytest

from progan.data.sources.samples import pick_members
from progan.errors import DataError

TWO = ("a", "b")


def picked(names: Sequence[str], sides: Sequence[str] = (), member: str = "", sizes: bool = False) -> list[str]:
    names = sorted(names)

    def size(row: int) -> tuple[int, int] | None:
        number = "".join(filter(str.isdigit, names[row].partition("x")[0] if sizes else ""))
        return (int(number), int(number)) if number else (7, 7)

    return [names[row] for row in pick_members(names, sides=sides, size=size, member=member).rows]


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ([f"{k}.jpg" for k in TWO] + [f"{k}.seg.png" for k in TWO], ["a.jpg", "b.jpg"]),
        ([f"{k}.jpg" for k in TWO] + [f"{k}.png" for k in TWO], ["a.jpg", "b.jpg"]),
        (["a.png", "a_mask.png", "b.png"], ["a.png", "b.png"]),
        (["a.png", "a_mask.png", "b.jpg", "c.jpg", "d.jpg"], ["a.png", "b.jpg", "c.jpg", "d.jpg"]),
        (["a.png", "a-thumb.jpg", "b.png", "b-thumb.jpg"], ["a.png", "b.png"]),
        ([f"{d}/{k}.png" for d in ("images", "masks") for k in TWO], ["images/a.png", "images/b.png"]),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png"], ["JPEGImages/a.jpg"]),
        ([f"{c}/{d}/1.png" for c in ("cat", "dog") for d in ("img", "depth")], ["cat/img/1.png", "dog/img/1.png"]),
        (["1.png", "masks/1.png", "2.png", "masks/2_mask.png"], ["1.png", "2.png"]),
        ([f"{c}/{k}_{what}.png" for c in "xy" for k in TWO for what in ("depth", "rgb")],
         ["x/a_rgb.png", "x/b_rgb.png", "y/a_rgb.png", "y/b_rgb.png"]),
        (["a_rgb.png", "a_mask.png", "b.png", "c.png", "d_rgb.png"], ["a_rgb.png", "b.png", "c.png", "d_rgb.png"]),
        ([f"leftImg8bit/u/{k}_leftImg8bit.png" for k in TWO]
         + [f"gtFine/u/{k}_gtFine_{what}.png" for k in TWO for what in ("color", "instanceIds", "labelIds")],
         ["leftImg8bit/u/a_leftImg8bit.png", "leftImg8bit/u/b_leftImg8bit.png"]),
        (["images/a.jpg", "annotations/trimaps/a.png", "images/b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        (["img/a.png", "masks/a_mask.png", "masks/a_mask2.png", "img/b.png"], ["img/a.png", "img/b.png"]),
        ([f"x/{k}.{what}.png" for k in TWO for what in ("target", "input")], ["x/a.target.png", "x/b.target.png"]),
        (["images1024x1024/0/a.png", "thumbnails128x128/0/a.png"], ["images1024x1024/0/a.png"]),
    ],
)  # fmt: skip
def test_the_picture_itself_is_used(names: list[str], kept: list[str]) -> None:
    assert picked(names) == kept


@pytest.mark.parametrize(
    ("names", "member", "kept"),
    [
        (["a.jpg", "a.seg.png", "b.jpg", "b.seg.png"], "seg", ["a.seg.png", "b.seg.png"]),
        (["a.jpg", "a.seg.png", "b.jpg", "b.seg.png"], "seg.png", ["a.seg.png", "b.seg.png"]),
        (["a.png", "a_mask.png", "b.png"], "mask", ["a_mask.png"]),
        (["images/a.png", "masks/a.png"], "masks", ["masks/a.png"]),
    ],
)
def test_another_member_can_be_chosen(names: list[str], member: str, kept: list[str]) -> None:
    assert picked(names, member=member) == kept


def test_a_member_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"--member x: no sample has such a picture\n  found: 1 images, 1 masks"):
        picked(["images/a.png", "masks/a.png"], member="x")


@pytest.mark.parametrize(
    "names",
    [
        ["small/1.png", "large/1.png", "masks/2.png"],  # classes with equal names of files
        ["maps/1.png", "photos/1.png"],
        ["shot.01.png", "shot.02.png", "shot.png"],
        ["a.b.png", "a.c.png", "d.png"],
        ["1/x.png", "2/x.png", "10/x.png"],
        ["a_64.png", "a_128.png"],  # not of these sizes
        ["a.png", "b_mask.png"],
        ["cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png"],
        ["0.left.png", "0.right.png", "1.left.png"],
        ["a.png", "a_color.png", "b.png", "b_color.png"],
        ["a_rgb.png", "b_depth.png"],
    ],
)
def test_pictures_of_their_own_are_all_used(names: list[str]) -> None:
    assert picked(names) == sorted(names)


def test_label_files_show_where_the_key_of_a_sample_ends() -> None:
    names = [f"{k}.{side}.png" for k in range(3) for side in ("left", "right")]
    assert picked(names, sides=["0", "1", "2"]) == ["0.left.png", "1.left.png", "2.left.png"]
    names = [f"{k}.{side}.png" for k in range(3) for side in ("panorama", "mask")]
    assert picked(names, sides=["0", "1", "2"]) == ["0.panorama.png", "1.panorama.png", "2.panorama.png"]
    names = ["shot.01.png", "shot.02.png", "other.png"]
    assert picked(names, sides=["shot.01", "shot.02", "other"]) == sorted(names)


@pytest.mark.parametrize("name", ["{s}/{k}.png", "{s}x{s}/{k}.png", "{k}_{s}.png", "{k}-{s}x{s}.png", "s{s}/x/{k}.png"])
def test_the_largest_of_several_sizes_is_used(name: str) -> None:
    names = [name.format(s=s, k=k) for s in (32, 128, 64) for k in TWO]
    assert picked(names, sizes=True) == sorted(name.format(s=128, k=k) for k in TWO)
    assert picked(names, sizes=True, member="64") == sorted(name.format(s=64, k=k) for k in TWO)
