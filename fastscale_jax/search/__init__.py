"""Networks found by sampling and training many small ones."""
