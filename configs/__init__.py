"""Recipes: a file a family, and one for digits. Installed as `fastscale_jax.configs`."""
