"""Tables of fixed numbers, what differs from the paper in words, and the page of results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from progan.errors import DataError
from progan.experiments import EXPERIMENTS
from progan.experiments.base import Experiment, Row, Value
from progan.experiments.job import Record, empty
from progan.experiments.page import copy_figures, fill, frame, section
from progan.experiments.results import collect, read, report, save, value_of
from progan.experiments.scale import SCALES, Scale

DOCS = Path(__file__).parents[2] / "docs" / "results.md"
TABLE = Experiment(
    name="tiny",
    title="Table 0",
    caption="What it is.",
    source="Nobody 2018",
    data="all images",
    prepare="progan prepare x",
    rows=(
        Row(name="a", preset="cifar10", paper={"swd_32": 4.0, "swd": 3.0, "inception_score": Value(8.56, 0.06, 8.8)}),
        Row(name="b", preset="cifar10"),
    ),
    metrics=("swd", "inception"),
    seeds=2,
    best=True,
)


def swd(value: float, *, fakes: int = 16_384) -> Record:
    measured = {"values": {"swd": value, "swd_16": value}, "real": {"swd": 0.5, "swd_16": 0.25}}
    return measured | {"plan": [1, fakes], "fakes": fakes, "reals": fakes, "floor_count": fakes, "note": ""}


def inception(value: float) -> Record:
    measured = {"values": {"inception_score": value, "inception_score_std": 0.1}, "real": {}}
    return measured | {"plan": [1, 50_000], "fakes": 50_000, "reals": 0, "floor_count": 0, "note": ""}


def record(row: str, seed: int = 0, **more: object) -> Record:
    return {**empty(row, seed, f"{row}{seed}"), "kimg": 100.0, "train_s": 1800.0, **more}


def results(*records: Record, scale: Scale = SCALES["paper"]) -> dict:
    found = collect(TABLE, scale, records, command="progan reproduce tiny DATA", data="some, 10 images of 32x32x3")
    return found | {"machine": "1 core", "date": "2026-11-21", "version": "1"}


def test_ours_stand_above_the_papers() -> None:
    text = report(
        TABLE,
        results(
            record("a", 0, measured={"swd": swd(2.0), "inception": inception(8.0)}),
            record("a", 1, measured={"swd": swd(4.0), "inception": inception(8.5)}),
            record("b", 0, measured={"swd": swd(123.456)}, missing={"inception": "no weights"}),
        ),
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[:6]]
    assert cells[0] == ["row", "", "swd_32", "swd", "inception_score", "swd_16", "kimg", "hours"]
    assert cells[2:] == [
        ["a", "ours, 2 runs", "-", "3 ± 1.414 (best 2)", "8.25 ± 0.3536 (best 8.5)", "3 ± 1.414", "100", "0.5"],
        ["", "paper", "4", "3", "8.56 ± 0.06 (best 8.8)", "-", "", ""],
        ["b", "ours", "-", "123.5", "not measured", "123.5", "100", "0.5"],
        ["real images", "real", "-", "0.5", "-", "0.25", "", ""],
    ]
    assert len({len(line) for line in text.splitlines()[:6]}) == 1
    assert "- data: some, 10 images of 32x32x3; the paper's: all images" in text
    assert "- inception was not measured: no weights" in text
    assert "SCALED" not in text
    assert text.endswith("`progan reproduce tiny DATA`, 1 core; 2026-11-21, progan 1.")


def test_what_is_smaller_is_said_loudly_and_for_whom() -> None:
    small = {"swd": swd(1.0, fakes=64) | {"reals": 60}}
    text = report(TABLE, results(record("a", measured=small, differences=["less"]), record("b", differences=["few"])))
    assert text.startswith("**SCALED (smaller data): NOT comparable with the paper's numbers, only with each other.**")
    for line in ("a: less", "b: few", "a: swd of 64 images and 60 real ones instead of 16,384"):
        assert f"- {line}\n" in text
    assert "- 0 to 1 runs per row instead of 2" in text  # b was stopped before anything was measured
    assert "- 1 run per row instead of 2" in report(TABLE, results(record("a", measured=small), record("a", 1)))


def test_rows_measured_in_several_ways_are_told_apart() -> None:
    other = {
        "command": "progan reproduce tiny OTHER",
        "data": "others",
        "machine": "GPU",
        "date": "2027",
        "version": "2",
    }
    few = record("a", measured={"swd": swd(1.0, fakes=64) | {"floor_count": 32}}, kimg=10_000.0, train_s=4e6)
    text = report(TABLE, results(few, record("b", measured={"swd": swd(1.0)}, made=other)))
    assert text.startswith("**SCALED")
    assert "- a: swd of 64 images instead of 16,384\n- a: swd of real images: of 32, so no floor for 64\n" in text
    assert "- data: some, 10 images of 32x32x3, others; the paper's" in text
    assert (
        "- a: `progan reproduce tiny DATA`, 1 core; 2026-11-21, progan 1.\n- b: `progan reproduce tiny OTHER`" in text
    )
    assert "| 10,000 | 1,111 |" in text


def test_what_the_scale_makes_smaller_is_said_even_if_no_number_shows_it() -> None:
    once = record("a", measured={"swd": swd(1.0)})
    assert "SCALED" not in report(TABLE, results(once))
    assert report(TABLE, results(once, scale=Scale(name="x", count=0.1))).startswith("**SCALED (x)")


def test_where_a_preset_is_not_the_papers_is_said_but_is_no_scale() -> None:
    rows = (replace(TABLE.rows[0], differs=("ours is ours",)), TABLE.rows[1])
    text = report(replace(TABLE, rows=rows), results(record("a", measured={"swd": swd(1.0)}), record("b")))
    assert "- a: ours is ours\n" in text
    assert "SCALED" not in text


def test_rows_that_were_not_run_show_the_papers_numbers_under_their_titles() -> None:
    rows = (replace(TABLE.rows[0], title="the first"), TABLE.rows[1])
    lines = report(replace(TABLE, rows=rows), results(record("b", measured={"swd": swd(1.0)}))).splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:5]] for line in lines[2:4]] == [
        ["a: the first", "paper", "4", "3"],
        ["b", "ours", "-", "1"],
    ]


def test_costs_are_those_of_the_runs_in_the_mean() -> None:
    half = record("b", 1, kimg=50.0, train_s=900.0, stopped=True)
    text = report(TABLE, results(record("b", measured={"swd": swd(1.0)}), half))
    assert [cell.strip() for cell in next(x for x in text.splitlines() if x.startswith("| b ")).split("|")][1:3] == [
        "b",
        "ours",
    ]
    assert "| 100 " in text


def test_fewer_images_measured_alone_is_scaled_too() -> None:
    assert "SCALED" in report(TABLE, results(record("a", measured={"swd": swd(1.0, fakes=64)})))


def test_a_row_that_failed_has_a_note_and_the_others_stay() -> None:
    text = report(TABLE, results(record("a", notes=["NaN"]), record("b", measured={"swd": swd(5.0)})))
    assert "- row a, seed 0: NaN" in text
    assert next(line for line in text.splitlines() if line.startswith("| b ")).split("|")[4].strip() == "5"


def test_best_is_the_largest_or_the_smallest_as_the_metric_has_it() -> None:
    records = [record("a", s, measured={"swd": swd(s + 1.0), "inception": inception(s + 1.0)}) for s in range(3)]
    assert value_of(records, "swd") == Value(2.0, 1.0, 1.0)
    assert value_of(records, "inception_score") == Value(2.0, 1.0, 3.0)
    assert value_of(records, "fid") is None


def test_results_are_read_back(tmp_path: Path) -> None:
    there = results(record("a", measured={"swd": swd(1.0)}))
    save(there, tmp_path / "results.json")
    assert read(tmp_path) == there
    (tmp_path / "results.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(DataError, match="not written by 'progan reproduce'"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "nothing")


def test_a_page_is_filled_section_by_section() -> None:
    page = f"Before\n\n{frame({'tiny': TABLE, 'other': TABLE})}\nAfter\n"
    assert page.count("Not measured yet.") == 2
    one, two = results(record("a", measured={"swd": swd(1.5)})), results(record("a", measured={"swd": swd(2.5)}))
    filled = fill(page, {"tiny": TABLE}, [one, two])
    assert filled.count("Not measured yet.") == 1
    assert "| 1.5 " in filled
    assert "| 2.5 " in filled
    assert filled.startswith("Before\n")
    assert filled.endswith("After\n")
    assert fill(filled, {"tiny": TABLE}, [one, two]) == filled
    assert "| 1.5 " not in fill(filled, {"tiny": TABLE}, [two])


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(DataError, match="no section between '<!-- results: tiny -->'"):
        fill("nothing", {"tiny": TABLE}, [results()])
    with pytest.raises(DataError, match="no such experiment"):
        fill("nothing", {}, [results()])


def test_figures_are_copied_under_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "rows.png").write_bytes(b"png")
    there = results() | {"figures": ["rows.png", "walk.mp4"]}
    assert copy_figures(there, tmp_path, tmp_path / "page")["figures"] == ["tiny-paper-rows.png"]
    assert (tmp_path / "page/tiny-paper-rows.png").read_bytes() == b"png"


def test_the_documentation_has_every_experiment() -> None:
    page = DOCS.read_text() + "".join(DOCS.with_name(name).read_text() for name in ("family.md", "tricks.md"))
    for name, experiment in EXPERIMENTS.items():
        assert f"## {experiment.title}\n\n<!-- results: {name} -->\n{section(experiment).splitlines()[0]}\n" in page
