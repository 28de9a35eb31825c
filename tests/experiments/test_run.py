"""A whole table of two tiny rows: trained, measured, gone on with, and never lost."""

import importlib.util
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from progan.data.preparing import prepare
from progan.data.store import Store
from progan.errors import ConfigError, DataError
from progan.experiments import EXPERIMENTS
from progan.experiments import job as row_runs
from progan.experiments import pool as jobs
from progan.experiments.base import Experiment, Row
from progan.experiments.curves import measure_snapshots, read_curve
from progan.experiments.results import Results, read
from progan.experiments.run import Request, reproduce
from progan.experiments.scale import SCALES, Scale
from progan.presets import PRESETS
from progan.snapshot import Snapshot
from progan.training.log import read_stats
from progan.training.loop import Trainer
from small import quick_plan, small_run

TABLE = Experiment(
    name="tiny",
    title="Table 0",
    caption="Two rows.",
    source="Nobody 2018",
    data="all images",
    prepare="progan prepare x",
    rows=(
        Row(name="a", preset="tiny", paper={"swd": 3.0}),
        Row(name="b", preset="tiny", change={"seed": 7, "mirror": False}),
    ),
    metrics=("swd", "ms_ssim"),
    figures=("growing",),
)
FEW = Scale(name="few", count=1 / 1024)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PRESETS, "tiny", small_run)
    monkeypatch.setattr("progan.training.preflight.probe", quick_plan)
    monkeypatch.setattr("progan.experiments.results.time.strftime", lambda _: "2026-01-02")


def request(out: Path, data: Path | None, **more: object) -> Request:
    return Request(**{"experiment": TABLE, "scale": FEW, "data": data, "out": out, "device": "cpu", **more})


def records(results: Results) -> list[dict]:
    """Without what differs between two equal runs."""
    return [{key: value for key, value in record.items() if key != "train_s"} for record in results["records"]]


