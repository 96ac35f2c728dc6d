"""Measures the step time and memory of networks on this machine, and fits device models."""
