"""What the command line does: a module a mode, each with `run`, which returns the exit status."""
