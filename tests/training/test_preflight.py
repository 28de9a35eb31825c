"""The plan before a run: its batches are possible, its parameters counted, and its times add up."""

import math
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.schedule import spans
from progan.training import preflight
from progan.training.config import RunConfig, check, split_batch
from progan.training.distributed import Ranks
from progan.training.preflight import Plan, StageCost, fitting_plan, probe
from small import small_run

CPU = torch.device("cpu")
SPEC = ImageSpec(3, 16, 16)


def run(*, group: int = 4, micro_batch: int | None = None, **schedule: object) -> RunConfig:
    config = small_run(**schedule)
    return replace(config, gan=replace(config.gan, stddev_group=group), micro_batch=micro_batch)


@pytest.mark.parametrize(
    ("batch", "group", "world", "micro", "parts"),
    [
        (16, 4, 1, None, 1),
        (16, 4, 1, 16, 1),
        (16, 4, 1, 8, 2),
        (16, 4, 1, 7, 4),
        (16, 4, 2, None, 1),
        (16, 4, 2, 4, 2),
        (16, 4, 4, None, 1),
        (24, 4, 1, 8, 3),
        (24, 4, 2, 8, 3),  # 12 each: 3 groups, so 1 or 3 parts
        (3, 4, 1, None, 1),  # a batch below the group is one group
        (16, 16, 1, None, 1),
        (6, 0, 3, 1, 2),  # no such layer: every sample for itself
    ],
)
def test_split_keeps_groups_whole(batch: int, group: int, world: int, micro: int | None, parts: int) -> None:
    assert split_batch(run(group=group, micro_batch=micro), batch, world) == parts
    each = batch // world // parts
    assert each * world * parts == batch
    assert micro is None or each <= micro
    groups = batch // min(group or 1, batch)
    assert groups % (world * parts) == 0


