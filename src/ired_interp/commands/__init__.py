"""The commands of `ired`, one a file; cli.py names them."""
