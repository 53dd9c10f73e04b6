"""The dry run of a job: its very commands, made small, on a CPU, before anything is queued."""
