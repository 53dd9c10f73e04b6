"""The dry run of a job: its very commands, made small, on a CPU, before anything is queued.

    python -m ired_interp.cluster.rehearsal < request.json

reads {"tasks": [["fit", "--config", …], …], "ranks": 2, "thorough": false}, each task being the arguments of one `ired` command, and prints one JSON
object a line: {"check", "task", "ok", "found", "remedy"}, and once a task is configured {"facts", "task"}. A check that fails ends its task. The exit
code is 0 if all is well and 2 otherwise. Nothing is written but into a temporary folder.

fit         configuration   parses and builds as `ired fit` does; the ranks can share a batch
            checkpoint      (--resume) is read weights-only, fits the model, and has steps left to do
            problems        are finite tensors of the shapes and type that the model takes
            energy          is one finite scalar per row in every landscape, and depends on that row alone
            gradient        has y's shape, is finite, and agrees with autograd and with a central difference of the energy
            training        takes 3 steps with every callback and logger; each probe measures; the checkpoint written loads
            probe           each probe of the callbacks measures that checkpoint, as `ired probe` does
            memory          (thorough) does not grow from step to step
            gpu             (thorough) how busy a GPU is with full batches, where there is one
probe       arguments       parse; the probes they name can be built
            checkpoint      exists, is read weights-only, and fits model and data
            problems, energy, gradient, memory as above
            probes          each measures a few problems
test,       arguments       are options of the command
validate    checkpoint      exists, is read weights-only, and fits model and data
            problems        as above
            evaluation      of a few problems
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only

from ired_interp.checkpoint import Checkpoint, load, read_checkpoint
from ired_interp.cluster.rehearsal import gpu, memory
from ired_interp.cluster.rehearsal.contract import FEW, check_energy, check_gradient, check_problems
from ired_interp.cluster.rehearsal.fault import Fault, told
from ired_interp.cluster.rehearsal.miniature import STEPS, MiniatureEvaluation, MiniatureFit, shrink_probe
from ired_interp.commands import probe as probe_command
from ired_interp.commands.evaluate import start
from ired_interp.commands.fit import resuming
from ired_interp.commands.options import take_option
from ired_interp.config import check_order
from ired_interp.errors import InputError
from ired_interp.lightning_cli import option_values, quiet
from ired_interp.measure import measure
from ired_interp.module import IREDModule, SolverModule
from ired_interp.probes import Probe, Snapshot
from ired_interp.results import Run, open_run
from ired_interp.results.store import read_result
from ired_interp.tasks.base import Problems
from ired_interp.tasks.data import TaskData

_RANKS = ("RANK", "LOCAL_RANK", "GLOBAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK")  # variables of launchers


class Check(NamedTuple):
    """A name, and what returns the sentence on what was found, or raises."""

    name: str
    run: Callable[[], str]


def rehearse(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Go through the checks of every task.

    Parameters
    ----------
    request : {"tasks": lists of arguments, "ranks": processes of the job, "thorough": bool}.

    Yields
    ------
    One mapping per check, and one with the facts of each task that is configured, as the module's text says.
    """
    quiet()
    for number, (command, *arguments) in enumerate(request["tasks"]):
        with tempfile.TemporaryDirectory(prefix="ired-rehearsal-") as folder:
            for line in _task(command, arguments, Path(folder), request):
                yield {**line, "task": number}


