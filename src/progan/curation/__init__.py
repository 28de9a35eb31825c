"""Preparation of data sets and of networks for metrics: face crops, removal of near-duplicates, digit classifier."""