@pytest.mark.parametrize(
    ("batch", "group", "world", "micro", "message"),
    [
        (6, 4, 1, None, "schedule.batch 6 is not a multiple of gan.stddev_group 4; "
                        "try --schedule.batch 4 or --gan.stddev-group 3"),
        (12, 4, 2, None, "schedule.batch 12 is not a multiple of gan.stddev_group 4 on each of 2 processes; "
                         "try --schedule.batch 8 or --gan.stddev-group 3"),
        (3, 4, 2, None, "schedule.batch 3 is not a multiple of gan.stddev_group 3 on each of 2 processes"),
        (16, 4, 1, 3, "micro_batch 3 is smaller than gan.stddev_group 4; try --micro-batch 4"),
        (16, 16, 1, 8, "micro_batch 8 is smaller than gan.stddev_group 16; try --micro-batch 16"),
    ],
)  # fmt: skip
def test_impossible_splits_say_what_to_type(
    batch: int, group: int, world: int, micro: int | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        split_batch(run(group=group, micro_batch=micro), batch, world)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("batch", range(1, 40))
def test_what_is_suggested_works(batch: int) -> None:
    try:
        split_batch(run(group=4), batch, 1)
    except ConfigError as error:
        words = str(error).split("; try ")[1].split()
        split_batch(run(group=4), int(words[1]), 1)
        split_batch(run(group=int(words[4])), batch, 1)
    else:
        assert batch % 4 == 0 or batch < 4


def test_a_stage_of_later_hours_is_checked_at_once() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch 6"):
        check(run(batch={4: 8, 16: 6}), SPEC, 1)
    with pytest.raises(ConfigError, match=r"schedule\.resolution 16 does not match the data of 8x32"):
        check(run(), ImageSpec(3, 8, 32), 1)


def test_parameters_grow_to_the_whole_network() -> None:
    config = PRESETS["cifar10"]()
    plan = probe(config, ImageSpec(3, 32, 32), CPU, budget_s=0)
    counts = [cost.parameters for _, cost in sorted(plan.costs.items())]
    assert counts == sorted(set(counts))
    # At the last level all blocks are in use, and the heads of the last level only: 1x1 convolutions, 128 maps.
    others = 3 * ((3 * 128 + 3) + (3 * 128 + 128))
    assert counts[-1] == 1_296_908 + 1_298_689 - others


@pytest.mark.parametrize("budget_s", [0, math.inf])
def test_probe_gives_every_stage_a_time(budget_s: float, device: torch.device) -> None:
    plan = probe(small_run(), SPEC, device, budget_s=budget_s)
    largest = 2 if device.type == "cuda" else None  # is probed on a GPU, whatever it takes
    assert sorted(plan.costs) == [0, 1, 2]
    for cost in plan.costs.values():
        assert cost.seconds_per_kimg > 0
        assert cost.flops > 0
        assert cost.probed == (budget_s > 0 or cost.level == largest)
    table = plan.table(small_run().schedule)
    assert table.count("~") == 1 + 3 * sum(
        not cost.probed for cost in plan.costs.values()
    )  # the last line explains the sign


def plan() -> Plan:
    return Plan([StageCost(level, 10, 1.0, seconds_per_kimg=10.0 ** (level + 3)) for level in range(3)])


def test_times_of_the_table_add_up() -> None:
    schedule = small_run().schedule
    seconds = {0: 32.0, 1: 640.0, 2: 6400.0}  # 32, 64 and 64 images at 1, 10 and 100 seconds each
    assert {
        level: sum(s.end - s.first for s in spans(schedule) if s.level == level) * 10.0**level for level in range(3)
    } == seconds
    lines = plan().table(schedule).splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["0:32", "10:40", "1:46:40"]
    assert lines[-1].startswith("whole run about 1:57:52;")


def test_what_is_measured_takes_the_place_of_the_estimate() -> None:
    some = plan()
    before = some.seconds_per_kimg(2)
    some.measured(2, 5.0)
    assert 5.0 < some.seconds_per_kimg(2) < before  # not at once
    for _ in range(300):
        some.measured(2, 5.0)
    assert some.seconds_per_kimg(2) == pytest.approx(5.0)
    assert some.seconds_per_kimg(1) == 10_000


# --- memory of GPUs, which are only pretended here


class Memory:
    """A GPU on which one pass of more than ``most`` samples fails, as far as the probe sees it."""

    def __init__(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.tried, self.alive, self.freed = most, [], [], 0
        self.iterate = preflight._iterate
        monkeypatch.setattr(preflight, "_iterate", self)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty_cache)
        monkeypatch.setattr(preflight, "free_bytes", lambda device: 3 << 29)
        monkeypatch.setattr(preflight, "_random_data", lambda spec, device: [object()])
        monkeypatch.setattr(preflight, "Trainer", self.trainer)

    def trainer(self, config: RunConfig, spec: ImageSpec, *data: object, device: torch.device) -> object:
        made = Held()
        made.gan, made.config = config.gan.make(spec), config
        self.alive += [weakref.ref(made), *(weakref.ref(p) for p in made.gan.networks.parameters())]
        return made

    def __call__(self, trainer: object, level: int, batch: int, *, fading: bool = False) -> tuple[float, float]:
        features = torch.zeros(batch, 1000)
        cycle = [features]
        cycle.append(cycle)  # as graphs with custom functions may make
        self.alive.append(weakref.ref(features))
        self.tried.append((level, batch, fading))
        if batch > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.001 * batch, 1000.0 * batch * (1 + fading)

    def empty_cache(self) -> None:
        assert self.alive
        assert not [tensor for tensor in self.alive if tensor() is not None]
        self.freed += 1


class Held:
    """What a trainer is to the probe."""


GPU = torch.device("cuda", 0)


@pytest.mark.parametrize(("most", "micro", "failures"), [(16, None, 0), (8, 8, 1), (7, 4, 2), (4, 4, 2)])
def test_micro_batches_fit_the_memory(most: int, micro: int | None, failures: int, monkeypatch) -> None:
    memory = Memory(most, monkeypatch)
    config, plan = fitting_plan(run(batch=16), SPEC, GPU)
    assert config == run(batch=16, micro_batch=micro)
    assert memory.freed == failures + 1
    assert [level for level, *_ in memory.tried[: failures + 1]] == [2] * (failures + 1)
    assert memory.tried[failures : failures + 2] == [(2, micro or 16, False), (2, micro or 16, True)]
    assert {level for level, *_ in memory.tried} == {0, 1, 2}
    weights = 4.5 * 4 * sum(p.numel() for p in config.gan.make(SPEC).networks.parameters())
    assert plan.memory == pytest.approx(weights + 2000 * (micro or 16), abs=1)  # as much as the fade takes


def test_the_most_demanding_level_need_not_be_the_last(monkeypatch) -> None:
    memory = Memory(4, monkeypatch)
    config, _ = fitting_plan(run(batch={4: 64, 8: 64, 16: 4}), SPEC, GPU)
    assert memory.tried[0] == (1, 64, False)
    assert config.micro_batch == 4


@pytest.mark.parametrize(("change", "message"), [
    (lambda config: config, r"cuda:0 has too little memory to train at 16 pixels, 1\.5 GiB; use a smaller --schedule"),
    (lambda config: replace(config, micro_batch=8), "use a smaller --micro-batch, a smaller --schedule.batch or"),
])  # fmt: skip
def test_too_little_memory_is_one_line(change: Callable, message: str, monkeypatch) -> None:
    memory = Memory(3, monkeypatch)
    with pytest.raises(ConfigError, match=message) as error:
        fitting_plan(change(run(batch=16)), SPEC, GPU)
    assert "\n" not in str(error.value)
    assert memory.freed == len(memory.tried)


def test_all_ranks_take_the_smallest_micro_batch_of_any(monkeypatch) -> None:
    class OneOfTwo(Ranks):
        def most(self, values: list[int]) -> list[int]:  # the other GPU is smaller
            asked.append(values)
            return [max(values[0], len(asked) < 3)]

    asked: list = []
    Memory(8, monkeypatch)
    config, _ = fitting_plan(run(batch=32), SPEC, GPU, ranks=OneOfTwo(0, 2))
    assert [int(value) for (value,) in asked] == [1, 0, 0]  # 16 each, 8, 4
    assert config.micro_batch == 4
