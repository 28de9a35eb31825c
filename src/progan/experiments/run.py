"""Reproduce an experiment: its runs, the table, the figures, and all of it in files."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from progan.data.options import PrepareOptions
from progan.data.store import Store, cached
from progan.errors import DataError
from progan.experiments import networks
from progan.experiments.base import Experiment, Row
from progan.experiments.figures import draw
from progan.experiments.jobs import run_jobs
from progan.experiments.results import FILE, Results, collect, origin, read, report, save
from progan.experiments.rows import Job, Record, unmeasurable
from progan.experiments.scale import Scale
from progan.experiments.synthetic import tiny_store
from progan.files import replacing
from progan.training.precision import pick_device


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be reproduced, and where."""

    experiment: Experiment
    scale: Scale
    data: Path | None
    """A store, any source, or a folder of them where every row has its own; None: synthetic, at scale smoke."""
    out: Path
    """Folder of results: run directories in ``runs``, everything else in ``NAME-SCALE``."""
    rows: tuple[str, ...] = ()
    """Names of rows; all when empty."""
    processes: int = 1
    """Runs at the same time."""
    device: str = "auto"
    command: str = ""
    """What was typed, for the record."""

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return self.out / f"{self.experiment.name}-{self.scale.name}"


def reproduce(request: Request) -> tuple[Results, bool]:
    """Make what is not there yet; the results, and whether the user stopped it.

    results.json is written after every run, so that nothing is lost; rows that it has from earlier calls stay in it.

    Raises:
        ConfigError: if there is no such row.
        DataError: if data are missing or cannot be used.
    """
    experiment = request.experiment
    rows = [experiment.row(name) for name in request.rows] or list(experiment.rows)
    if not experiment.trains:
        return _count(request, rows), False
    pick_device(request.device)
    stores = {row.name: _store(request, row) for row in rows}
    jobs = _jobs(request, rows, stores)
    data = ", ".join(dict.fromkeys(_describe(store) for store in stores.values()))
    records = _earlier(request)
    done, stopped = 0, False
    try:
        for done, record in enumerate(run_jobs(jobs, request.processes), 1):  # noqa: B007
            key = record["row"], record["seed"]
            records[key] = _merged(records.get(key), record, origin(request.command, _describe(stores[record["row"]])))
            _write(request, records, data)
            stopped = stopped or record["stopped"]
            for note in record["notes"]:
                tqdm.write(f"row {record['row']}, seed {record['seed']}: {note}", file=sys.stderr)
    except KeyboardInterrupt:  # a second one, or between two runs
        stopped = True
    stopped = stopped or done < len(jobs)
    results = _write(request, records, data)
    if not stopped:
        draw(("rows", *experiment.figures), jobs, request.folder, results)
        _write_files(request, results)
    return results, stopped


def _count(request: Request, rows: list[Row]) -> Results:
    """Parameters instead of training; layers.md has all layers."""
    records = networks.count_parameters(rows)
    results = collect(request.experiment, request.scale, records, command=request.command, data="none")
    with replacing(request.folder / "layers.md") as file:
        file.write("\n\n".join(networks.layers(row) for row in rows).encode() + b"\n")
    _write_files(request, results)
    return results


def _jobs(request: Request, rows: Sequence[Row], stores: dict[str, Store]) -> list[Job]:
    """All first seeds before all second ones, so that a whole table is there early."""
    experiment, scale = request.experiment, request.scale
    seeds = scale.seeds or experiment.seeds
    runs, device = request.out / "runs", request.device
    missing = unmeasurable(experiment.metrics, device)
    return [
        Job(experiment, row, seed, scale, stores[row.name].path, runs, device, missing)
        for seed in range(seeds)
        for row in rows
    ]


def _merged(old: Record | None, new: Record, made: dict[str, str]) -> Record:
    """What to keep of a run: what was measured earlier is not lost by a failure, and keeps its command and date."""
    if old and new["notes"] and not new["measured"]:
        return {**old, "notes": new["notes"], "stopped": new["stopped"]}
    same = old and all(old[name] == new[name] for name in ("run", "kimg", "measured"))
    return {**new, "made": old.get("made", made) if old and same else made}


def _earlier(request: Request) -> dict[tuple[str, int], Record]:
    """Records of earlier calls."""
    known = {row.name for row in request.experiment.rows}
    file = request.folder / FILE
    return {(r["row"], r["seed"]): r for r in read(file)["records"] if r["row"] in known} if file.exists() else {}


def _write(request: Request, records: dict[tuple[str, int], Record], data: str) -> Results:
    order = {row.name: number for number, row in enumerate(request.experiment.rows)}
    there = [records[key] for key in sorted(records, key=lambda key: (order[key[0]], key[1]))]
    results = collect(request.experiment, request.scale, there, command=request.command, data=data)
    _write_files(request, results)
    return results


def _write_files(request: Request, results: Results) -> None:
    save(results, request.folder / FILE)
    with replacing(request.folder / "results.md") as file:
        file.write(f"# {request.experiment.title}\n\n{report(request.experiment, results)}\n".encode())


def _store(request: Request, row: Row) -> Store:
    """The prepared data of a row."""
    experiment = request.experiment
    if request.data is None:
        if request.scale.name != "smoke":
            raise DataError(
                f"{experiment.name} needs DATA: {experiment.data}; prepare it with {experiment.prepare}; "
                f"--scale smoke works without"
            )
        return tiny_store(request.out / "data")
    path = _row_path(request.data, row)
    if (path / "manifest.json").is_file():
        return Store.open(path)
    side = row.config().schedule.resolution
    wanted = PrepareOptions(resolution=str(min(request.scale.resolution or side, side)))
    return cached(path, wanted, progress=True)


def _row_path(data: Path, row: Row) -> Path:
    if not row.data:
        return data
    names = [row.data, row.name, f"{row.name}_train_lmdb"]
    for name in names:
        if (data / name).exists():
            return data / name
    raise DataError(f"row {row.name}: none of {', '.join(names)} is in {data}; leave the row out with --rows")


def _describe(store: Store) -> str:
    return f"{store.path.name}, {store.count:,} images of {store.height}x{store.width}x{store.channels}"
