"""Sources without any files: beginnings of them, and several in a row."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from progan.data.columns import Column
from progan.data.records import Payload, Source, Table, categories, joined, numbered, within


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
    assert found(joined("both", [here, there])) == {
        "age": ("float32", [1, 2, 0.5, 1.5, 2.5], ()),
        "color": ("int64", [1, 2, 2, 2, 0], ("blue", "green", "red")),
    }


def test_columns_of_another_kind_are_left_out() -> None:
    for other in (Column("age", np.zeros(1, np.int64), ("1",)), Column("age", np.zeros((1, 2), np.int64))):
        assert not joined("both", [source("a", 1, ages(1)), source("b", 1, other)]).columns


@given(st.lists(st.integers(0, 4), max_size=6), st.data())
def test_joined_sources_are_read_like_one(counts: list[int], data) -> None:
    parts = [source("abcdef"[i], count) for i, count in enumerate(counts)]
    wanted = [record for part in parts for record in part]
    whole = joined("whole", parts)
    assert list(whole) == wanted
    some = data.draw(st.sets(st.integers(0, len(wanted) - 1)) if wanted else st.just(set()))
    assert list(whole.records(sorted(some))) == [wanted[i] for i in sorted(some)]


def test_a_part_is_opened_once_and_not_before_its_turn() -> None:
    asked: list[tuple[str, list[int]]] = []

    def part(name: str) -> Source:
        def read(positions: Sequence[int]) -> Iterator[Payload]:
            asked.append((name, list(positions)))
            yield from (b"" for _ in positions)

        return replace(source(name, 3), read=read)

    images = joined("", [part("a"), part("b"), part("c")]).read([0, 2, 7, 8])
    next(images)
    assert asked == [("a", [0, 2])]
    assert len(list(images)) == 3
    assert asked == [("a", [0, 2]), ("c", [1, 2])]


def test_joined_labels_are_renumbered_and_need_all_parts() -> None:
    one = replace(source("a", 2), labels=[1, 0], classes=("cat", "dog"), alike=(True, (2, 2)), default_fit="pad")
    two = replace(source("b", 2), labels=[-1, 1], classes=("bird", "dog"), alike=(True, (2, 2)))
    whole = joined("", [one, two])
    assert (whole.labels, whole.classes) == ([2, 1, -1, 2], ("bird", "cat", "dog"))
    assert (whole.alike, whole.default_fit) == ((True, (2, 2)), "pad")
    whole = joined("", [one, replace(source("c", 1), alike=(True, (2, 3)))])
    assert (whole.labels, whole.classes, whole.alike) == (None, (), None)


def test_sources_as_classes() -> None:
    parts = [("x", "dog", source("a", 2)), ("y", "cat", source("b", 1)), ("z", "dog", source("c", 1))]
    whole = categories("pets", parts)
    assert list(whole.names) == ["x/a0", "x/a1", "y/b0", "z/c0"]
    assert (whole.labels, whole.classes) == ([1, 1, 0, 1], ("cat", "dog"))
    one = categories("dogs", parts[::2])
    assert (one.labels, one.classes) == (None, ())


def test_names_by_number_and_in_folders() -> None:
    assert list(numbered("f", 2, lambda _: iter(()), first=3).names) == ["f[3]", "f[4]"]
    inner = replace(source("a", 1), own_labels=lambda: Table(files=["a0"], labels=[5], columns={"age": [3]}))
    other = replace(inner, own_labels=lambda: Table(files=["a0"], labels=["x"]))
    parts = [within("x", inner), within("y", replace(inner, own_labels=lambda: None)), source("b", 1), other]
    whole = joined("", parts)
    assert list(whole.names) == ["x/a0", "y/a0", "b0", "a0"]
    assert whole.own_labels
    assert whole.own_labels() == Table(files=["x/a0", "a0"], labels=[5, "x"], columns={"age": [3, None]})
    parts[3] = replace(inner, own_labels=lambda: Table(files=["a0"]))
    assert (own := joined("", parts).own_labels)
    assert own() == Table(files=["x/a0", "a0"], labels=[5, None], columns={"age": [3, None]})
    assert joined("", parts[2:3]).own_labels is None
