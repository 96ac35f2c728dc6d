"""Compiles programs for GPUs and TPUs that this machine does not have, and counts their costs."""
