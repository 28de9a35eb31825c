"""Reproduction of an experiment: its runs, table, figures and files."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.experiments import networks
from progan.experiments.base import Experiment, Row
from progan.experiments.figures import draw
from progan.experiments.job import Job, Record, unfit, unmeasurable
from progan.experiments.pool import run_jobs
from progan.experiments.results import FILE, Results, collect, origin, read, report, save
from progan.experiments.scale import Scale
from progan.experiments.synthetic import tiny_store
from progan.files import locked, replacing


@dataclass(frozen=True, kw_only=True)
class Request:
    """Experiment to reproduce, its scale, data and output folder."""

    experiment: Experiment
    scale: Scale
    data: Path | None
    """Store, any source, or a folder of them if every row uses different data. None: synthetic data, at scale smoke."""
    out: Path
    """Folder for run directories (in ``runs``) and results (in ``NAME-SCALE``)."""
    rows: tuple[str, ...] = ()
    """Names of the rows to reproduce; all if empty."""
    processes: int = 1
    """Number of runs at the same time."""
    device: str = "auto"
    command: str = ""
    """Command line to record in the results."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.out / f"{self.experiment.name}-{self.scale.name}"


def reproduce(request: Request) -> tuple[Results, bool]:
    """Train and measure what is missing; return the results and whether the user stopped the reproduction.

    results.json is written after every run, so that nothing is lost. Results of earlier or concurrent calls are kept.

    Raises:
        ConfigError: if there is no such row, or existing results are for different data.
        DataError: if data are missing or cannot be used.
    """
    experiment = request.experiment
    rows = [experiment.row(name) for name in request.rows] or list(experiment.rows)
    if not experiment.trains:
        return _count(request, rows), False
    pick_device(request.device)
    stores = {row.name: _store(request, row) for row in rows}
    _check_data(request, stores)
    jobs = _jobs(request, rows, stores)
    data = ", ".join(dict.fromkeys(_describe(store) for store in stores.values()))
    done, stopped = 0, False
    try:
        for done, record in enumerate(run_jobs(jobs, request.processes), 1):  # noqa: B007
            _add(request, record, origin(request.command, _describe(stores[record["row"]])), data)
            stopped = stopped or record["stopped"]
            for note in record["notes"]:
                tqdm.write(f"row {record['row']}, seed {record['seed']}: {note}", file=sys.stderr)
    except KeyboardInterrupt:  # a second one, or between two runs
        stopped = True
    stopped = stopped or done < len(jobs)
    if not stopped:
        drawn = draw(("rows", *experiment.figures), _drawn(request, stores), request.folder)
        with locked(request.folder, wait=True):
            _write(request, _read(request, data) | drawn)
    return _read(request, data), stopped


def _count(request: Request, rows: list[Row]) -> Results:
    """Count parameters instead of training, and list all layers in layers.md."""
    records = networks.count_parameters(rows)
    results = collect(request.experiment, request.scale, records, command=request.command, data="none")
    with replacing(request.folder / "layers.md") as file:
        file.write("\n\n".join(networks.layers(row) for row in rows).encode() + b"\n")
    _write(request, results)
    return results


def _jobs(request: Request, rows: Sequence[Row], stores: dict[str, Store]) -> list[Job]:
    """Return the jobs with all first seeds before all second seeds, so that a whole table is complete early."""
    seeds = request.scale.seeds or request.experiment.seeds
    missing = {row.name: _unfit(_job(request, row, 0, stores[row.name])) for row in rows}
    everywhere = unmeasurable(request.experiment.metrics, request.device)
    return [
        _job(request, row, seed, stores[row.name], missing=missing[row.name] | everywhere)
        for seed in range(seeds)
        for row in rows
    ]


def _unfit(job: Job) -> dict[str, str]:
    """Return the metrics that cannot be computed for a row; refuse to train if none can, except at scale smoke."""
    found = unfit(job)
    if len(found) == len(job.experiment.metrics) and job.scale.name != "smoke":
        raise DataError(
            f"{job.experiment.name}, row {job.row.name}: no metric could be measured; {'; '.join(found.values())}"
        )
    for name, why in found.items():
        tqdm.write(f"warning: row {job.row.name}: {name} will not be measured: {why}", file=sys.stderr)
    return found


