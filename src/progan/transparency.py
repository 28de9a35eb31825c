"""What a transparent pixel looks like before white; for numpy and torch alike, and without importing either."""

from typing import Any


def over_white(color: Any, alpha: Any) -> Any:
    """Color composited over white and rounded to the nearest of 0 ... 255; there are no ties.

    Args:
        color: of integers 0 ... 255, in an array or a tensor of an integer type that holds 65535.
        alpha: 255 where the color covers the white; of the same type, and of a shape that goes with it.

    >>> over_white(0, 51), over_white(100, 255)
    (204, 100)
    """
    return 255 - (alpha * (255 - color) + 127) // 255
