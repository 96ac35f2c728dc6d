"""`python -m fastscale_jax.report`: the same as `fastscale report`."""

if __name__ == "__main__":
    from fastscale_jax.main import face

    face("report")
