"""Presets: functions that return the configuration of a run, values only."""

from progan.presets import progressive

AUTO = "auto"
"""The preset that looks at the data and the machine first."""

PRESETS = {
    AUTO: lambda: progressive.auto()[0],
    "demo": progressive.demo,
    "cifar10": progressive.cifar10,
    "celebahq_1024": progressive.celebahq_1024,
    "celebahq_1024_2gpu": progressive.celebahq_1024_2gpu,
    "celebahq_1024_4gpu": progressive.celebahq_1024_4gpu,
    "celebahq_1024_8gpu": progressive.celebahq_1024_8gpu,
    "celebahq_1024_paper": progressive.celebahq_1024_paper,
    "lsun_256": progressive.lsun_256,
}
