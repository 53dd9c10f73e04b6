"""Fits on one GPU and on two, for benchmarks/gpu.py."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from autograd_ired import AutogradEnergy, autograd_loss
from gpu_figures import Figures, milliseconds
from ired_interp import solver
from ired_interp.cli import main as ired
from ired_interp.diffusion import Noise, Schedule
from ired_interp.random import stream
from ired_interp.results import Run
from ired_interp.tasks import Inverse

MODULE = [sys.executable, "-m", "ired_interp"]
CALLBACKS = ("hessian_spectrum", "gradient_statistics", "subspace_drift", "inference_trajectory")
CONFIGURATION = ["--config", "configs/published/inverse.yaml", "--trainer.accelerator", "gpu"]
FIRST, LAST = 1050, 1950  # steps between which the speed of a fit is taken
PRECISIONS = {
    "fp32": [],
    "TF32": ["--matmul_precision", "high"],
    "bf16": ["--matmul_precision", "high", "--trainer.precision", "bf16-mixed"],
}


def fit(out: Path, name: str, *options: str, steps: tuple[int, ...] = (FIRST, LAST)) -> Run:
    """Train in this process by `ired fit`; the clock's file lies beside the run."""
    torch.compiler.reset()
    clock = out / f"{name}.yaml"
    entry = f"{{steps: {list(steps)}, file: {out / name}.clock.json}}"
    clock.write_text(
        f"trainer:\n  callbacks+:\n    - class_path: gpu_figures.Clock\n      init_args: {entry}\n"
    )
    places = ["--runs", str(out / "runs"), "--experiment", "gpu", "--name", name]
    ends = ["--trainer.max_steps", str(max(steps) + 50), "--trainer.enable_progress_bar", "false"]
    code = ired(["fit", *CONFIGURATION, "--config", str(clock), *places, *ends, *options])
    if code:
        raise RuntimeError(f"ired fit {name} ended with code {code}")
    return Run(out / "runs" / "gpu" / name)


def rate(out: Path, name: str) -> float:
    times = {int(k): v for k, v in json.loads((out / f"{name}.clock.json").read_text()).items()}
    first, last = min(times), max(times)
    return (last - first) / (times[last] - times[first])


def training(figures: Figures, out: Path) -> None:
    """Steps per second; the published step beside them."""
    for precision, options in PRECISIONS.items():
        name = f"replayed_{precision}"
        fit(out, name, "--model.compile", "true", *options)
        aim = "≥ 900" if precision == "bf16" else "≥ 650 (this or TF32)"
        figures.add(f"fit, {precision}, compiled and replayed", rate(out, name), "steps/s", aim)
    compiled = solver.compiled
    solver.compiled = lambda loss, device, within=False: loss
    for precision in ("TF32", "bf16"):
        name = f"replayed_only_{precision}"
        fit(out, name, "--model.compile", "true", *PRECISIONS[precision])
        what = f"fit, {precision}, replayed but not compiled"
        figures.add(what, rate(out, name), "steps/s")
    solver.compiled = compiled
    fit(out, "lightning_fp32", steps=(150, 650))
    figures.add("fit, fp32, each step Lightning's", rate(out, "lightning_fp32"), "steps/s")
    published = published_step()
    figures.add("published step (double backward, Adam)", published, "ms")
    speedup = published * rate(out, "replayed_bf16") / 1000
    figures.add("published step over ours, bf16", speedup, "×", "≥ 10")


def published_step() -> float:
    energy, schedule = AutogradEnergy(400, 400).cuda(), Schedule().cuda()
    optimizer = torch.optim.Adam(energy.parameters(), 1e-4)
    source = stream("cuda", 0, "published")

    def step() -> None:
        x, y = Inverse(20).sample(2048, source)
        optimizer.zero_grad()
        autograd_loss(energy, schedule, x, y, Noise.draw(2048, 400, 10, source)).backward()
        nn.utils.clip_grad_norm_(energy.parameters(), 1.0)
        optimizer.step()

    return milliseconds(step)


