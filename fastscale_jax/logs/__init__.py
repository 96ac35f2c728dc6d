"""What a person sees of a run: records, progress, plots, speed."""
