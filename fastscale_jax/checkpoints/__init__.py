"""Checkpoints and workdirs: saving, finding, checking and restoring them."""
