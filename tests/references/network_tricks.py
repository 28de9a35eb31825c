"""Virtual batch norm written out sample by sample in float64, and the largest singular value; imports no progan."""

import numpy as np


def virtual_batch_norm(
    x: np.ndarray, reference: int, gain: np.ndarray | None, bias: np.ndarray | None, eps: float
) -> np.ndarray:
    """Maps or features [R + N, C, ...], of which the first R are the reference."""
    first = x[:reference]
    rows = []
    for number, row in enumerate(x):
        seen = first if number < reference else np.concatenate([first, row[None]])
        normal = np.empty_like(row)
        for channel in range(x.shape[1]):
            values = seen[:, channel]
            mean, square = values.mean(), (values**2).mean()
            normal[channel] = (row[channel] - mean) / np.sqrt(square - mean**2 + eps)
            if gain is not None and bias is not None:
                normal[channel] = gain[channel] * normal[channel] + bias[channel]
        rows.append(normal)
    return np.stack(rows)


def matrix(weight: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """Weights as a matrix with a row for each output; a transposed convolution's are [in, out, K, K]."""
    outputs = weight.shape[1 if transposed else 0]
    return np.moveaxis(weight, 1 if transposed else 0, 0).reshape(outputs, -1)


def largest_singular_value(weight: np.ndarray, *, transposed: bool = False) -> float:
    return float(np.linalg.svd(matrix(weight, transposed=transposed), compute_uv=False)[0])
