"""Checkpoints: whole or not at all, verified, and with a spare."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from progan.errors import CheckpointError
from progan.training import checkpoint
from progan.training.checkpoint import DAMAGED, NAME, SPARE, load, save, set_aside

STATE = {"trainer": {"w": torch.arange(1000.0), "images_seen": 7, "of": (1, True), "none": None}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, 1 and 2."""
    for number in (1, 2):
        save(tmp_path, {**STATE, "number": number})
    return tmp_path


def number(state: dict | None) -> int | None:
    return None if state is None else state["number"]


def test_round_trip(tmp_path: Path) -> None:
    assert load(tmp_path) == (None, [])
    save(tmp_path, STATE)
    state, warnings = load(tmp_path)
    assert not warnings
    assert state is not None
    assert torch.equal(state["trainer"].pop("w"), STATE["trainer"]["w"])
    assert state["trainer"] == {"images_seen": 7, "of": (1, True), "none": None}


def test_the_one_before_is_kept(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == {NAME, SPARE}
    assert (number(checkpoint._read(run / NAME)), number(checkpoint._read(run / SPARE))) == (2, 1)
    save(run, {"number": 3})
    assert (number(checkpoint._read(run / NAME)), number(checkpoint._read(run / SPARE))) == (3, 2)


def test_every_flipped_bit_of_a_tensor_is_seen(run: Path) -> None:
    data = (run / NAME).read_bytes()
    start = data.find(STATE["trainer"]["w"].numpy().tobytes())
    assert start > 0
    for place in (start, start + 2001, start + 3999):
        bad = bytearray(data)
        bad[place] ^= 4
        (run / NAME).write_bytes(bad)
        state, warnings = load(run)
        assert number(state) == 1
        assert len(warnings) == 1
        assert "is corrupt" in warnings[0]
        assert "wrong checksum" in warnings[0]


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_half_written_file_gives_way_to_the_spare(keep: int, run: Path) -> None:
    (run / NAME).write_bytes((run / NAME).read_bytes()[:keep])
    state, warnings = load(run)
    assert number(state) == 1
    assert f"{NAME}: is not a complete checkpoint" in warnings[0]
    assert "\n" not in warnings[0]


def test_killed_between_the_two_renames(run: Path) -> None:
    (run / NAME).replace(run / SPARE)  # the newest is the spare, and the new one still partial
    (run / f"{NAME}.partial").write_bytes(b"half")
    assert load(run)[1] == []
    assert number(load(run)[0]) == 2
    save(run, {"number": 3})
    assert number(load(run)[0]) == 3
    assert not (run / f"{NAME}.partial").exists()


def test_both_damaged_is_an_error_that_says_what_to_do(run: Path) -> None:
    for name in (NAME, SPARE):
        (run / name).write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=f"no checkpoint is left: remove {run} to start again") as caught:
        load(run)
    assert str(caught.value).count("is not a complete checkpoint") == 2
    assert "\n" not in str(caught.value)


def test_a_damaged_one_set_aside_does_not_push_the_spare_out(run: Path) -> None:
    (run / NAME).write_bytes(b"no zip")
    set_aside(run, DAMAGED)
    assert (run / DAMAGED).read_bytes() == b"no zip"
    save(run, {"number": 3})
    assert (number(checkpoint._read(run / NAME)), number(checkpoint._read(run / SPARE))) == (3, 1)
    set_aside(run, DAMAGED)
    set_aside(run, DAMAGED)  # nothing there: nothing to do


class Evil:
    """Makes a directory when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.path,))  # what a pickle would call


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    torch.save({"format": 1, "x": Evil(tmp_path / "executed")}, tmp_path / NAME)
    (tmp_path / SPARE).write_bytes(pickle.dumps(Evil(tmp_path / "executed")))
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        load(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [{"format": 99}, {}, [1, 2]])
def test_another_format_is_named(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / NAME)
    with pytest.raises(CheckpointError, match="this version reads format 1"):
        load(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_full_disk_keeps_both(size: int, run: Path) -> None:
    (run / f"{NAME}.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*No space left.*the previous one is kept"):
        save(run, {"w": torch.zeros(size)})
    assert {p.name for p in run.iterdir()} == {NAME, SPARE}
    assert (number(checkpoint._read(run / NAME)), number(checkpoint._read(run / SPARE))) == (2, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_first_checkpoint_on_a_full_disk_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path, STATE)
    assert "kept" not in str(caught.value)
