"""The command 'progan metric'."""

import json
from pathlib import Path

import pytest

from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.metrics.digits import DigitClassifier
from small import write_images


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))


def run(*args: object) -> int:
    return main(["metric", *map(str, args)])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("other")
    images = write_images(folder / "images", count=30, classes=1)
    return prepare(images, folder / "store", PrepareOptions(resolution="16"), workers=0)


def test_table(store: Store, other: Store, capsys) -> None:
    assert run(other.path, store.path) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[4:] if line]
    assert names[:4] == ["swd", "swd_16", "ms_ssim", "ms_ssim_std_error"]


def test_json_is_all_there_is_on_stdout(store: Store, other: Store, capsys) -> None:
    assert run(other.path, store.path, "--metrics", "swd", "--count", 20, "--seed", 3, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["seed"], report["size"]) == ("progan metrics 1", 3, [16, 16, 3])
    assert report["results"][0]["values"]["swd"] > 0
    assert (report["results"][0]["count"], report["results"][0]["floor_count"]) == (20, 20)


def test_measurements_are_compared(store: Store, other: Store, tmp_path: Path, capsys) -> None:
    files = []
    for count in (20, 20, 10):
        assert run(other.path, store.path, "--metrics", "swd", "--count", count, "--json") == 0
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(capsys.readouterr().out)
    assert run("compare", *files[:2]) == 0
    assert "can be compared" in capsys.readouterr().out
    assert run("compare", *files[1:]) == 1
    assert "CANNOT be compared\n  number of generated images: 20 against 10" in capsys.readouterr().out


def test_order_of_the_files(store: Store, other: Store, capsys) -> None:
    values = []
    for options in ([], ["--order", "file"], ["--order", "file", "--seed", 4]):
        assert run(other.path, store.path, "--metrics", "ms_ssim", "--count", 20, "--json", *options) == 0
        report = json.loads(capsys.readouterr().out)
        wanted = "file" if options else "seed"
        assert (report["fake"]["order"], report["real"]["order"]) == (wanted, wanted)
        values.append(report["results"][0]["values"]["ms_ssim"])
    assert values[0] != values[1] == values[2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{other}"], "error: swd compares two sets: pass the real images too"),
        (["{other}", "{store}", "--metrics", "fdi"], "error: unknown metric 'fdi'; choose from swd, ms_ssim"),
        (["{other}", "{store}", "--count", "31"], "expected 31 of each set; pass --count 30 or less"),
        (["{other}", "{store}", "--resolution", "8"], "error: swd is not defined below 16 pixels"),
        (["{other}", "nowhere"], "error: nowhere"),
        (["{other}", "{store}", "--seed", "-1"], "error: seed must be 0 ... 2^63 - 1, got -1"),
        (["{other}", "{store}", "--metrics", "modes"], "progan metric digits"),
        (["{other}", "{store}", "--metrics", "digit_histogram"], "progan metric digits"),
        (
            ["{other}", "{store}", "--metrics", "parzen", "--count", "9"],
            "parzen requires at least 10 images of each set",
        ),
        (["{other}", "{store}", "--metrics", "fid", "--weights", "no.pth"], "no.pth"),
    ],
)
def test_mistakes_get_one_line(args: list[str], message: str, store: Store, other: Store, capsys) -> None:
    assert run(*(arg.format(store=store.path, other=other.path) for arg in args)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_without_reals(other: Store, capsys) -> None:
    assert run(other.path, "--metrics", "ms_ssim") == 0
    assert "ms_ssim" in capsys.readouterr().out


def test_digits_and_likelihood_of_labeled_stores(tmp_path: Path, capsys) -> None:
    DigitClassifier().save(tmp_path / "cache" / "weights" / "digits.safetensors", test_error=0.5)
    folder = write_images(tmp_path / "images", count=24, size=(28, 28))
    store = prepare(folder, tmp_path / "store", PrepareOptions(resolution="28"), workers=0)
    names = ["digit_histogram", "digit_accuracy", "parzen"]
    assert run(store.path, store.path, "--metrics", *names, "--json") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["key"] for result in results] == ["digit_kl", "digit_accuracy", "parzen"]
    assert results[0]["values"]["digit_kl"] == 0
    assert sum(results[0]["values"][f"digits_{digit}"] for digit in range(10)) == pytest.approx(1)
    assert {"digit_accuracy_0", "digit_accuracy_1"} < results[1]["values"].keys()
    assert run(store.path, "--metrics", *names[:2]) == 0
    out = capsys.readouterr().out
    assert "compared with a uniform histogram" in out
    assert "misreads 50.00% of MNIST's test digits" in out
    assert run(store.path, "--metrics", "parzen") == 2
    assert "parzen compares two sets: pass the real images too" in capsys.readouterr().err
