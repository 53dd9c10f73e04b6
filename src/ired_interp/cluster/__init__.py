"""Carry `ired` commands to a SLURM cluster and bring their results home."""
