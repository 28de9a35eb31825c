"""Training images: sources are read once into a store, and a loader gives batches of it at any position.

Nothing is imported here, so that worker processes of 'prepare' start without torch.
"""
