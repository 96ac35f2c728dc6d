"""Training runs: config, start, training loop, interruption and evaluation."""
