"""One convolution and its implementations: XLA's forms, and machine code for CPUs."""
