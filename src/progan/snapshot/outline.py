"""Networks as shapes alone: what they would be, without the memory and the time that their weights take."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_IN_PLACE = ("normal_", "uniform_", "zero_", "fill_")
_PRODUCTS = ("mul", "__mul__", "__rmul__")


@contextmanager
def outlined() -> Iterator[None]:
    """Inside, new networks are on the meta device, where tensors have shapes but no values."""
    with torch.device("meta"), _NoValues():
        yield


def without_values(network: nn.Module) -> str:
    """Name of a tensor of a network that is still on the meta device; empty if there is none."""
    for name, module in network.named_modules():
        held = {**module._parameters, **module._buffers, **vars(module)}
        for key, value in held.items():
            if isinstance(value, Tensor) and value.is_meta:
                return ".".join(filter(None, (type(network).__name__, name, key)))
    return ""


class _NoValues(TorchFunctionMode):
    """Skips the initialization of meta tensors, for which torch would import its compiler: seconds for nothing."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if getattr(func, "__module__", "") == "torch.nn.init" or name in _IN_PLACE or name in _PRODUCTS:
            held = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            if len(held) == 1 and held[0].is_meta:
                return held[0]
        return torch.empty(*args, **kwargs) if func is torch.randn else func(*args, **kwargs)
