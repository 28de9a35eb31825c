"""Derivatives of numpy functions that accept complex numbers: f(x + ih) = f(x) + ih f'(x), with no cancellation."""

import numpy as np

STEP = 1e-30


def directional(f, inputs, directions):
    """Derivative of f(*inputs) when every input moves in its direction."""
    return f(*(x + 1j * STEP * d for x, d in zip(inputs, directions, strict=True))).imag / STEP


def mixed(f, inputs, directions, others, difference=1e-5):
    """Second derivative of f in two directions: a central difference of the exact first one."""
    low, high = (
        directional(f, [x + sign * difference * o for x, o in zip(inputs, others, strict=True)], directions)
        for sign in (-1, 1)
    )
    return (high - low) / (2 * difference)


def gradient(f, x):
    """Gradient of a real number f(x); f takes further axes in front of x's."""
    steps = np.eye(x.size).reshape(x.size, *x.shape)
    return (f(x + 1j * STEP * steps).imag / STEP).reshape(x.shape)
