"""Sound arrays, records and tables, from which the damaged ones are made."""

import gzip
import io
import pickle
import re
import tempfile
import zipfile
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from fuzz import seeds
from fuzz.cases import Case
from references import tfrecord_writer
from references.image_files import idx, python2_pickle


def idx_case(rng: Random) -> Case:
    """Build the files of MNIST, of which some are compressed."""
    files: dict = {}
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", seeds.pixels(rng, 4, 5, 6)), ("labels-idx1", np.arange(4, dtype=np.uint8))):
            packed = rng.random() < 0.5
            data = gzip.compress(idx(array), 1, mtime=0) if packed else idx(array)
            files[f"{part}-{kind}-ubyte{'.gz' if packed else ''}"] = data
    return Case(files=files)


def cifar(rng: Random) -> Case:
    """Build the files of CIFAR-10 or CIFAR-100, in a folder or a tar."""

    def batch() -> np.ndarray:
        return seeds.pixels(rng, 2, 3072)

    if rng.random() < 0.5:
        names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
        files = {name: python2_pickle(batch(), [1, 2]) for name in names}
        files["batches.meta"] = pickle.dumps({"label_names": [f"n{i}" for i in range(10)]}, protocol=2)
    else:
        content = {"data": batch(), "fine_labels": [3, 4], "coarse_labels": [0, 1]}
        files = {name: pickle.dumps(content, protocol=rng.choice((2, 2, 4))) for name in ("train", "test")}
        files["meta"] = pickle.dumps({"fine_label_names": [f"n{i}" for i in range(100)]}, protocol=2)
    if rng.random() < 0.3:
        return Case(files={"c.tar": seeds.tarred(rng, files)}, open="c.tar")
    return Case(files=dict(files))


def mat(rng: Random) -> Case:
    """Build the file of SVHN by scipy."""
    import scipy.io

    file = io.BytesIO()
    arrays = {"X": seeds.pixels(rng, 8, 8, 3, 4), "y": np.array([[1], [2], [10], [3]], np.uint8)}
    scipy.io.savemat(file, arrays, do_compression=rng.random() < 0.5)
    data = file.getvalue()
    return Case(files={"a.mat": b"MATLAB 5.0 MAT-file".ljust(116) + data[116:]}, open="a.mat")


def _array(rng: Random) -> np.ndarray:
    array = seeds.pixels(rng, *rng.choice(((3, 4, 6), (3, 4, 6, 3), (3, 3, 8, 6), (2, 4, 4, 1), (2, 5, 5, 4))))
    way = rng.randrange(6)
    if way == 0:
        return (array / np.float32(255)).astype(rng.choice((np.float32, np.float64, np.float16)))
    if way == 1:
        return array.astype(rng.choice((np.int16, np.int32, np.uint16)))
    return np.asfortranarray(array) if way == 2 else array


def npy(rng: Random) -> Case:
    """Build a .npy of one of the layouts and types."""
    file = io.BytesIO()
    np.save(file, _array(rng))
    return Case(files={"a.npy": file.getvalue()}, open="a.npy")


def npz(rng: Random) -> Case:
    """Build a .npz, compressed or not, with labels, perhaps with splits."""
    array = _array(rng)
    labels = rng.choice((np.arange(len(array)), np.eye(len(array)), np.arange(len(array))[:, None]))
    names = rng.choice((("images", "labels"), ("x_train", "y_train"), ("arr_0", "arr_1")))
    arrays = dict(zip(names, (array, labels), strict=True))
    arrays |= {"x_test": array, "y_test": labels} if names[0] == "x_train" else {}
    files = {}
    for name, values in arrays.items():
        file = io.BytesIO()
        np.save(file, values)
        files[f"{name}.npy"] = file.getvalue()
    return Case(
        files={"a.npz": seeds.zipped(rng, files, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))}, open="a.npz"
    )


def tfrecord(rng: Random) -> Case:
    """Build the official data set with labels, or records of encoded images."""
    with tempfile.TemporaryDirectory() as name:
        images = np.stack([seeds.pixels(rng, 3, 4, 4) for _ in range(3)])
        labels = np.eye(3, dtype=np.float32) if rng.random() < 0.7 else np.ones((3, 2), np.float32)
        written = tfrecord_writer.write(Path(name) / "t", images, labels, packed=rng.random() < 0.5)
        files = {file.name: file.read_bytes() for file in written.iterdir()}
    return Case(files=dict(sorted(files.items())))


def lmdb_case(rng: Random) -> Case:
    """Build an LMDB of encoded images, of which some need overflow pages."""
    import lmdb

    with tempfile.TemporaryDirectory() as name:
        with lmdb.open(name, map_size=1 << 20) as database, database.begin(write=True) as change:
            for i in range(rng.choice((3, 60))):
                big = (
                    seeds.encoded(Image.fromarray(seeds.pixels(rng, 60, 60, 3)), "BMP")
                    if i == 1
                    else seeds.any_picture(rng)[0]
                )
                change.put(f"{i:08}".encode(), big)
        data = (Path(name) / "data.mdb").read_bytes()
    return Case(files={"a/data.mdb": data}, open="a")


def _table(rng: Random):
    import pyarrow as pa

    images = [{"bytes": seeds.any_picture(rng)[0], "path": f"{i}.png"} for i in range(3)]
    return pa.table(
        {"image": images, "label": [0, 1, 1], "age": [0.5, 1.0, 2.0], "text": ["a", "b", "a"], "list": [[1, 2]] * 3}
    )


def parquet(rng: Random) -> Case:
    """Build a parquet file, or a folder of two."""
    import pyarrow.parquet as pq

    def one() -> bytes:
        file = io.BytesIO()
        pq.write_table(_table(rng), file, compression=rng.choice(("snappy", "none", "zstd", "gzip")))
        return file.getvalue()

    if rng.random() < 0.5:
        return Case(files={"a.parquet": one()}, open="a.parquet")
    return Case(files={"data/train-0.parquet": one(), "data/test-0.parquet": one()})


def arrow(rng: Random) -> Case:
    """Build a folder of save_to_disk."""
    import datasets

    with tempfile.TemporaryDirectory() as name:
        datasets.disable_progress_bars()
        made = datasets.Dataset(_table(rng)).cast_column("image", datasets.Image(decode=False))
        made.save_to_disk(name)
        files = {file.name: file.read_bytes() for file in sorted(Path(name).iterdir())}
    files["state.json"] = re.sub(rb'("_fingerprint": ")[^"]*', rb"\1a", files["state.json"])  # a random number
    return Case(files=dict(files))


def hdf5(rng: Random) -> Case:
    """Build an HDF5 file of images and labels, of which some are in compressed chunks."""
    import h5py

    file, array = io.BytesIO(), seeds.pixels(rng, 4, 6, 6, 3)
    how = rng.choice(({}, {"chunks": (1, 6, 6, 3), "compression": "gzip"}, {"chunks": (2, 6, 6, 3), "shuffle": True}))
    with h5py.File(file, "w", libver=rng.choice(("earliest", "latest"))) as made:
        made.create_dataset("images", data=array, **how)
        made["labels"] = np.arange(4)
    return Case(files={"a.h5": file.getvalue()}, open="a.h5")
