import json
from dataclasses import replace
from pathlib import Path

import pytest

from progan.errors import ConfigError, DataError
from progan.evaluation.report import compare, comparison, read, table
from progan.evaluation.results import Report, Result

RESULT = Result(
    metric="swd",
    title="t",
    key="swd",
    values={"swd": 12.345, "swd_16": 3.0},
    real_values={"swd": 2.5, "swd_16": 1.0},
    count=1000,
    real_count=1000,
    floor_count=500,
    paper_count=16_384,
    seed=7,
)
FID = replace(
    RESULT,
    metric="fid",
    key="fid",
    values={"fid": 8.0},
    real_values={},
    extractor="inception",
    extractor_hash="abc",
    note="few",
)
SET = {"name": "a", "kind": "store", "hash": "1234", "resize": "", "count": 1000, "order": "seed", "labels": ""}
REPORT = Report(
    fake=SET, real=SET | {"name": "b", "hash": "5678"}, size=(16, 16, 3), mirror=False, seed=7, results=[RESULT, FID]
)


def test_every_line_says_what_decides_the_value() -> None:
    lines = table(REPORT).splitlines()
    assert lines[0] == "16x16, RGB; generated images: a (1000 images, 1234)"
    assert lines[1] == "real images: b (1000 images, 5678)"
    assert lines[3].split() == ["metric", "value", "real", "fakes", "reals", "paper's", "N", "seed", "extractor"]
    assert lines[4].split() == ["swd", "12.35", "2.5", "(500)", "1000", "1000", "no,", "16384", "7", "-"]
    assert lines[5].split() == ["swd_16", "3", "1", "(500)", "1000", "1000", "no,", "16384", "7", "-"]
    assert lines[6].split() == ["fid", "8", "-", "1000", "1000", "no,", "16384", "7", "inception", "abc"]
    assert "fid: few" in lines
    exact = replace(REPORT, results=[replace(RESULT, count=16_384)])
    assert " yes " in table(exact)


def test_equal_settings_can_be_compared() -> None:
    other = replace(REPORT, results=[replace(RESULT, values={"swd": 9.0, "swd_16": 2.0})])
    assert compare(REPORT.to_dict(), other.to_dict()) == [
        ("swd", 12.345, 9.0, [], ["real against real gives 2.5 (500 images)"])
    ]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(REPORT, results=[replace(RESULT, count=500)]), "number of generated images: 1000 against 500"),
        (replace(REPORT, results=[replace(RESULT, real_count=500)]), "number of real images: 1000 against 500"),
        (replace(REPORT, real=SET | {"name": "c", "hash": "99"}), "real set: b (5678) against c (99)"),
        (replace(REPORT, mirror=True), "mirroring of the real images: none against at random"),
        (replace(REPORT, size=(32, 32, 3)), "image size: 16x16x3 against 32x32x3"),
        (
            replace(REPORT, fake=SET | {"resize": "20x20 to 16x16"}),
            "resizing of the generated images: none against 20x20 to 16x16",
        ),
        (
            replace(REPORT, real=SET | {"hash": "5678", "resize": "20x20 to 16x16"}),
            "resizing of the real images: none against 20x20 to 16x16",
        ),
        (replace(REPORT, fake=SET | {"order": "file"}), "order of the generated images: seed against file"),
        (
            replace(REPORT, real=SET | {"hash": "5678", "order": "file"}),
            "order of the real images: seed against file",
        ),
        (replace(REPORT, fake=SET | {"labels": "uniform"}), "classes of the generated images: none against uniform"),
        (
            replace(REPORT, results=[replace(FID, extractor_hash="other")]),
            "extractor: inception abc against inception other",
        ),
    ],
)
def test_each_reason_against_a_comparison_is_named(other: Report, reason: str) -> None:
    assert next(row[3] for row in compare(REPORT.to_dict(), other.to_dict()) if row[3]) == [reason]


def test_files_of_version_0_1_0_had_the_order_of_the_seed_and_classes_in_turn() -> None:
    old = replace(REPORT, fake={k: v for k, v in SET.items() if k not in ("order", "labels")}).to_dict()
    assert not any(row[3] for row in compare(old, REPORT.to_dict()))
    now = replace(REPORT, fake=SET | {"labels": "uniform"}).to_dict()
    assert compare(old, now)[0][3] == ["classes of the generated images: none against uniform"]


def test_order_and_classes_are_said_of_a_set() -> None:
    sets = {"fake": SET | {"count": None, "labels": "uniform"}, "real": SET | {"order": "file", "resize": "8x8 to 4x4"}}
    lines = table(replace(REPORT, **sets)).splitlines()
    assert lines[0].endswith("generated images: a (generator, 1234, classes uniform)")
    assert lines[1] == "real images: a (1000 images, 1234, 8x8 to 4x4, in file order)"


def test_seed_and_version_are_remarks_only() -> None:
    other = replace(REPORT, seed=8, version="9.9")
    (_, _, _, reasons, remarks), _ = compare(REPORT.to_dict(), other.to_dict())
    assert reasons == []
    assert remarks[0] == "seeds 7 and 8 differ, so part of the difference is due to chance"
    assert "9.9" in remarks[1]


def test_files_are_compared(tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(json.dumps(REPORT.to_dict()))
    b.write_text(json.dumps(replace(REPORT, mirror=True).to_dict()))
    text, comparable = comparison(a, b)
    assert not comparable
    assert f"swd: 12.35 in {a}, 12.35 in {b}: CANNOT be compared\n  mirroring of the real images" in text
    assert comparison(a, a)[1]


def test_what_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("{}")
    (tmp_path / "b").write_text("no json")
    with pytest.raises(DataError, match="is not a measurement"):
        read(tmp_path / "a")
    with pytest.raises(DataError, match="is not JSON"):
        read(tmp_path / "b")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "c")
    ours, theirs = (replace(REPORT, results=[r]).to_dict() for r in (RESULT, FID))
    with pytest.raises(ConfigError, match="no metric in common: one has swd, the other fid"):
        compare(ours, theirs)
