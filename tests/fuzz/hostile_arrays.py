"""Arrays, records and tables whose headers say too much, bombs, and pickles that would run code."""

import functools
import io
import os
import pickle
import struct
import zipfile
import zlib
from random import Random

import numpy as np

from fuzz import seeds
from fuzz.cases import Case, Lazy
from fuzz.hostile import MIB, deflated_zeros, dot, gzip_zeros, in_folder, one, png_of_zeros
from references.tfrecord_writer import example, field, masked, record


class Evil:
    """What a pickle would call."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], tuple(self.call[1:])  # pyright: ignore[reportReturnType]


def idxs(rng: Random) -> list[Case]:
    """Return idx files whose numbers lie, and gzip bombs."""
    name, cases = "train-images-idx3-ubyte", []
    for shape in (
        (2**32 - 1,) * 3,
        (0, 0, 0),
        (0, 28, 28),
        (5, 0, 0),
        (2**32 - 1, 0, 0),
        (1, 1, 1),
        (1, 2**16, 2**16),
        (10**9, 1, 1),
    ):
        cases.append(one(name, struct.pack(">4I", 0x803, *shape) + bytes(100), f"shape {shape}"))
    head = struct.pack(">4I", 0x803, 2, 2, 2)
    honest = struct.pack(">4I", 0x803, 1500, 1024, 1024)
    return [
        *cases,
        one(f"{name}.gz", Lazy(functools.partial(gzip_zeros, 1500, head)), "1.5 GiB behind 2 small pictures"),
        one(f"{name}.gz", Lazy(functools.partial(gzip_zeros, 1500, honest)), "1,500 pictures of 1 MiB"),
        one(f"{name}.gz", Lazy(functools.partial(gzip_zeros, 1500)), "1.5 GiB of zeros"),
        one(f"{name}.gz", b"\x1f\x8b" * 9, "no gzip"),
    ]


def pickles(rng: Random) -> list[Case]:
    """Return batches that would run code or take all memory."""
    calls = (
        (os.mkdir, "pwned"),
        (os.system, "touch pwned"),
        (eval, "__import__('os').mkdir('pwned')"),
        (exec, "open('pwned','w')"),
        (np.frombuffer, b"x", "O"),
        (np.dtype, "O"),
        (os.getpid,),
        (bytearray, 10**10),
        (np.zeros, 10**10),
        (map, str, []),
    )
    data = {str(call[:2])[:50]: pickle.dumps({"data": Evil(*call)}, 2) for call in calls}
    deep: list = []
    for _ in range(200):
        deep = [deep]
    data |= {
        "long of 2 GiB": b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(10),
        "bytes of 2^62": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little"),
        "frame of 2^62": b"\x80\x04\x95" + (2**62).to_bytes(8, "little"),
        "marks": b"\x80\x02" + b"(" * 10**6 + b".",
        "memo of 2^31": b"\x80\x02]r\xff\xff\xff\x7f.",
        "tuples": b"\x80\x02)" + b"\x85" * 10**5 + b".",
        "deep": pickle.dumps(deep),
        "laughs": b"\x80\x02]q\0"
        + b"".join(b"](" + b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
        + b".",
        "itself": b"\x80\x02}q\0(U\x04datah\0u.",
        "array of itself": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\0)Rq\x01(K\x01h\x01h\x01\x89h\x01tb.",
        "persistent": b"Px\n.",
        "extension": b"\x80\x02\x82\x01.",
        "inst": b"(ios\nmkdir\n.",
        "obj": b"(cos\nmkdir\n(S'pwned'\no.",
        "state of numbers": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)RK\x05b.",
        "shape of 2^62": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01\x8a\x08"
        + (2**62).to_bytes(8, "little")
        + b"\x85K\0\x89U\x01xtb.",
    }
    cases = []
    for note, batch in data.items():
        files: dict = dict.fromkeys([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], batch)
        cases.append(in_folder(files | {"batches.meta": batch}, note))
    return cases


def arrays(rng: Random) -> list[Case]:
    """Return .npy, .npz and .mat files that say too much."""
    cases = []
    for shape in (
        "(1000000000000, 4, 4)",
        "(3, 0, 0)",
        "(0,)",
        "()",
        "(2, 2, 2, 2, 2)",
        "(1, 100000, 100000)",
        "(-1, 4, 4)",
        "(4, 4, 4L)",
    ):
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        cases.append(
            one(
                "a.npy",
                b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(64),
                f"shape {shape}",
            )
        )
    objects = io.BytesIO()
    np.save(objects, np.array([Evil(os.mkdir, "pwned")], object), allow_pickle=True)
    cases.append(one("a.npy", objects.getvalue(), "objects"))
    cases.append(
        one("a.npz", seeds.zipped(rng, {"images.npy": objects.getvalue(), "labels.npy": objects.getvalue()}), "objects")
    )
    for order, shape, note in (
        ("False", (600, 1024, 1024), "600 pictures of 1 MiB"),
        ("True", (600, 1024, 1024), "600 MiB, by columns"),
        ("False", (1, 20000, 30000), "one of 600 MB"),
    ):
        cases.append(one("a.npz", Lazy(functools.partial(_npz_of_zeros, order, shape)), note))
    return [*cases, one("a.npz", Lazy(_npz_of_labels), "1.2 GB of labels for 2 pictures")]


def _npz_of_zeros(order: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    body = b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(int(np.prod(shape)))
    return seeds.zipped(Random(0), {"images.npy": body}, zipfile.ZIP_DEFLATED)


def _npz_of_labels() -> bytes:
    labels, small = io.BytesIO(), io.BytesIO()
    np.save(labels, np.zeros(150 * MIB, np.int64))
    np.save(small, seeds.pixels(Random(0), 2, 4, 4))
    return seeds.zipped(
        Random(0), {"images.npy": small.getvalue(), "labels.npy": labels.getvalue()}, zipfile.ZIP_DEFLATED
    )


def mats(rng: Random) -> list[Case]:
    """Return .mat files with a bomb or with impossible shapes."""
    cases, head = [], b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    for shape in ((32, 32, 3, 2**31 - 1), (2**31 - 1,) * 4, (0, 0, 3, 0), (32, 32, 3, -1), (1,), (20000, 20000, 3, 1)):
        part = (
            struct.pack("<4I", 6, 8, 9, 0)
            + struct.pack("<2I", 5, 4 * len(shape))
            + struct.pack(f"<{len(shape)}i", *shape)
        )
        part += (
            bytes(-len(part) % 8)
            + struct.pack("<2H4s", 1, 1, b"X")
            + struct.pack("<2I", 2, abs(int(np.prod(shape))) & 0xFFFFFFFF)
        )
        whole = struct.pack("<2I", 14, len(part) + 64) + part + bytes(64)
        cases.append(one("a.mat", head + whole, f"shape {shape}"))
        packed = zlib.compress(whole)
        cases.append(one("a.mat", head + struct.pack("<2I", 15, len(packed)) + packed, f"packed, shape {shape}"))
    bomb = b"\x78\xda" + deflated_zeros(600)[0]
    return [*cases, one("a.mat", head + struct.pack("<2I", 15, len(bomb)) + bomb, "600 MiB of zeros")]


def tfrecords(rng: Random) -> list[Case]:
    """Return records of wrong lengths under right checksums."""

    cases = []
    for length in (0, 1, 2**31, 2**62, 2**63, 2**64 - 1, 2**64 - 16):
        told = length.to_bytes(8, "little")
        cases.append(one("a.tfrecords", told + masked(told) + bytes(200), f"length {length}"))
    image = example(seeds.pixels(rng, 3, 4, 4))
    nested = b""
    for _ in range(200):
        nested = field(1, nested)
    records = {
        "empty record": b"",
        "nested": nested,
        "twice": image + image,
        "varints": b"\x08" + b"\xff" * 200,
        "bomb": field(
            1, field(1, field(1, b"image/encoded") + field(2, field(1, field(1, png_of_zeros(9400, 9400, 8, 2)))))
        )[:4000],
    }
    cases += [one("a.tfrecords", record(data), note) for note, data in records.items()]
    return [*cases, one("a.tfrecords", record(b"") * 3000, "3,000 empty records")]


def tables(rng: Random) -> list[Case]:
    """Return parquet files that unpack to much more than they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cases = []
    for size, count in ((MIB, 700), (64 * MIB, 20), (0, 10**6), (1, 10**6)):
        values = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(count, np.int32)), pa.array([bytes(size)], pa.binary())
        )
        out = io.BytesIO()
        pq.write_table(pa.table({"image": values, "label": np.zeros(count, np.int64)}), out, compression="zstd")
        cases.append(one("a.parquet", out.getvalue(), f"{count} times {size} bytes"))
    columns = pa.table({f"c{i}": [1] for i in range(2000)} | {"image": [dot(rng)]})
    deep = pa.array([[[[[[[[1]]]]]]]])
    for table, note in (
        (columns, "2,000 columns"),
        (pa.table({"image": [dot(rng)], "deep": deep}), "lists in lists"),
        (pa.table({"image": pa.array([None, None], pa.binary())}), "nulls"),
        (pa.table({"image": pa.array([], pa.binary())}), "no rows"),
    ):
        out = io.BytesIO()
        pq.write_table(table, out)
        cases.append(one("a.parquet", out.getvalue(), note))
    return cases
