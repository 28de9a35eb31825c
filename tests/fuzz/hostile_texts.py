"""Label files, folders and stores with content that nobody would write."""

import json
import zipfile
from random import Random

from fuzz import seeds, seeds_texts
from fuzz.cases import Case, Content, Link, Special
from fuzz.hostile import BAD_NAMES, MIB, dot, in_folder, one


def texts(rng: Random) -> list[Case]:
    """Return label files that are deep, long, or not text."""
    files: dict = {f"{i}.png": dot(rng) for i in range(2)}
    contents = {
        "deep list": b'{"labels": ' + b"[" * 10**5,
        "deep object": b'{"a":' * 10**5,
        "closed": b"[" * 900 + b"]" * 900,
        "long number": b'{"labels": [["0.png", ' + b"9" * 10**5 + b'], ["1.png", 1]]}',
        "exponent": b'{"labels": [["0.png", 1e400], ["1.png", NaN]]}',
        "nul": b'{"labels": [["0.png\\u0000", 1], ["1.png", 2]]}',
        "surrogate": b'{"labels": [["0.png", "\\ud800"], ["1.png", "a"]]}',
        "control": b'{"labels": [["0.png", "\\u001b[31m\\n"], ["1.png", "a"]]}',
        "names": json.dumps({"labels": [[n, 1] for n in BAD_NAMES]}, ensure_ascii=True).encode(),
        "one line of 20 MB": b"0.png," + b"x" * 20 * MIB,
        "quotes": b'"' * 10**5,
        "nulls": bytes(10**5),
        "utf-16": "file,label\n0.png,1\n1.png,2\n".encode("utf-16"),
        "10^5 commas": b"," * 10**5,
        "10^5 lines": b"0.png,1\n1.png,2\n" + b"x.png,1\n" * 10**5,
        "huge count": b"999999999999\na b\n0.png 1 1\n1.png -1 1\n",
        "large class": b"0.png,99999999999999999999\n1.png,3\n",
        "formula": b"file,label\n0.png,=1+1\n1.png,'; DROP TABLE\n",
        "empty": b"",
        "large ids": b'{"labels": [["0.png", 1000000000000], ["1.png", -5]]}',
        "10^9 classes": b'{"labels": [["0.png", 1000000000], ["1.png", 0]]}',
    }
    cases = []
    for note, data in contents.items():
        cases += [
            in_folder(files | {"l.csv": data}, f"csv: {note}", labels="@l.csv"),
            in_folder(files | {"l.json": data}, f"json: {note}", labels="@l.json"),
        ]
        cases += [
            in_folder(files | {name: data}, f"{name}: {note}")
            for name in ("dataset.json", "metadata.csv", "metadata.jsonl")
        ]
        cases.append(
            one(
                "a.zip",
                seeds.zipped(rng, files | {"0.json": data, "1.cls": data}, zipfile.ZIP_DEFLATED),
                f"beside: {note}",
            )
        )
    return cases


_MEANT = """dataset.json metadata.csv metadata.jsonl data.mdb a.tfrecords a.tar a.zip a.parquet manifest.json
dataset_dict.json state.json train-images-idx3-ubyte data_batch_1 train_32x32.mat a.h5"""


def folders(rng: Random) -> list[Case]:
    """Return folders of links, pipes, sockets, devices, loops and odd names."""
    good: dict = {"0.png": dot(rng)}
    odd: dict[str, dict[str, Content]] = {
        "fifo": {"a.png": Special("fifo")},
        "socket": {"s.png": Special("socket")},
        "folder": {"a.png/": Special("folder")},
        "loop": {"a": Link("."), "b": Link("a")},
        "up": {"a": Link("..")},
        "dangling": {"a.png": Link("nowhere.png")},
        "itself": {"a.png": Link("a.png")},
        "zero": {"a.png": Link("/dev/zero")},
        "null": {"a.png": Link("/dev/null")},
        "passwd": {"a.png": Link("/etc/passwd")},
        "mem": {"a.png": Link("/proc/self/mem")},
        "outside": {"a.png": Link("../sentinel.png")},
        "empty": {"a.png": b""},
    }
    for name in _MEANT.split():
        odd |= {
            f"fifo {name}": {name: Special("fifo")},
            f"folder {name}": {f"{name}/": Special("folder")},
            f"link {name}": {name: Link(name)},
        }
        odd |= {
            f"zero {name}": {name: Link("/dev/zero")},
            f"empty {name}": {name: b""},
            f"words {name}": {name: b"hello"},
        }
    cases = [in_folder(good | files, note) for note, files in odd.items()]
    cases += [in_folder(files, f"only {note}") for note, files in odd.items()]
    cases += [
        in_folder(good | {name: dot(rng)}, f"name {name[:40]!r}")
        for name in BAD_NAMES
        if ".." not in name and not name.startswith("/")
    ]
    cases += [
        in_folder({f"{name}/a.png": dot(rng), "b/b.png": dot(rng)}, f"class {name[:40]!r}")
        for name in BAD_NAMES
        if name and ".." not in name and not name.startswith("/") and "/" not in name
    ]
    deep = "/".join(["d"] * 900) + "/a.png"
    return [
        *cases,
        in_folder(good | {deep: dot(rng)}, "900 folders deep"),
        in_folder({f"{i}.png": b"" for i in range(3000)}, "3,000 empty"),
    ]


def stores(rng: Random) -> list[Case]:
    """Return stores whose manifests lie."""
    sound = seeds_texts.store(rng)
    manifest = json.loads(sound.files["manifest.json"])  # pyright: ignore[reportArgumentType]
    values = [
        None,
        -1,
        0,
        1.5,
        True,
        2**40,
        10**30,
        "x",
        "",
        [],
        {},
        ["x"] * 3,
        "../x.npy",
        "/etc/passwd",
        "a\0b",
        {"x": [[[]]]},
        1e999,
        "\ud800",
    ]
    cases = []
    for key in manifest:
        cases += [
            sound.changed(
                f"{key} = {str(v)[:30]}",
                files=sound.files | {"manifest.json": json.dumps(manifest | {key: v}).encode()},
            )
            for v in values
        ]
        less = {k: v for k, v in manifest.items() if k != key}
        cases.append(sound.changed(f"no {key}", files=sound.files | {"manifest.json": json.dumps(less).encode()}))
    for name in sound.files:
        for note, other in (
            ("fifo", Special("fifo")),
            ("itself", Link(name)),
            ("zero", Link("/dev/zero")),
            ("folder", None),
        ):
            rest = {n: c for n, c in sound.files.items() if n != name}
            cases.append(
                sound.changed(
                    f"{name} is {note}", files=rest | ({name: other} if other else {f"{name}/": Special("folder")})
                )
            )
    return cases
