"""Scale convolutional networks to a budget, say what they cost, and train them, in JAX."""

__version__ = "0.1.0"
