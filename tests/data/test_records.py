"""Sources without any files: beginnings of them, and several in a row."""

import numpy as np

from progan.data.columns import Column
from progan.data.records import Source, joined


def source(name: str, count: int, *columns: Column) -> Source:
    return Source(
        description=name,
        names=[f"{name}{i}" for i in range(count)],
        labels=None,
        classes=(),
        columns=columns,
        read=lambda positions: (f"{name}{i}".encode() for i in positions),
    )


def ages(*values: float) -> Column:
    kind = np.float32 if any(isinstance(value, float) for value in values) else np.int64
    return Column("age", np.array(values, kind))


def colors(numbers: list[int], *classes: str) -> Column:
    return Column("color", np.array(numbers, np.int64), classes)


def found(source: Source) -> dict[str, tuple[str, list, tuple[str, ...]]]:
    return {c.name: (str(c.values.dtype), c.values.tolist(), c.classes) for c in source.columns}


def test_first_images_keep_their_columns() -> None:
    place = Column("place", np.arange(6, dtype=np.float32).reshape(3, 2))
    all_of_it = source("a", 3, ages(1, 2, 3), place)
    assert found(all_of_it.first(2)) == {
        "age": ("int64", [1, 2], ()),
        "place": ("float32", [[0, 1], [2, 3]], ()),
    }
    assert all_of_it.first(3) is all_of_it


def test_joined_sources_keep_the_columns_that_all_have() -> None:
    here = source("a", 2, ages(1, 2), colors([0, 1], "green", "red"), Column("only here", np.zeros(2, np.int64)))
    there = source("b", 3, colors([1, 1, 0], "blue", "red"), ages(0.5, 1.5, 2.5))
    assert found(joined("both", [("x", "x", here), ("y", "y", there)])) == {
        "age": ("float32", [1, 2, 0.5, 1.5, 2.5], ()),
        "color": ("int64", [1, 2, 2, 2, 0], ("blue", "green", "red")),
    }


def test_columns_of_another_kind_are_left_out() -> None:
    for other in (Column("age", np.zeros(1, np.int64), ("1",)), Column("age", np.zeros((1, 2), np.int64))):
        assert not joined("both", [("x", "x", source("a", 1, ages(1))), ("y", "y", source("b", 1, other))]).columns
