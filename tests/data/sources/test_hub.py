"""Data sets of the Hugging Face hub, against a small server of this machine, and folders of ``save_to_disk``."""

import json
import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from progan.data.options import PrepareOptions
from progan.data.recipes import is_known, open_recipe, prepare_recipe
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.hub import arrow_source, hub_source
from progan.errors import DataError
from references.hub_server import Hub
from references.image_files import encoded, noise

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = [encoded(noise(8, 8, seed=i)) for i in range(9)]
FEATURES = datasets.Features(
    {"n": datasets.Value("int64"), "img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog", "eel"])}
)


def made(rows: range):
    images = [{"bytes": IMAGES[i], "path": None} for i in rows]
    return datasets.Dataset.from_dict({"n": rows, "img": images, "kind": [i % 3 for i in rows]}, features=FEATURES)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    both = datasets.DatasetDict(train=made(range(6)), test=made(range(6, 9)))
    both.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1})
    return tmp_path / "saved"


def test_folders_of_save_to_disk_are_read_without_the_library(saved: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for path, split, rows in (
        (saved, "train", range(6)),
        (saved, "test", range(6, 9)),
        (saved, "all", range(9)),
        (saved / "test", "train", range(6, 9)),
    ):
        source = open_source(path, split=split)
        assert [record.data for record in source] == [IMAGES[i] for i in rows]
        assert source.labels == [i % 3 for i in rows]
        assert source.classes == ("cat", "dog", "eel")
    source = open_source(saved)
    assert source.names[2:4] == ["data-00000-of-00002.arrow[2]", "data-00001-of-00002.arrow[0]"]
    assert [record.data for record in source.records([1, 4])] == [IMAGES[1], IMAGES[4]]


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a"])
def test_files_with_an_index_are_read_in_place(tmp_path: Path, name: str) -> None:
    table = pa.table({"image": IMAGES[:4], "label": ["b", "a", "b", "a"]})
    packing = pa.ipc.IpcWriteOptions(compression="zstd" if name == "a.feather" else None)
    with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_file(file, table.schema, options=packing) as writer:
        writer.write_table(table, max_chunksize=3)
    for path in (tmp_path / name, tmp_path)[: 1 + (name != "a")]:
        source = open_source(path)
        assert [record.data for record in source] == IMAGES[:4]
        assert (source.labels, source.classes) == ([1, 0, 1, 0], ("a", "b"))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name}: not a readable Arrow file"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("packing", [None, "zstd"])
def test_damage_inside_arrow_files_is_an_error_of_its_images(tmp_path: Path, packing: str | None) -> None:
    table = pa.table({"n": range(6), "image": IMAGES[:6]})
    options = pa.ipc.IpcWriteOptions(compression=packing)
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema, options=options) as out,
    ):
        out.write_table(table, max_chunksize=3)
    data = bytearray((tmp_path / "a.arrow").read_bytes())
    ends = np.cumsum([len(image) for image in IMAGES[3:6]], dtype=np.int32)
    at = data.rindex(np.array([0, *ends], np.int32).tobytes()) if packing is None else data.rindex(b"\x28\xb5\x2f\xfd")
    data[at + 4 : at + 12] = b"\xff\xff\xff\x7f" * 2
    (tmp_path / "a.arrow").write_bytes(data)
    found = [record.data for record in open_source(tmp_path / "a.arrow")]
    assert [isinstance(one, DataError) for one in found] == [False] * 3 + [True] * 3
    assert found[:3] == IMAGES[:3]


