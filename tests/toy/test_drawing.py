"""What a panel shows, pixel by pixel."""

import numpy as np
import pytest

from progan.toy.data import DISTRIBUTIONS
from progan.toy.drawing import FOOT, GAP, HEAD, SIDE, film, panel, side_by_side
from progan.toy.measure import coverage
from progan.toy.training import EXTENT, FIELD, Moment, Result

RING, MOONS = DISTRIBUTIONS["ring"], DISTRIBUTIONS["moons"]


def moment(points: list, known=RING, step: int = 0) -> Moment:
    """D's score rises from left to right."""
    field = np.linspace(-1, 1, FIELD)[None].repeat(FIELD, 0)
    where = np.array(points, np.float32).reshape(-1, 2)
    return Moment(step=step, points=where, field=field, coverage=coverage(where, known))


def at(picture: np.ndarray, x: float, y: float) -> tuple[int, int, int]:
    """Color at a point of the plane."""
    column, row = (int((c / EXTENT + 1) * SIDE / 2) for c in (x, -y))
    return tuple(picture[HEAD + row, column].tolist())


def test_points_modes_and_scores_are_where_they_belong() -> None:
    drawn = np.asarray(panel(moment([[0.3, 0.6], [0, 1], [np.nan, 0], [99, 0]]), RING, "title"))
    assert drawn.shape == (HEAD + SIDE, SIDE, 3)
    assert at(drawn, 0.3, 0.6) == (120, 20, 90)
    rim = 8 / (SIDE / 2) * EXTENT  # of a mode's circle
    assert at(drawn, 0, 1 + rim) == (0, 130, 60)  # covered
    assert at(drawn, 0, -1 + rim) == (130, 130, 130)  # lost
    left, right = at(drawn, -1.4, 0), at(drawn, 1.4, 0)
    assert left[0] < 200 < left[2]  # blue
    assert right[2] < 200 < right[0]  # orange
    assert np.all(np.abs(np.subtract(at(drawn, 0, 0), 255)) < 5)


def test_segments_of_a_curve_are_green_if_covered() -> None:
    middle, parts = MOONS.middle()
    drawn = np.asarray(panel(moment([middle[parts == 3][20]], MOONS), MOONS, "title"))
    assert at(drawn, *middle[parts == 3][40]) == (0, 130, 60)
    assert at(drawn, *middle[parts == 8][40]) == (130, 130, 130)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 5, 1), (6, 4, 2), (11, 4, 3)])
def test_panels_are_arranged_in_rows(count: int, columns: int, rows: int) -> None:
    drawn = panel(moment([[0, 0]]), RING, "title")
    size = side_by_side([drawn] * count).size
    assert size == (columns * (SIDE + GAP) - GAP, rows * (SIDE + HEAD + GAP) + FOOT)


def test_a_film_shows_every_moment_and_then_the_last_one_for_a_while() -> None:
    moments = tuple(moment([[0.1 * step, 0]], step=step) for step in range(3))
    result = Result(coverage=moments[-1].coverage, seconds=0.0, moments=moments)
    frames = list(film([result, result], RING, ["one", "two"], hold=2))
    assert len(frames) == 5
    assert np.array_equal(frames[2], frames[3])
    assert np.array_equal(frames[2], frames[4])
    assert not np.array_equal(frames[0], frames[1])
    single = np.asarray(panel(moments[1], RING, "two"))
    assert np.array_equal(frames[1][: HEAD + SIDE, SIDE + GAP :], single)
