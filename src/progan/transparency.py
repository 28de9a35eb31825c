"""Compositing of transparent pixels over white, for numpy and torch, without importing either."""

from typing import Any


def over_white(color: Any, alpha: Any) -> Any:
    """Composite a color over white, rounded to the nearest of 0 ... 255; there are no ties.

    Args:
        color: integers 0 ... 255 in an array or a tensor of an integer type that can represent 65535.
        alpha: opacity, 255 where the color covers the white; of the same type and a shape that broadcasts.

    >>> over_white(0, 51), over_white(100, 255)
    (204, 100)
    """
    return 255 - (alpha * (255 - color) + 127) // 255
