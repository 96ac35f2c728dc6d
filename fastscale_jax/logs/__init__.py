"""What a run shows and records: metrics, progress, plots, speed."""
