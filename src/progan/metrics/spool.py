"""Rows that may not fit into memory: stored in memory while they are few, then in a temporary file."""

import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

MIB = 1 << 20


class Spool:
    """A matrix that grows by rows: tensors in memory, or a temporary file after ``spill`` was called.

    The file has no name, so that the operating system removes it with this object, however the process ends.

    Args:
        width: number of columns.
        dtype: float32 or uint8.
    """

    def __init__(self, width: int, dtype: torch.dtype = torch.float32) -> None:
        self.width, self.dtype = width, dtype
        self.held = 0
        """Bytes in memory."""
        self._parts: list[Tensor] = []
        self._file: IO[bytes] | None = None

    def append(self, x: Tensor) -> None:
        """Add rows [M, width].

        Raises:
            OSError: if the file cannot be written; its content is then unusable.
        """
        if self._file is None:
            self._parts.append(x)
            self.held += x.nbytes
        else:
            left = x.cpu().numpy().reshape(-1).view(np.uint8).data
            while left:
                left = left[self._file.write(left) :]

    def spill(self, directory: Path) -> None:
        """Move all rows, and those added later, to a file in ``directory``; raises OSError like ``append``."""
        if self._file is None:
            parts, self._parts, self.held = self._parts, [], 0
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed with this object
            for part in parts:
                self.append(part)

    def whole(self) -> Tensor:
        """Return all rows [M, width]; those of a file are a private memory map, which the system may page out."""
        if self._file is None:
            self._parts = [torch.cat(self._parts) if self._parts else torch.empty(0, self.width, dtype=self.dtype)]
            return self._parts[0]
        rows = np.memmap(self._file, np.uint8, "c").view(np.float32 if self.dtype == torch.float32 else np.uint8)
        return torch.from_numpy(np.asarray(rows)).view(-1, self.width)
