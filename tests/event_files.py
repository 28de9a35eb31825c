"""Reading TensorBoard's event files back."""

from pathlib import Path

import pytest

from progan.training.log import read_stats


def events(path: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def assert_events_equal_stats(path: Path) -> None:
    seen = events(path)
    rows = read_stats(path)
    assert seen.keys() == {key for row in rows for key in row}
    for tag, points in seen.items():
        wanted = [(round(1000 * row["kimg"]), row[tag]) for row in rows if tag in row]
        assert [step for step, _ in points] == [step for step, _ in wanted]
        assert [value for _, value in points] == pytest.approx([value for _, value in wanted], rel=1e-6)  # float32
