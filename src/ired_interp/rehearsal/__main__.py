"""Rehearse the request on standard input; what commands print goes to standard error."""

import json
import os
import sys

from lightning.pytorch.utilities import rank_zero_only

from ired_interp.rehearsal.rehearse import rehearse

_RANKS = (
    "RANK",
    "LOCAL_RANK",
    "GLOBAL_RANK",
    "WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
)  # variables of launchers


def main() -> int:
    """Run the program; returns its exit code."""
    for name in [name for name in os.environ if name.startswith("SLURM_") or name in _RANKS]:
        del os.environ[name]  # a rehearsal inside of a job is one process all the same
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # which Lightning read from them when it was imported
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    if sys.path[0] == os.getcwd():  # put there by `python -m`, not by `ired`
        sys.path.pop(0)
    request = json.load(sys.stdin)
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    well = True
    for line in rehearse(request):
        print(json.dumps(line), file=lines, flush=True)
        well &= line.get("ok", True)
    return 0 if well else 2


if __name__ == "__main__":
    sys.exit(main())
