"""Making of what data sets and metrics need: networks that read, crops that align, subsets worth learning from."""
