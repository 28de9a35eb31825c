"""Measuring sets of images with the metrics: from stores, folders or snapshots to values with their provenance."""
