"""What one GPU does, and two: training, spectra, probes and callbacks, each beside what it is held against.

    python benchmarks/gpu.py --out FOLDER           # one GPU, about 7 minutes
    python benchmarks/gpu.py --out FOLDER --two     # two GPUs: training at batch 16384, θ and y spectra of 512 problems
    python benchmarks/gpu.py --out FOLDER --only training eigenpairs

FOLDER/gpu.json (or two.json) holds every figure as it comes; the table is printed last. Inverse of 20 × 20 matrices, MLP energy of width 512.
Figures of fits are steps per second between two steps of one run of `ired fit`, without its start.
"""

import argparse
import time
import traceback
import warnings
from pathlib import Path

from gpu_figures import Figures
from gpu_spectra import agreement, eigenpairs, eigenvalues, probes
from gpu_training import callbacks, errors, large_batches, many_problems, small_batches, training

ONE = (training, eigenpairs, probes, eigenvalues, agreement, callbacks, errors)
TWO = (large_batches, many_problems, small_batches)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--two", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in (*ONE, *TWO)])
    parser.add_argument("--seconds", type=float, default=460, help="after which no part is begun")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    figures = Figures(out / ("two.json" if options.two else "gpu.json"))
    parts = TWO if options.two else ONE
    for part in parts:
        if options.only and part.__name__ not in options.only:
            continue
        if time.perf_counter() - figures.begin > options.seconds:
            figures.add(part.__name__, "left out for want of time")
            continue
        try:
            part(figures, out)
        except Exception as error:
            traceback.print_exc()
            figures.add(part.__name__, f"failed: {type(error).__name__}: {error}"[:300])
    figures.print()


if __name__ == "__main__":
    main()
