"""What a training step computes: the recipe, the step, the optimiser, the evaluation."""