def errors(figures: Figures, out: Path) -> None:
    """The error that 10 000 steps end with, in each precision."""
    runs = {
        "fp32, replayed": ["--model.compile", "true"],
        "TF32, replayed": ["--model.compile", "true", *PRECISIONS["TF32"]],
        "bf16, replayed": ["--model.compile", "true", *PRECISIONS["bf16"]],
    }
    for what, options in runs.items():
        name = f"error_{what.split(',')[0]}"
        run = fit(out, name, *options, steps=(5000, 9950))
        metrics = run.metrics()
        last = max(step for step, values in metrics.items() if "val/error/same" in values)
        aim = "" if what.startswith("fp32") else "equal"
        figures.add(f"error after {last} steps, {what}", metrics[last]["val/error/same"], "", aim)


def callbacks(figures: Figures, out: Path) -> None:
    """A fit with all four callbacks beside one without, in turns, over their longest interval."""
    options = ["--model.compile", "true", *PRECISIONS["TF32"]]
    with_all = [part for name in CALLBACKS for part in ("--config", f"callbacks/{name}.yaml")]
    spent: dict[str, list[float]] = {"without": [], "with": []}
    for turn, which in enumerate(("with", "without", "without", "with")):
        more = with_all if which == "with" else []
        fit(out, f"callbacks_{turn}", *options, *more, steps=(1050, 21_050))
        spent[which].append(1 / rate(out, f"callbacks_{turn}"))
        figures.add(f"fit {which} all four callbacks", 1 / spent[which][-1], "steps/s")
        if turn in (1, 3):
            ratio = sum(spent["with"]) / sum(spent["without"])
            figures.add(f"fit with over without, {(turn + 1) // 2} pairs", ratio, "", "≤ 1.05")


def large_batches(figures: Figures, out: Path) -> None:
    """Training at batch 16384, on one GPU and on two."""
    _fits(figures, out, 16384, "≥ 1.7")


def small_batches(figures: Figures, out: Path) -> None:
    """Training at batch 2048, likewise."""
    _fits(figures, out, 2048, "one is faster")


def _fits(figures: Figures, out: Path, batch: int, aim: str) -> None:
    rates = {}
    for devices in (1, 2):
        name = f"fit_{batch}_{devices}"
        clock = out / f"{name}.yaml"
        entry = f"{{steps: [150, 450], file: {out / name}.clock.json}}"
        text = f"trainer:\n  callbacks+:\n    - class_path: gpu_figures.Clock\n      init_args: {entry}\n"
        clock.write_text(text)
        places = ["--runs", str(out / "runs"), "--experiment", "two", "--name", name]
        options = ["--trainer.devices", str(devices), "--data.batch_size", str(batch)]
        options += ["--model.compile", "true", "--trainer.max_steps", "500"]
        options += PRECISIONS["TF32"]
        command = [*MODULE, "fit", *CONFIGURATION, "--config", str(clock), *places, *options]
        run(command)
        rates[devices] = rate(out, name)
        figures.add(f"fit, TF32, batch {batch}, {devices} GPUs", rates[devices], "steps/s")
    figures.add(f"two over one, batch {batch}", rates[2] / rates[1], "×", aim)


def many_problems(figures: Figures, out: Path) -> None:
    """Spectra of 512 problems, on one GPU and on two; after `large_batches`."""
    both = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    checkpoint = str(out / "runs" / "two" / "fit_16384_1")
    for space, settings in (("Theta", "{landscapes: [0, 3, 6, 9]}"), ("Y", "{}")):
        probe, taken = out / f"probe_{space}.yaml", {}
        probe.write_text(
            f"probes:\n  - class_path: ired_interp.probes.HessianSpectrum{space}\n"
            f"    init_args: {settings}\n"
        )
        for name, start in (("one", MODULE), ("two", [*both, "ired_interp"])):
            arguments = ["--ckpt", checkpoint, "--config", str(probe), "--problems", "512"]
            arguments += ["--output", str(out / f"probe_{space}_{name}")]
            taken[name] = measured([*start, "probe", *arguments])
            figures.add(f"{space} spectra of 512 problems, {name}", taken[name], "s")
        what = f"{space}, one over two, without the programs' start"
        figures.add(what, taken["one"] / taken["two"], "×", "≥ 1.5" if space == "Theta" else "")


def measured(command: list[str]) -> float:
    """Seconds from the first line that says what is measured to the last that says where it lies."""
    begin, end = math.inf, math.inf
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("measuring "):
            begin = min(begin, time.perf_counter())
        if line.startswith("written to "):
            end = time.perf_counter()
    if process.wait():
        raise RuntimeError(f"{command} ended with code {process.returncode}")
    return end - begin


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, env=environment(), timeout=300)


def environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), str(Path("src").absolute()), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
