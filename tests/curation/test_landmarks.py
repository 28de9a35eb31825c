from pathlib import Path

import numpy as np
import pytest

from progan.curation.landmarks import POINTS, points_of, read_landmarks
from progan.errors import DataError

COLUMNS = [f"{point}_{axis}" for point in POINTS for axis in "xy"]
NUMBERS = " ".join(str(n) for n in range(1, 11))


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_celeba_list(tmp_path: Path) -> None:
    path = write(
        tmp_path / "list.txt", "2", " ".join(COLUMNS) + " ", f"000001.jpg {NUMBERS}", f"000002.jpg   {NUMBERS}"
    )
    faces = read_landmarks(path)
    assert list(faces) == ["000001.jpg", "000002.jpg"]
    np.testing.assert_array_equal(faces["000002.jpg"], np.arange(1.0, 11).reshape(5, 2))


@pytest.mark.parametrize(
    "header",
    [
        "file," + ",".join(COLUMNS),
        "image_id," + ",".join(COLUMNS),
        "filename,width," + ",".join(COLUMNS).replace("lefteye", "left_eye").replace("rightmouth", "mouth_right"),
    ],
)
def test_csv_with_usual_columns(tmp_path: Path, header: str) -> None:
    extra = "7," if "width" in header else ""
    faces = read_landmarks(write(tmp_path / "a.csv", header, f"a b.jpg,{extra}" + NUMBERS.replace(" ", ",")))
    np.testing.assert_array_equal(faces["a b.jpg"], np.arange(1.0, 11).reshape(5, 2))


def test_columns_may_have_any_order(tmp_path: Path) -> None:
    header = ",".join([*reversed(COLUMNS), "file"])
    faces = read_landmarks(write(tmp_path / "a.csv", header, ",".join(str(n) for n in range(10, 0, -1)) + ",1.jpg"))
    np.testing.assert_array_equal(faces["1.jpg"], np.arange(1.0, 11).reshape(5, 2))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["3", " ".join(COLUMNS), f"1.jpg {NUMBERS}"], "truncated.*\n.*found: 1 faces, expected 3"),
        (["1", "a b c", f"1.jpg {NUMBERS}"], "line 2: expected lefteye_x"),
        (["1", " ".join(COLUMNS), "1.jpg 1 2 3"], "line 3: expected a name and ten numbers"),
        (["file,x,y", "1.jpg,1,2"], "not a table of landmarks\n.*missing lefteyex"),
        (["file," + ",".join(COLUMNS)], "no landmarks\n.*found: 0 faces"),
        (
            ["file," + ",".join(COLUMNS), "1.jpg," + "nan," * 9 + "1"],
            "line 2: the name is missing, or landmarks are not finite",
        ),
        (["file," + ",".join(COLUMNS), "1.jpg,5"], "line 2: expected 11 columns, found 2"),
        (["file," + ",".join(COLUMNS), *["1.jpg," + NUMBERS.replace(" ", ",")] * 2], "line 3: duplicate name 1.jpg"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_landmarks(write(tmp_path / "file", *lines))


def test_pictures_are_found_by_path_or_by_file_name() -> None:
    a, b = np.zeros((5, 2)), np.ones((5, 2))
    found = points_of({"x/1.jpg": a, "2.jpg": b, "3.jpg": b}, ["x/1.jpg", "y/2.jpg", "x/3.jpg", "y/3.jpg", "4.jpg"])
    assert found[0] is a
    assert found[1] is b
    assert found[2:] == [None] * 3  # whose 3.jpg it is, nobody knows
