"""Training images: a source is read once into a store, and a loader returns batches from any position in it.

Nothing is imported here, so that worker processes of 'prepare' start without torch.
"""
