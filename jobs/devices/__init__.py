"""Real processors, asked once: what a run is, what was sent of it, and what came back."""
