"""Searches for networks: by training many small ones, or by cost on a device."""
