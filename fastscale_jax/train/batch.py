"""Checks that devices, gradient accumulation and BatchNorm groups divide the batch."""

from fastscale_jax.train.recipe import Recipe


def check_batch_is_known(recipe: Recipe) -> None:
    """Refuses the batch size `auto` (0) where it is not supported.

    Raises:
        ValueError: the batch size is `auto`; the message says which modes support it.
    """
    if not recipe.data.batch_size:
        raise ValueError(
            "--config.data.batch_size=auto is for train, time and memory, and for the "
            "training step of program with a --target; give a number"
        )


def check_divides(recipe: Recipe, devices: int) -> None:
    """Refuses a batch that devices, `optim.accumulate` or `bn.group_size` do not divide.

    Raises:
        ValueError: the batch is not divisible; the message says by what.
    """
    batch_size, group = recipe.data.batch_size, recipe.bn.group_size
    check_batch_is_known(recipe)
    if batch_size % devices:
        raise ValueError(
            f"the batch size {batch_size} cannot be shared by {devices} devices; set "
            "--config.data.batch_size to a multiple of their number"
        )
    images, parts = batch_size // devices, recipe.optim.accumulate
    if images % parts:
        raise ValueError(
            f"the {images} images of a device cannot be split into config.optim.accumulate = "
            f"{parts} equal parts"
        )
    if group and images // parts % group:
        of_part = " and part" if parts > 1 else ""
        raise ValueError(
            f"the {images // parts} images of a device{of_part} are not a multiple of "
            f"config.bn.group_size = {group}"
        )
