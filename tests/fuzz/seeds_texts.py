"""Sound label files and stores, from which the damaged ones are made."""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from random import Random

from PIL import Image

from fuzz import seeds
from fuzz.cases import Case


def label_file(rng: Random) -> Case:
    """Build a folder with a label file that is given by --labels: CSV, TSV, or CelebA's list of attributes."""
    files: dict = {f"{i}.png": seeds.encoded(seeds.picture(rng, "RGB"), "PNG") for i in range(4)}
    if rng.random() < 0.25:
        rows = [f"{i}.png {(-1) ** i} 1" for i in range(4)]
        return Case(files=files | {"l.txt": "\n".join(["4", "smile hat", *rows]).encode()}, labels="@l.txt:smile")
    mark = rng.choice(",\t; ")
    rows = [("file", "label", "age", "note"), *((f"{i}.png", str(i % 2), str(i / 2), f"t{i}") for i in range(4))]
    text = rng.choice(("\n", "\r\n")).join(map(mark.join, rows))
    return Case(files=files | {"l.csv": text.encode()}, labels=rng.choice(("@l.csv", "@l.csv:label")))


def dataset_json(rng: Random) -> Case:
    """Build a folder or zip with StyleGAN's dataset.json."""
    files: dict = {f"0000{i % 2}/img{i}.png": seeds.encoded(seeds.picture(rng, "RGB"), "PNG") for i in range(4)}
    values: list = rng.choice(([0, 1, 0, 2], ["a", "b", "a", "b"], [[0.5, 1.0]] * 4))
    content: dict = {"labels": [[name, value] for name, value in zip(files, values, strict=True)]}
    content |= rng.choice(({}, {"age": [[name, 3] for name in files]}, {"text": [[name, "x"] for name in files]}))
    files["dataset.json"] = json.dumps(content).encode()
    if rng.random() < 0.4:
        return Case(files={"a.zip": seeds.zipped(rng, files, zipfile.ZIP_STORED)}, open="a.zip")
    return Case(files=files)


def metadata(rng: Random) -> Case:
    """Build a folder with the hub's metadata.csv or metadata.jsonl."""
    files: dict = {f"{i}.png": seeds.encoded(seeds.picture(rng, "RGB"), "PNG") for i in range(4)}
    rows = [{"file_name": name, "label": i % 2, "age": i / 2, "text": f"t {i}"} for i, name in enumerate(files)]
    if rng.random() < 0.5:
        files["metadata.jsonl"] = "\n".join(map(json.dumps, rows)).encode()
    else:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        files["metadata.csv"] = "\n".join(lines).encode()
    return Case(files=files)


def store(rng: Random) -> Case:
    """Build a store with labels, names and columns."""
    from progan.data.options import PrepareOptions
    from progan.data.preparing import prepare

    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        for i in range(3):
            (source / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            (source / "ab"[i % 2] / f"é{i}.png").write_bytes(
                seeds.encoded(Image.fromarray(seeds.pixels(rng, 8, 8, 3)), "PNG")
            )
            os.utime(source / "ab"[i % 2] / f"é{i}.png", (0, 0))
        rows = [f"{'ab'[i % 2]}/é{i}.png,{'ab'[i % 2]},{i},{i / 2},{'xy'[i % 2]}" for i in range(3)]
        (Path(name) / "l.csv").write_text("\n".join(["file,label,n,f,t", *rows]), "utf-8")
        os.utime(Path(name) / "l.csv", (0, 0))
        prepare(source, Path(name) / "s", PrepareOptions(resolution="8", labels=str(Path(name) / "l.csv")), workers=0)
        files = {file.name: file.read_bytes() for file in sorted((Path(name) / "s").iterdir()) if file.is_file()}
        files["manifest.json"] = files["manifest.json"].replace(name.encode(), b"/tmp/x")
    return Case(files=dict(files), how="store")
