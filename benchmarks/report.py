"""How long the report of many runs takes: 5, 10 and 20 runs of 100 results each, written without training.

python benchmarks/report.py     CPU seconds of reading, drawing and writing the page, and its size
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ired_interp.report import gather, write_page
from ired_interp.results import open_results
from runs import make_run

STEPS = tuple(range(100, 10_000, 100))  # 99 Hessian spectra; the hundredth result is a test


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder) / f"run{seed}", seed, STEPS).path for seed in range(20)]
        write_page(gather([open_results(runs[0])]), Path(folder) / "warm.html")
        for count in (5, 10, 20):
            page = Path(folder) / f"{count}.html"
            start = time.process_time()
            write_page(gather([open_results(path) for path in runs[:count]]), page)
            print(
                f"{count:3} runs: {time.process_time() - start:5.1f} s, {page.stat().st_size / 1024:.0f} KiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
