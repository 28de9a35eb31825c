"""Metrics of generated images, each with its paper's definition; METRICS lists them (see ``base``)."""