def _task(command: str, arguments: list[str], folder: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kinds: dict[str, type[_Rehearsal]] = {
        "fit": _Fit,
        "probe": _Probe,
        "test": _Evaluation,
        "validate": _Evaluation,
    }
    if command not in kinds:
        found = f"{command!r} is no command of a job"
        yield {"check": "arguments", "ok": False, "found": found, "remedy": f"choose one of {', '.join(kinds)}"}
        return
    rehearsal = kinds[command](command, arguments, folder, request["ranks"])
    for check in rehearsal.checks(request["thorough"]):
        try:
            found = check.run()
        except (Exception, SystemExit) as error:
            found, remedy = told(error)
            yield {"check": check.name, "ok": False, "found": found, "remedy": remedy}
            return
        yield {"check": check.name, "ok": True, "found": found, "remedy": ""}
        if facts := rehearsal.new_facts():
            yield {"facts": facts}


class _Rehearsal:
    """The checks of one task; `module` and `data` are there once its configuration and checkpoint are read."""

    module: SolverModule
    data: TaskData
    problems: Problems

    def __init__(self, command: str, arguments: list[str], folder: Path, ranks: int) -> None:
        self.command, self.arguments, self.folder, self.ranks = command, arguments, folder, ranks
        self.facts: dict[str, Any] = {}

    def checks(self, thorough: bool) -> Iterator[Check]:
        """In order; each is made when those before it went well."""
        raise NotImplementedError

    def new_facts(self) -> dict[str, Any]:
        """What was found of the task since this was last asked."""
        facts, self.facts = self.facts, {}
        return facts

    def contract(self, variants: list[Any]) -> Iterator[Check]:
        """The checks of the task's problems and the model's energy."""
        module = deepcopy(self.module).eval()

        def problems() -> str:
            self.problems, found = check_problems(self.data, module, variants)
            return found

        yield Check("problems", problems)
        if isinstance(module, IREDModule):
            yield Check("energy", lambda: check_energy(module, self.problems))
            yield Check("gradient", lambda: check_gradient(module, self.problems))


class _Fit(_Rehearsal):
    def checks(self, thorough: bool) -> Iterator[Check]:
        yield Check("configuration", self.configuration)
        if self.resumed is not None:
            yield Check("checkpoint", self.checkpoint)
        yield from self.contract(list(dict.fromkeys([*self.data.variants, self.data.train_variant])))
        yield Check("training", self.training)
        if self.probes:
            yield Check("probe", self.probe)
        if thorough:
            yield Check("memory", self.memory)
            yield Check("gpu", self.gpu)

    def configuration(self) -> str:
        resumed, self.options = take_option(self.arguments, "--resume")
        self.resumed = None if resumed is None else open_run(resumed)
        if self.resumed is not None:
            self.options = resuming(self.resumed, self.options)
        self.cli = self.made("training")
        self.facts = facts = self.cli.facts
        self.module, self.data = self.cli.model, self.cli.datamodule
        self.module.weights()
        batch, steps = facts["batch_size"], facts["max_steps"]
        if batch % self.ranks:
            raise Fault(
                f"data.batch_size is {batch}, which {self.ranks} processes cannot share evenly",
                f"make it a multiple of {self.ranks}",
            )
        if steps < 1:
            raise Fault(f"trainer.max_steps is {steps}", "give the number of training steps")
        size = facts["trainable_parameters"]
        return f"{type(self.module).__name__} of {size} parameters on {self.data.task.name}, {steps} steps of {batch} problems"

    def made(self, place: str, batch: int | None = None, **settings: Any) -> MiniatureFit:
        """The command, made small, in a folder of its own."""
        run = Run(self.folder / place / "run")
        return MiniatureFit(self.options, run, self.resumed is not None, batch or 2 * self.ranks, **settings)

    def checkpoint(self) -> str:
        assert self.resumed is not None
        if not self.resumed.begun:
            self.step = 0
            return f"none, since training in {self.resumed.path} never began: from step 0"
        checkpoint = read_checkpoint(self.resumed.path)
        checkpoint.load_into(deepcopy(self.module), "raw")
        checkpoint.load_into(self.module, "average")
        self.step, most = checkpoint.step, int(self.cli.settings.trainer.max_steps)
        if self.step >= most:
            raise Fault(
                f"{self.resumed.path} has done {self.step} of {most} steps", "give a larger --trainer.max_steps"
            )
        return f"{checkpoint.path} of step {self.step} loads weights-only and fits"

    def training(self) -> str:
        failures = self.trained(self.cli)
        if failures and self.cli.reduced:  # a probe may refuse so few problems, and take as many as are configured
            self.cli = self.made("training-on-all", problems=None)
            failures = self.trained(self.cli)
        if failures:
            raise failures[0]
        written = load(self.cli.run.path)
        results = [file.parent.name for file in self.cli.run.result_files()]
        measured = f"; measured {', '.join(dict.fromkeys(results))}" if results else ""
        return f"{STEPS} steps, loss finite, checkpoint of {type(written).__name__} loads{measured}"

    def trained(self, cli: MiniatureFit) -> list[Exception]:
        """Train; what went wrong with measurements, or with what was given to them."""
        self.prepare(cli)
        try:
            cli.fit()
        except InputError as error:
            return [error]
        reasons = []
        for file in cli.run.result_files():
            if "failed" in (attributes := read_result(file).attrs):
                reasons.append(f"{file.parent.name} at step {attributes['step']} failed: {attributes['failed']}")
        return [InputError(reason) for reason in reasons]

    def prepare(self, cli: MiniatureFit) -> None:
        """Give a run that goes on a copy of what it left; the original is not touched."""
        if self.resumed is None:
            return
        for name in ("config.yaml", "checkpoints/last.ckpt", "subspaces", "gradients"):
            source, target = self.resumed.path / name, cli.run.path / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        cli.go_on_from(self.step)

    @property
    def probes(self) -> list[Probe]:
        """Those of the callbacks, newly built."""
        return probe_command.configured_probes(read_checkpoint(self.cli.run.path).config or {})

    def probe(self) -> str:
        checkpoint = read_checkpoint(self.cli.run.path)
        options = probe_command.parse(["--ckpt", str(checkpoint.path), "--device", "cpu"])
        return _measured([checkpoint], options, self.folder / "probe")

    def memory(self) -> str:
        entries = sum(self.cli.facts["dimensions"])
        rows = memory.rows_for(entries)
        cli = self.made("memory", rows, steps=memory.WARM_UP + memory.REPEATED + 1, probing=False)
        self.prepare(cli)
        watch = memory.MemoryWatch()
        cli.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        cli.fit()
        return memory.judge(watch.grown, rows, entries, "training steps")

    def gpu(self) -> str:
        if not torch.cuda.is_available():
            return "no GPU here to measure how busy it would be"
        batch = self.cli.facts["batch_size"] // self.ranks
        cli = self.made("gpu", batch, steps=10**9, probing=False, accelerator="gpu")
        watch = gpu.GpuWatch()
        cli.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        self.prepare(cli)
        cli.fit()
        return gpu.advice(watch, batch, cli.model.compile_loss)


class _Probe(_Rehearsal):
    def checks(self, thorough: bool) -> Iterator[Check]:
        yield Check("arguments", self.read_arguments)
        yield Check("checkpoint", self.checkpoint)
        yield from self.contract([self.options.variant])
        yield Check("probes", self.probes)
        if thorough:
            yield Check("memory", self.memory)
            yield Check("gpu", lambda: "a probe's share of a GPU is not measured beforehand")

    def read_arguments(self) -> str:
        self.options = options = probe_command.parse(self.arguments)
        check_order(options.config)
        try:
            device = torch.device("cpu" if options.device == "auto" else options.device)
        except RuntimeError:
            raise Fault(f"--device {options.device} does not exist", "choose auto, cpu or cuda") from None
        chosen = probe_command.chosen_probes(None, options)
        named = ", ".join(p.label for p in chosen) if options.probes or options.config else "those of the checkpoint"
        return f"{options.problems} {options.variant} problems, probes: {named}; device {device.type}"

    def checkpoint(self) -> str:
        options = self.options
        self.checkpoints: list[Checkpoint | None] = [read_checkpoint(path) for path in options.ckpt]
        for checkpoint in self.checkpoints or [None]:
            self.module, self.data = probe_command.restore(checkpoint, options)
        last = self.checkpoints[-1] if self.checkpoints else None
        run = last.run if last else None
        self.facts = {
            "checkpoint": last.digest if last else None,
            "step": last.step if last else 0,
            "run": str(run.path.absolute()) if run else None,
            "dimensions": [self.module.condition_dim, self.module.solution_dim],
        }
        files = ", ".join(f"{c.path} of step {c.step}" for c in self.checkpoints if c)
        return (
            f"{files} loads weights-only and fits" if files else "an energy without weights, which needs no checkpoint"
        )

    def probes(self) -> str:
        return _measured(self.checkpoints or [None], self.options, self.folder / "probe")

    def memory(self) -> str:
        assert isinstance(self.module, IREDModule)
        module = self.module.eval()
        entries = module.condition_dim + module.solution_dim
        rows = memory.rows_for(entries)
        x, y, *_ = self.data.evaluation_batch("probe", self.options.variant, 0, rows, "cpu")
        grown = memory.repeated(lambda: module.energy_and_gradient(x.clone(), y.clone(), 0))
        return memory.judge(grown, rows, entries, "evaluations of energy and gradient")


class _Evaluation(_Rehearsal):
    def checks(self, thorough: bool) -> Iterator[Check]:
        yield Check("arguments", self.read_arguments)
        yield Check("checkpoint", self.checkpoint)
        yield from list(self.contract(self.data.variants))[:1]
        yield Check("evaluation", self.evaluation)

    def read_arguments(self) -> str:
        self.path, rest = take_option(self.arguments, "--ckpt")
        weights, rest = take_option(rest, "--weights")
        if weights not in (None, "average", "raw"):
            raise InputError(f"weights {weights!r} do not exist; choose 'average' or 'raw'.")
        check_order(option_values(rest, "--config", "-c"))
        return f"{weights or 'average'} weights of {self.path}" if self.path else "no --ckpt"

    def checkpoint(self) -> str:
        self.cli = cli = start(self.command, self.arguments, MiniatureEvaluation)
        cli.folder = self.folder / "evaluation"
        self.module, self.data = cli.model, cli.datamodule
        cli.load_weights()
        checkpoint: Checkpoint | None = cli.checkpoint
        run = checkpoint.run if checkpoint else None
        self.facts = {
            "checkpoint": checkpoint.digest if checkpoint else None,
            "step": checkpoint.step if checkpoint else 0,
            "run": str(run.path.absolute()) if run else None,
            "dimensions": [self.module.condition_dim, self.module.solution_dim],
        }
        if checkpoint is None:
            return "an energy without weights, which needs no checkpoint"
        return f"{checkpoint.path} of step {checkpoint.step} loads weights-only and fits"

    def evaluation(self) -> str:
        getattr(self.cli, self.command)()
        return f"errors and floors of {FEW} problems each of {', '.join(self.data.variants)}"


def _measured(checkpoints: Sequence[Checkpoint | None], options: argparse.Namespace, folder: Path) -> str:
    """Let the chosen probes measure every checkpoint as `ired probe` does, on a few problems."""
    shared: dict[str, Probe] = {}
    labels = []
    for checkpoint in checkpoints:
        module, data = probe_command.restore(checkpoint, options)
        for probe in probe_command.chosen_probes(checkpoint, options):
            shrink_probe(probe, module)
            probe = shared.setdefault(json.dumps([probe.label, probe.settings()], sort_keys=True), probe)
            for count in dict.fromkeys([min(FEW, options.problems), options.problems]):
                x, y, *_ = data.evaluation_batch("probe", options.variant, 0, count, "cpu")
                step = checkpoint.step if checkpoint else 0
                digest = checkpoint.digest if checkpoint else None
                snapshot = Snapshot(module.eval(), Problems(x, y), data.task, step, options.weights, digest)
                _, result = measure(probe, snapshot, folder, {"problems": count}, survive=True)
                if "failed" not in result.attrs:
                    break  # else it may take as many problems as were asked for
            if "failed" in result.attrs:
                raise InputError(f"{probe.label} failed: {result.attrs['failed']}")
            probe.summary(result)
            labels.append(probe.label)
    return f"{', '.join(dict.fromkeys(labels))} measured and summed up"


def main() -> int:
    """Rehearse the request on standard input; what commands print goes to standard error."""
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
