"""The same networks elsewhere: in PyTorch, and as files of weights."""
