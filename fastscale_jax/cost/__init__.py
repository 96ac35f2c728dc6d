"""Flops, parameters and activations of any function or program."""
