"""Adam (Kingma and Ba 2015, algorithm 1), moving averages and the timetable, one step or one image at a time."""

import numpy as np


def adam(weight, gradients, rates, *, beta1, beta2, eps):
    """The weight after each step, float64."""
    weight = np.array(weight, np.float64)
    first, second, path = np.zeros_like(weight), np.zeros_like(weight), []
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * g**2
        weight = weight - rate * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + eps)
        path.append(weight)
    return path


def moving_average(start, weights, kept):
    """After all weights, with one kept share for each."""
    average = np.array(start, np.float64)
    for weight, share in zip(weights, kept, strict=True):
        average = share * average + (1 - share) * weight
    return average


def timeline(first_level, last_level, hold, fade, total):
    """(level, fading, alpha) in front of every image 0 ... total of a run; the last entry is where the run ends."""
    entries, level, fading, age = [], first_level, False, 0
    for _ in range(total):
        while True:  # enter the next span as long as this one is over
            if fading and age >= fade:
                fading, age = False, 0
            elif not fading and age >= hold and level < last_level:
                level, fading, age = level + 1, True, 0
            else:
                break
        entries.append((level, fading, age / fade if fading else 1.0))
        age += 1
    entries.append((level, fading, age / fade if fading else 1.0))
    return entries
