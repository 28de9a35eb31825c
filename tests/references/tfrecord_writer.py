"""A writer of the official TFRecord data sets, bit by bit from the formats' descriptions; imports nothing of progan."""

from pathlib import Path

import numpy as np


def crc32c(data: bytes) -> int:
    """CRC-32C by polynomial division, one bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value: int) -> bytes:
    low = b""
    while value > 127:
        low, value = low + bytes([value & 127 | 128]), value >> 7
    return low + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field that holds a string or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(image: np.ndarray, *, packed: bool = True) -> bytes:
    """tf.train.Example of an image uint8 [C, H, W]."""
    numbers = [varint(size) for size in image.shape]
    shape = field(1, b"".join(numbers)) if packed else b"".join(varint(1 << 3) + n for n in numbers)
    features = {"shape": field(3, shape), "data": field(1, field(1, image.tobytes()))}
    entries = [field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()]
    return field(1, b"".join(entries))


def features(**values: object) -> bytes:
    """tf.train.Example of bytes, text, integers and floats, or lists of one of them; __ in a name stands for /."""
    entries = []
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        if isinstance(several[0], bytes | str):
            parts = [field(1, one if isinstance(one, bytes) else one.encode()) for one in several]
            content = field(1, b"".join(parts))
        elif isinstance(several[0], float):
            content = field(2, field(1, np.array(several, "<f4").tobytes()))
        else:
            content = field(3, field(1, b"".join(varint(one % (1 << 64)) for one in several)))
        entries.append(field(1, field(1, name.replace("__", "/").encode()) + field(2, content)))
    return field(1, b"".join(entries))


def record(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    return length + masked(length) + data + masked(data)


def write(folder: Path, images: np.ndarray, labels: np.ndarray | None = None, *, packed: bool = True) -> Path:
    """NAME-r02.tfrecords ... of uint8 [N, C, H, W], halved by dropping pixels, and NAME-rxx.labels of [N, K]."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in range(2, images.shape[2].bit_length()):
        step = images.shape[2] >> level
        data = [record(example(image[:, ::step, ::step], packed=packed)) for image in images]
        (folder / f"{folder.name}-r{level:02}.tfrecords").write_bytes(b"".join(data))
    if labels is not None:
        with (folder / f"{folder.name}-rxx.labels").open("wb") as file:
            np.save(file, labels)
    return folder
