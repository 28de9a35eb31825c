"""Training: one iteration (loop), a run directory (run), and what they need."""
