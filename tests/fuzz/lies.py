"""Damage that knows a format: lengths that lie under checksums that are right, and parts in a wrong order."""

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from random import Random

from fuzz.damage import as_bytes, damaged
from fuzz.form import Form, other
from fuzz.form_archives import ARCHIVE_FORMS
from fuzz.form_images import IMAGE_FORMS, TGA
from fuzz.form_records import RECORD_FORMS, TEXT

FORMS = (*IMAGE_FORMS, *ARCHIVE_FORMS, *RECORD_FORMS, *TGA, *TEXT)
"""The formats; the first that suits counts."""
_BROKEN = (
    struct.error,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
)


def hurt(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return damaged data: of any kind, or one that suits the format."""
    form = next((form for form in FORMS if data and form.begins(data)), None)
    if form is None or rng.random() < 0.35:
        return damaged(rng, data, others)
    ways = [_lie] * 2 + [_moved] * (form.parts is not None) + [_inside] * 2 * (form.inner is not None)
    try:
        return rng.choice(ways)(rng, data, form)
    except _BROKEN:
        return damaged(rng, data, others)  # damaged before, so that its parts are no longer found


def _lie(rng: Random, data: bytes, form: Form) -> bytes:
    fields = list(form.fields(data))
    for _ in range(rng.choice((1, 1, 2))):
        at, width, order = rng.choice(fields)
        if order == "octal":
            old = int(data[at : at + width].strip(b" \0") or b"0", 8)
            value = f"{other(rng, old, len(data)) % 8 ** (width - 1):0{width - 1}o}\0".encode()
        else:
            old = int.from_bytes(data[at : at + width], "little" if order == "little" else "big")
            value = as_bytes(other(rng, old, len(data)), width, order)
        data = data[:at] + value + data[at + width :]
    return form.mend(data)


def _moved(rng: Random, data: bytes, form: Form) -> bytes:
    parts = list(form.parts(data)) if form.parts else [data]
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    way = rng.randrange(5)
    if way == 0:
        del parts[i]
    elif way == 1:
        parts[i:i] = [parts[j]] * rng.choice((1, 2, 50))
    elif way == 2:
        parts[i], parts[j] = parts[j], parts[i]
    elif way == 3:
        parts[i] = bytes(len(parts[i]))
    else:
        parts[i] = damaged(rng, parts[i])
    return form.mend(b"".join(parts))


def _inside(rng: Random, data: bytes, form: Form) -> bytes:
    return form.inner(rng, data, hurt) if form.inner else data
