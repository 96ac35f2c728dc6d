"""Helpers that are not about networks: files, processors, compilation, messages."""