def test_splits_of_a_folder_of_arrow_files(tmp_path: Path) -> None:
    for part, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        table = pa.table({"image": IMAGES[rows]})
        with pa.OSFile(str(tmp_path / f"set-{part}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    assert [len(open_source(tmp_path, split=split)) for split in ("train", "test", "all")] == [3, 2, 5]


def test_damaged_folders_of_save_to_disk_are_named(saved: Path, monkeypatch) -> None:
    (saved / "test" / "state.json").unlink()
    with pytest.raises(DataError, match=r"saved: incomplete folder of save_to_disk \(.*state.json"):
        open_source(saved)
    file = saved / "train" / "data-00001-of-00002.arrow"
    for size in (0, 10, 500):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(DataError, match=r"data-00001-of-00002.arrow: not a readable Arrow file"):
            open_source(saved / "train")
    file.unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow: not a readable Arrow file"):
        open_source(saved / "train")
    made(range(0)).save_to_disk(saved / "none")
    with pytest.raises(DataError, match=r"Arrow none: contains no images\n  found: 0 rows"):
        open_source(saved / "none")
    made(range(2)).save_to_disk(saved / "two")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'progan\[hf\]'"):
        open_source(saved / "two")


def test_files_that_images_point_at_are_read_in_the_cache_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "cache" / "a.png", tmp_path / "b.png"
    inside.parent.mkdir()
    for file in (inside, outside):
        file.write_bytes(IMAGES[0])
    escape = tmp_path / "cache" / ".." / "b.png"
    rows = [{"bytes": None, "path": str(path)} for path in (inside, outside, escape)] + [None, {"path": ""}]
    table = pa.table({"img": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    payloads = [record.data for record in arrow_source("a", [tmp_path / "a.arrow"], roots=[inside.parent])]
    assert payloads[0] == inside
    assert all(isinstance(data, DataError) for data in payloads[1:])


SCRIPT = """
import json, sys
from progan.data.records import Choice
from progan.data.sources.hub import hub_source
from progan.errors import DataError
for name in sys.argv[1:]:
    try:
        path, source = hub_source(name, Choice())
        print(json.dumps([source.description, len(source), source.labels, list(source.classes)]))
        assert all(not isinstance(record.data, DataError) for record in source) and path.is_dir()
    except DataError as error:
        print(json.dumps(str(error)))
"""


def test_names_of_the_hub_are_downloaded_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    repos, mark = tmp_path / "repos" / "me", tmp_path / "was_run"
    for name, file in (("pets", "data/train-0.parquet"), ("two", "a/0.parquet"), ("two", "b/1.parquet")):
        (repos / name / file).parent.mkdir(parents=True, exist_ok=True)
        made(range(4)).to_parquet(repos / name / file)
    configs = "".join(f"- config_name: {c}\n  data_files: {c}/*\n" for c in "ab")
    (repos / "two" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for i, kind in enumerate(("cat", "dog")):
        (repos / "files" / "train" / kind).mkdir(parents=True)
        (repos / "files" / "train" / kind / "1.png").write_bytes(IMAGES[i])
    (repos / "text").mkdir()
    (repos / "text" / "train.csv").write_text("a,b\n1,2\n")
    (repos / "script").mkdir()
    (repos / "script" / "script.py").write_text(f"open({str(mark)!r}, 'w')")

    class Handler(Hub):
        root = tmp_path / "repos"

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    names = ["pets", "two:b", "files", "two", "text", "script", "nothing"]
    address = f"http://127.0.0.1:{server.server_address[1]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", SCRIPT, *(f"hf:me/{name}" for name in names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    server.shutdown()
    server.server_close()
    found = dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))
    labels = [4, [0, 1, 2, 0], ["cat", "dog", "eel"]]
    assert found["pets"] == ["Hugging Face hf:me/pets, train", *labels]
    assert found["two:b"] == ["Hugging Face hf:me/two:b, train", *labels]
    assert found["files"] == ["Hugging Face hf:me/files, train", 2, [0, 1], ["cat", "dog"]]
    assert "Please pick one among the available configs: ['a', 'b']" in found["two"]
    assert found["two"].endswith("  fix:   use hf:me/two:CONFIG with one of its configurations")
    assert "no column of encoded images\n  found: a int64, b int64" in found["text"]
    assert "Dataset scripts are no longer supported" in found["script"]
    assert not mark.exists()
    assert "fix:   check the name at https://huggingface.co/datasets/me/nothing" in found["nothing"]


class Split:
    def __init__(self, *files: Path) -> None:
        self.cache_files = [{"filename": str(file)} for file in files]


@pytest.fixture
def hub(saved: Path, monkeypatch) -> dict:
    """What ``load_dataset`` gives, to be changed."""
    parts = {part: Split(*sorted((saved / part).glob("*.arrow"))) for part in ("train", "test")}
    monkeypatch.setattr(datasets, "load_dataset", lambda repo, config, revision: parts)
    return parts


def test_splits_of_the_hub(hub: dict) -> None:
    assert [len(hub_source("hf:a/b", Choice(split=split))[1]) for split in ("train", "test", "all")] == [6, 3, 9]
    hub["unsupervised"] = hub.pop("test")
    with pytest.raises(DataError, match=r"hf:a/b: no images of the split 'test'\n  found: train\n"):
        hub_source("hf:a/b", Choice(split="test"))
    assert [len(hub_source("hf:a/b", Choice(split=split))[1]) for split in ("train", "all")] == [6, 9]
    hub["validation"] = hub.pop("unsupervised")
    (_, source) = hub_source("hf:a/b", Choice(split="test"))
    assert (len(source), source.notes[-1]) == (3, "split 'val' is used, because there is no split 'test'")
    assert source.heeds == {"split", "column"}
    hub["full"], hub["rest"] = hub.pop("train"), hub.pop("validation")
    (_, source) = hub_source("hf:a/b", Choice())
    assert (len(source), source.heeds) == (9, {"column"})  # no split is called train, validation or test


def test_stores_of_the_hub_take_other_labels(hub: dict, tmp_path: Path) -> None:
    assert is_known("hf:a/b")
    assert prepare_recipe("hf:a/b", tmp_path / "store", workers=0).classes == ("cat", "dog", "eel")
    assert open_recipe("hf:a/b", PrepareOptions(labels="none")).source.labels is None
    names = open_recipe("hf:a/b").source.names
    (tmp_path / "labels.csv").write_text("".join(f"{name},{'xy'[i % 2]}\n" for i, name in enumerate(names)))
    store = prepare_recipe("hf:a/b", tmp_path / "store", PrepareOptions(labels=f"{tmp_path}/labels.csv"), workers=0)
    assert (store.classes, store.labels().tolist()) == (("x", "y"), [0, 1, 0, 1, 0, 1])


def test_mistakes_about_the_hub(tmp_path: Path, monkeypatch) -> None:
    for name in ("hf:", "hf:a/b/c", "hf:/etc", "hf:../x y", "hf:a/b:"):
        with pytest.raises(DataError, match="not the name of a data set on the Hugging Face Hub"):
            hub_source(name, Choice())
    monkeypatch.chdir(tmp_path)
    Path("a/b").mkdir(parents=True)
    with pytest.raises(DataError, match="hf:a/b: the local folder a/b has the same name"):
        hub_source("hf:a/b", Choice())

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectionError("Couldn't reach 'c/d'\non the Hub " + "x" * 500)

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        DataError, match=r"Couldn't reach 'c/d' on the Hub x{100,190}\.\.\.\n .*run this again when https:"
    ):
        hub_source("hf:c/d", Choice())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r"hf:c/d: reading it requires another package\n  fix:   pip install 'progan\[hf\]'"
    ):
        hub_source("hf:c/d", Choice())


def test_parquet_and_arrow_give_equal_images(saved: Path, tmp_path: Path) -> None:
    made(range(6)).to_parquet(tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 6
    assert [r.data for r in open_source(tmp_path / "a.parquet")] == [r.data for r in open_source(saved)]