def _job(request: Request, row: Row, seed: int, store: Store, **more: Any) -> Job:
    return Job(request.experiment, row, seed, request.scale, store.path, request.out / "runs", request.device, **more)


def _drawn(request: Request, stores: dict[str, Store]) -> list[Job]:
    """Return the first runs of all rows with results, including those of earlier calls."""
    there = {record["row"] for record in _read(request)["records"] if record["seed"] == 0 and record["kimg"]}
    jobs = []
    for row in request.experiment.rows:
        if row.name in there:
            with suppress(DataError):  # a row that is not requested now
                jobs.append(_job(request, row, 0, stores.get(row.name) or _store(request, row)))
    return jobs


def _check_data(request: Request, stores: dict[str, Store]) -> None:
    """Refuse to mix runs on different data in one table."""
    for record in _read(request)["records"]:
        name, made = record["row"], record.get("made")
        if made and record["measured"] and name in stores and made["data"] != _describe(stores[name]):
            raise ConfigError(
                f"{request.folder} has row {name} for different data: {made['data']}, not {_describe(stores[name])}; "
                f"choose a different folder with --out"
            )


def _merged(old: Record | None, new: Record, made: dict[str, str]) -> Record:
    """Merge two records of a run: a failure does not discard earlier measurements, their command and their date."""
    if old and old["measured"] and new["notes"] and not new["measured"]:
        return {**old, "notes": new["notes"], "stopped": new["stopped"]}
    same = old and all(old[name] == new[name] for name in ("run", "kimg", "measured"))
    return {**new, "made": old.get("made", made) if old and same else made}


def _read(request: Request, data: str = "") -> Results:
    """Read the results of earlier calls for rows of this version; without any, return empty results for ``data``."""
    if not (request.folder / FILE).exists():
        return collect(request.experiment, request.scale, [], command=request.command, data=data)
    results, known = read(request.folder), {row.name for row in request.experiment.rows}
    return {**results, "records": [record for record in results["records"] if record["row"] in known]}


def _add(request: Request, record: Record, made: dict[str, str], data: str) -> None:
    """Add a record to those that the file contains by now."""
    order = [row.name for row in request.experiment.rows]
    with locked(request.folder, wait=True):
        old = _read(request)
        records = {(r["row"], r["seed"]): r for r in old["records"]}
        key = record["row"], record["seed"]
        records[key] = _merged(records.get(key), record, made)
        there = [records[key] for key in sorted(records, key=lambda key: (order.index(key[0]), key[1]))]
        new = collect(request.experiment, request.scale, there, command=request.command, data=data)
        _write(request, new | {name: old[name] for name in ("figures", "remarks")})


def _write(request: Request, results: Results) -> None:
    save(results, request.folder / FILE)
    with replacing(request.folder / "results.md") as file:
        file.write(f"# {request.experiment.title}\n\n{report(request.experiment, results)}\n".encode())


def _store(request: Request, row: Row) -> Store:
    """Open or prepare the data of a row."""
    experiment = request.experiment
    if request.data is None:
        if request.scale.name != "smoke":
            raise DataError(
                f"{experiment.name} requires DATA: {experiment.data}; prepare it with {experiment.prepare}, "
                f"or use --scale smoke, which needs none"
            )
        return tiny_store(request.out / "data")
    path = _row_path(request.data, row)
    if (path / "manifest.json").is_file():
        return Store.open(path)
    if recipe := row.data or experiment.recipe:
        raise DataError(
            f"{path}: not a store; {experiment.name} requires one, because the paper selects and crops its images\n"
            f"  fix:   progan prepare {recipe} STORE --from {path}, then reproduce with STORE"
            + (f"\n  or:    progan prepare {path} STORE, if it is a different data set" if not row.data else "")
        )
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
    raise DataError(f"row {row.name}: none of {', '.join(names)} is in {data}; select other rows with --rows")


def _describe(store: Store) -> str:
    return f"{store.path.name}, {store.count:,} images of {store.height}x{store.width}x{store.channels}"