@pytest.fixture(scope="module")
def made(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """The folder of a finished table, and its results."""
    out = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", small_run)
        patch.setattr("progan.training.preflight.probe", quick_plan)
        patch.setattr("progan.experiments.results.time.strftime", lambda _: "2026-01-02")
        patch.setenv("PROGAN_CACHE", str(out / "cache"))
        results, stopped = reproduce(request(out, store.path))
    assert not stopped
    return out, results


def test_a_table_is_in_files(made: tuple[Path, Results]) -> None:
    out, results = made
    folder = out / "tiny-few"
    assert read(folder) == results
    assert [record["row"] for record in results["records"]] == ["a", "b"]
    for record in results["records"]:
        assert record["kimg"] == 0.16
        assert record["train_s"] > 0
        assert record["notes"] == []
        assert record["measured"]["swd"]["fakes"] == 16
        assert record["measured"]["swd"]["values"]["swd"] > record["measured"]["swd"]["real"]["swd"] > 0
    assert "# Table 0\n\n**SCALED (few)" in (folder / "results.md").read_text()
    plots = ["growing.png"] if importlib.util.find_spec("matplotlib") else []
    assert results["figures"] == ["rows.png", *plots]
    assert Image.open(folder / "rows.png").size == (12 * 66 - 2, 2 * 66 - 2)  # a and b
    assert Image.open(folder / "real.png").size == (12 * 66 - 2, 66 - 2)


def test_rows_are_the_runs_of_progan_train(made: tuple[Path, Results], store: Store) -> None:
    run = made[0] / "runs/tiny-seed=7-mirror=False-small-few-seed0"
    assert read_stats(run)[-1]["kimg"] == 0.16
    assert Snapshot.load(run).kimg == 0.16
    rows = read_stats(run, "snapshots.jsonl")  # of the curve
    assert {row["count"] for row in rows} == {40}
    assert [row["resolution"] for row in rows if "swd" in row] == [16] * len([r for r in rows if "swd" in r])
    assert read_curve(run).full.any()
    measure_snapshots(run, store, count=40, mirror=True)
    assert read_stats(run, "snapshots.jsonl") == rows  # known, so not measured again


def test_finished_rows_are_not_made_again(made: tuple[Path, Results], store: Store, monkeypatch) -> None:
    def never(*args: object, **more: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(row_runs, "train", never)
    again, _ = reproduce(request(made[0], store.path))
    assert again["records"] == made[1]["records"]


def test_more_images_are_measured_without_training(made: tuple[Path, Results], store: Store, monkeypatch) -> None:
    monkeypatch.setattr(row_runs, "train", None)
    more, _ = reproduce(request(made[0], store.path, scale=replace(FEW, count=1 / 512), rows=("a",)))
    assert [r["measured"]["swd"]["fakes"] for r in more["records"]] == [32, 16]  # b is kept from before
    monkeypatch.setattr(row_runs, "measure", None)
    again, _ = reproduce(request(made[0], store.path))
    assert again["records"] == made[1]["records"]  # both measurements were kept


def test_a_smaller_call_leaves_rows_pictures_and_remarks_of_a_larger_one(
    made: tuple[Path, Results], store: Store
) -> None:
    again, _ = reproduce(request(made[0], store.path, rows=("b",)))
    assert again == made[1]


def test_two_calls_at_once_keep_the_rows_of_both(store: Store, tmp_path: Path, monkeypatch) -> None:
    one_after_another = jobs.run_jobs

    def with_another_call(some: list[jobs.Job], processes: int):
        monkeypatch.setattr("progan.experiments.run.run_jobs", one_after_another)
        for record in one_after_another(some, processes):
            reproduce(request(tmp_path, store.path, rows=("b",)))
            yield record

    monkeypatch.setattr("progan.experiments.run.run_jobs", with_another_call)
    results, _ = reproduce(request(tmp_path, store.path, rows=("a",)))
    assert [record["row"] for record in results["records"]] == ["a", "b"]


def test_other_data_are_not_put_into_the_same_table(made: tuple[Path, Results], images: Path, tmp_path: Path) -> None:
    fewer = prepare(images / "class0", tmp_path / "fewer")
    with pytest.raises(
        ConfigError, match=r"has row a for different data: small, 40 images .*, not fewer, 20 images .* --out"
    ):
        reproduce(request(made[0], fewer.path))


def test_a_source_is_taken_only_where_nothing_is_cut_or_chosen(images: Path, tmp_path: Path) -> None:
    table = replace(TABLE, recipe="celeba", metrics=("swd",), rows=TABLE.rows[:1], figures=())
    with pytest.raises(DataError, match=r"not a store.*\n.*progan prepare celeba STORE --from .*\n.*if it is"):
        reproduce(request(tmp_path, images, experiment=table))
    results, _ = reproduce(request(tmp_path, images, experiment=replace(table, recipe="")))
    assert results["records"][0]["measured"]


def test_what_cannot_be_measured_is_said_before_training(store: Store, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(row_runs, "train", None)
    with pytest.raises(DataError, match="tiny, row a: no metric could be measured; mode count reads three digits"):
        reproduce(request(tmp_path, store.path, experiment=replace(TABLE, metrics=("modes",))))
    reproduce(request(tmp_path, store.path, experiment=replace(TABLE, metrics=("modes",)), scale=SCALES["smoke"]))
    jobs_ = []
    monkeypatch.setattr("progan.experiments.run.run_jobs", lambda some, processes: jobs_.extend(some) or [])
    reproduce(request(tmp_path, store.path, experiment=replace(TABLE, metrics=("swd", "modes"))))
    assert "warning: row a: modes will not be measured: mode count" in capsys.readouterr().err
    assert set(jobs_[0].missing) == {"modes"}


def test_what_was_measured_outlives_a_failure_and_keeps_its_command(
    made: tuple[Path, Results], store: Store, monkeypatch
) -> None:
    out = made[0]
    before, _ = reproduce(request(out, store.path))

    def fail(*args: object, **more: object) -> None:
        raise DataError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(row_runs, "_kept", lambda path: {})
        patch.setattr(row_runs, "train", fail)
        again, _ = reproduce(request(out, store.path, rows=("a",), command="other"))
    assert again["records"][0]["notes"] == ["gone"]
    assert again["records"][0]["measured"]
    whole, _ = reproduce(request(out, store.path, command="other"))
    assert [r["made"]["command"] for r in whole["records"]] == [r["made"]["command"] for r in before["records"]]


def test_metrics_measured_before_an_interruption_are_kept(store: Store, tmp_path: Path, monkeypatch) -> None:
    measure = row_runs.measure

    def interrupted(run: Path, store: Store, names: list[str], **more: Any) -> dict:
        if "modes" in names:
            raise KeyboardInterrupt
        return measure(run, store, names, **more)

    monkeypatch.setattr(row_runs, "measure", interrupted)
    monkeypatch.setattr("progan.experiments.run.unmeasurable", lambda names, device: {})
    monkeypatch.setattr("progan.experiments.run.unfit", lambda job: {})
    table = replace(TABLE, metrics=("swd", "modes"), rows=TABLE.rows[:1], figures=())
    results, stopped = reproduce(request(tmp_path, store.path, experiment=table))
    assert stopped
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    kept = json.loads((run / row_runs.KEPT).read_text())
    assert [m["metric"] for m in kept["measured"]] == ["swd"] == list(results["records"][0]["measured"])


def test_one_dead_row_leaves_the_others(store: Store, tmp_path: Path, monkeypatch) -> None:
    train = row_runs.train

    def fail(config, store, *, path, **more):
        if not config.mirror:
            raise RuntimeError("out of memory")
        return train(config, store, path=path, **more)

    monkeypatch.setattr(row_runs, "train", fail)
    dead = Row(name="c", preset="none")
    results, stopped = reproduce(
        request(tmp_path, store.path, experiment=replace(TABLE, rows=(dead, TABLE.rows[1], TABLE.rows[0])))
    )
    notes = {record["row"]: record["notes"] for record in results["records"]}
    assert notes["b"] == ["RuntimeError: out of memory"]
    assert "no preset 'none'" in notes["c"][0]
    assert results["records"][2]["measured"]["swd"]["values"]
    assert not stopped
    assert "row b, seed 0: RuntimeError: out of memory" in (tmp_path / "tiny-few/results.md").read_text()


def test_an_interrupted_table_goes_on_and_equals_an_uninterrupted_one(
    made: tuple[Path, Results], store: Store, tmp_path: Path, monkeypatch
) -> None:
    iterate, count = Trainer.iterate, [0]

    def interrupted(self: Trainer):
        count[0] += 1
        if self.images_seen == 64 and not self.config.mirror and count[0] > 0:
            count[0] = -(10**6)
            os.kill(os.getpid(), signal.SIGINT)
        return iterate(self)

    monkeypatch.setattr(Trainer, "iterate", interrupted)
    half, stopped = reproduce(request(tmp_path, store.path))
    assert stopped
    assert [(r["row"], r["stopped"]) for r in half["records"]] == [("a", False), ("b", True)]
    assert half["records"][1]["notes"] == ["stopped after 0.064 of 0.16 kimg; run the same command again to resume"]
    whole, stopped = reproduce(request(tmp_path, store.path))
    assert not stopped
    assert records(whole) == records(made[1])


def test_what_has_no_weights_is_said_and_the_rest_measured(
    made: tuple[Path, Results], store: Store, monkeypatch
) -> None:
    table = replace(TABLE, metrics=("modes", "swd"), rows=TABLE.rows[:1], name="digits", figures=())
    results, _ = reproduce(request(made[0], store.path, experiment=table))
    (record,) = results["records"]
    assert record["missing"]["modes"].startswith("weights/digits.safetensors: no digit classifier here")
    assert "swd" in record["measured"]
    assert "| not measured " in (made[0] / "digits-few/results.md").read_text()


def test_the_papers_number_of_seeds_unless_asked_otherwise(store: Store, tmp_path: Path, monkeypatch) -> None:
    seen: list[jobs.Job] = []
    monkeypatch.setattr("progan.experiments.run.run_jobs", lambda some, processes: seen.extend(some) or [])
    reproduce(request(tmp_path, store.path, experiment=replace(TABLE, seeds=3)))
    reproduce(request(tmp_path, store.path, experiment=replace(TABLE, seeds=3), scale=replace(FEW, seeds=2)))
    reproduce(request(tmp_path, store.path, scale=replace(FEW, seeds=4)))
    assert [(job.row.name, job.seed) for job in seen] == [(r, s) for n in (3, 2, 4) for s in range(n) for r in "ab"]


def test_data_of_its_own_for_each_row(store: Store, tmp_path: Path) -> None:
    rows = (Row(name="dog", preset="tiny", data="lsun_dog"),)
    with pytest.raises(DataError, match="none of lsun_dog, dog, dog_train_lmdb is in"):
        reproduce(request(tmp_path, store.path, experiment=replace(TABLE, rows=rows)))


def test_messages(tmp_path: Path, store: Store) -> None:
    with pytest.raises(DataError, match="requires DATA: all images; prepare it with progan prepare x, or use --scale"):
        reproduce(request(tmp_path, None))
    with pytest.raises(ConfigError, match="cuda"):
        reproduce(request(tmp_path, store.path, device="cuda:99"))
    with pytest.raises(ConfigError, match="tiny has no row 'x'; choose from a, b"):
        reproduce(request(tmp_path, store.path, rows=("x",)))


def test_smoke_makes_its_own_data(tmp_path: Path) -> None:
    table = replace(EXPERIMENTS["table1_celeba"], metrics=("swd",))
    results, _ = reproduce(request(tmp_path, None, experiment=table, scale=SCALES["smoke"], rows=("e",)))
    assert results["data"] == "synthetic, 128 images of 32x32x3"
    assert results["records"][0]["measured"]["swd"]["values"]["swd_16"] > 0


@pytest.mark.slow
def test_processes_give_what_one_gives(made: tuple[Path, Results], store: Store, tmp_path: Path) -> None:
    table = replace(TABLE, rows=tuple(replace(row, preset="demo") for row in TABLE.rows), figures=())
    scale = replace(FEW, kimg=0.002)
    one, _ = reproduce(request(tmp_path / "one", store.path, experiment=table, scale=scale))
    two, _ = reproduce(request(tmp_path / "two", store.path, experiment=table, scale=scale, processes=2))
    assert records(one) == records(two)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_at_scale_smoke(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    offline = tuple(metric for metric in experiment.metrics if metric in ("swd", "ms_ssim"))
    table = replace(experiment, metrics=offline or experiment.metrics)
    results, stopped = reproduce(request(tmp_path, None, experiment=table, scale=SCALES["smoke"]))
    assert not stopped
    assert len(results["records"]) == len(experiment.rows)
    assert not [note for record in results["records"] for note in record["notes"]]
    assert len(results["figures"]) == experiment.trains + len(experiment.figures)
