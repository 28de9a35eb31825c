"""ICC profiles of a matrix and a gamma, and what they mean in sRGB, from the ICC's specification (v2) with numpy."""

import struct

import numpy as np

SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB to XYZ, adapted to D50."""
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.149224], [0.3111242, 0.625656, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
"""Linear Adobe RGB (1998) to XYZ, adapted to D50."""
D50 = np.array([0.9642, 1.0, 0.8249])


def _fixed(values: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def profile(gamma: float, matrix: np.ndarray | None) -> bytes:
    """A display profile of RGB, or of grey if there is no matrix."""
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": b"XYZ " + bytes(4) + _fixed(D50)}
    if matrix is None:
        tags[b"kTRC"] = curve
    else:
        for i, color in enumerate((b"r", b"g", b"b")):
            tags |= {color + b"XYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, i]), color + b"TRC": curve}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    space = b"GRAY" if matrix is None else b"RGB "
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(D50)
    return head.ljust(128, b"\0") + table + body


def to_srgb(pixels: np.ndarray, gamma: float, matrix: np.ndarray) -> np.ndarray:
    """float64 [..., 3] of 0 ... 255."""
    linear = (pixels / 255) ** gamma @ (np.linalg.inv(SRGB) @ matrix).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
