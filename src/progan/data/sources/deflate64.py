"""Zips with members packed by Deflate64, the method of Windows Explorer for zips over 2 GB."""

import copy
import io
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

DEFLATE64 = 9
"""Number of the method in a zip."""
MISSING = "packed with Deflate64, as Windows Explorer does for large zips; pip install 'progan[deflate64]' to read it"
_PACKED = 512  # bytes unpacked at a time, to at most 13 MB


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip for reading; members packed by Deflate64 are unpacked by the package inflate64.

    Raises:
        zipfile.BadZipFile: if it is broken.
    """
    try:
        return _Zip(path)
    except (UnicodeDecodeError, NotImplementedError) as error:  # names that are not text, versions that do not exist
        raise zipfile.BadZipFile(str(error)) from error


class _Zip(zipfile.ZipFile):
    """A zip whose ``open`` raises NotImplementedError for Deflate64 only if the package for it is missing."""

    def open(self, name: Any, mode: Any = "r", pwd: bytes | None = None, *, force_zip64: bool = False) -> IO[bytes]:
        info = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        if info.compress_type != DEFLATE64:
            return self._as_stored(info, mode, pwd, force_zip64=force_zip64)
        try:
            import inflate64
        except ImportError:
            raise NotImplementedError(MISSING) from None
        raw = copy.copy(info)  # the packed bytes as a member that is only stored
        raw.compress_type, raw.file_size = zipfile.ZIP_STORED, info.compress_size
        del raw.CRC
        return io.BufferedReader(_Unpacked(self._as_stored(raw, "r", pwd), inflate64.Inflater(), info))

    def _as_stored(self, info: zipfile.ZipInfo, *how: Any, **more: Any) -> IO[bytes]:
        try:
            return super().open(info, *how, **more)
        except UnicodeDecodeError as error:  # the name in front of the content, which is compared
            raise zipfile.BadZipFile(f"a damaged name ({error})") from error


class _Unpacked(io.RawIOBase):
    """The content of a member, unpacked while it is read; its length and checksum are compared at its end."""

    def __init__(self, packed: IO[bytes], inflater: Any, info: zipfile.ZipInfo) -> None:
        self._packed, self._inflater, self._info = packed, inflater, info
        self._ready, self._left, self._crc = memoryview(b""), info.file_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and self._left:
            block = self._packed.read(_PACKED)
            if not block or self._inflater.eof:
                raise EOFError(f"{self._info.filename!r} ends early")
            try:
                self._add(self._inflater.inflate(block))
            except ValueError as error:
                raise zipfile.BadZipFile(f"{self._info.filename!r} is damaged ({error})") from error
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _add(self, data: bytes) -> None:
        self._ready = memoryview(data)[: self._left]
        self._left -= len(self._ready)
        self._crc = zlib.crc32(self._ready, self._crc)
        if len(self._ready) < len(data) or (not self._left and self._crc != self._info.CRC):
            raise zipfile.BadZipFile(f"bad CRC-32 or length of {self._info.filename!r}")

    def close(self) -> None:
        self._packed.close()
        super().close()
