import numpy as np
import pytest
import torch

from progan.devices import float64_device
from progan.metrics.bank import FeatureBank
from progan.metrics.base import Setup

SETUP = Setup(height=8, width=8, channels=3)


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(11, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 4, 11])
def test_keeps_all_rows_in_order_for_any_split(rows: torch.Tensor, batch: int) -> None:
    bank = FeatureBank(SETUP)
    for part in rows.split(batch):
        bank.update(part)
    assert bank.count == 11
    assert torch.equal(bank.rows, rows)


def test_merge_appends_and_goes_on(rows: torch.Tensor) -> None:
    first, second = FeatureBank(SETUP).update(rows[:3]), FeatureBank(SETUP).update(rows[3:7])
    assert torch.equal(first.merge(second).merge(FeatureBank(SETUP)).update(rows[7:]).rows, rows)
    assert torch.equal(second.rows, rows[3:7])


@pytest.mark.filterwarnings("error")
def test_arrays_come_back(rows: torch.Tensor) -> None:
    arrays = FeatureBank(SETUP).update(rows[:6]).arrays()
    arrays["rows"].setflags(write=False)  # as from a memory map
    loaded = FeatureBank(SETUP).update(rows).load(arrays)
    assert torch.equal(loaded.update(rows[6:]).rows, rows)


def test_empty_bank() -> None:
    bank = FeatureBank(SETUP).update(torch.empty(0, 5))
    assert (bank.count, bank.rows.shape) == (0, (0, 0))
    assert FeatureBank(SETUP).load(bank.arrays()).update(torch.ones(2, 5)).count == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_float32_of_any_dtype(rows: torch.Tensor, dtype: torch.dtype) -> None:
    bank = FeatureBank(SETUP).update(rows.to(dtype))
    assert bank.rows.dtype == torch.float32
    np.testing.assert_array_equal(bank.arrays()["rows"], rows.to(dtype).float().numpy())


def test_rows_stay_when_the_caller_reuses_its_buffer(rows: torch.Tensor) -> None:
    buffer = rows.clone()
    bank = FeatureBank(SETUP).update(buffer)
    buffer.zero_()
    assert torch.equal(bank.rows, rows)


def test_apple_gpus_leave_float64_to_the_cpu() -> None:
    assert float64_device("mps") == torch.device("cpu")
    assert float64_device("cuda:1") == torch.device("cuda:1")
