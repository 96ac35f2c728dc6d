"""Training: the recipe, the step, the loop, and what a person sees of them."""
