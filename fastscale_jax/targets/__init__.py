"""Programs compiled for GPUs and TPUs that are not here."""
