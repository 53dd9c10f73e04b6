"""`ired test` and `ired validate`: errors of a trained model, beside the floors."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from lightning.pytorch.utilities import rank_zero_only

from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.class_paths import modules_named
from ired_interp.commands.options import take_option, take_options
from ired_interp.errors import InputError, RunError
from ired_interp.evaluation import error_table, evaluation_result
from ired_interp.lightning_cli import IREDCLI, configuration_names, with_files
from ired_interp.results import ResultKey, Run, Which, write_result
from ired_interp.results.choice import behind_best
from ired_interp.results.provenance import provenance
from ired_interp.results.run import default_name
from ired_interp.terminal import log
from ired_interp.user_modules import look_beside

CLI = TypeVar("CLI", bound="EvaluateCLI")


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    if "--help" in arguments or "-h" in arguments:
        print(
            f"ired {command} --ckpt FILE|RUN [--which best|last] [--weights average|raw] "
            "[--modules NAME …] [--output FOLDER] restores model and data from a checkpoint (of a "
            "run the best by validation, unless told otherwise), and nothing else of its "
            "configuration; every other option overrides it. --modules names modules of your own "
            "whose classes the file may name; results go to --output, else into the run's folder, "
            "else beside the file:\n"
        )
    start(command, arguments, EvaluateCLI)
    return 0


def start(command: str, arguments: list[str], cli: Callable[..., CLI]) -> CLI:
    """Return the command line interface of this class on the checkpoint and the other arguments.

    Raises
    ------
    InputError
        If nothing names the data.
    """
    path, arguments = take_option(arguments, "--ckpt")
    which, arguments = take_option(arguments, "--which")
    weights, arguments = take_option(arguments, "--weights")
    output, arguments = take_option(arguments, "--output")
    modules, arguments = take_options(arguments, "--modules")
    if which and not path:
        raise InputError(
            f"--which {which} chooses among the checkpoints of a run, but no --ckpt names one."
        )
    if weights not in (None, "average", "raw"):
        raise InputError(f"weights {weights!r} do not exist; choose 'average' or 'raw'.")
    arguments = with_files(arguments)
    files = configuration_names(arguments)
    look_beside(files)
    named = modules_named(modules, files)
    checkpoint = read_checkpoint(path, cast("Which | None", which), named) if path else None
    if checkpoint is None or checkpoint.config is None:
        if path and not files:
            raise InputError(
                f"{path} is a published checkpoint, which names no data; add --config with its "
                "task."
            )
        return cli(command, arguments, checkpoint, weights or "average", output)
    restored = {part: value for part, value in checkpoint.config.items() if part != "trainer"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(restored))
        arguments = ["--config", str(config), *arguments]
        return cli(command, arguments, checkpoint, weights or "average", output)


class EvaluateCLI(IREDCLI):
    """Evaluate a checkpoint on the validation or test set."""

    def __init__(
        self,
        command: str,
        arguments: list[str],
        checkpoint: Checkpoint | None,
        weights: Any,
        output: str | None = None,
    ) -> None:
        self.checkpoint, self.weights, self.output = checkpoint, weights, output
        super().__init__(command, arguments)

    def validate(self, **kwargs: Any) -> None:
        """Error on the validation set."""
        self._evaluate("validation", self.datamodule.validation_problems)

    def test(self, **kwargs: Any) -> None:
        """Error on the test set."""
        self._evaluate("test", self.datamodule.test_problems)

    def load_weights(self) -> None:
        """Put the checkpoint's weights into the model.

        Raises
        ------
        InputError
            If there is no checkpoint, but weights to load.
        RunError
            If they are no numbers.
        """
        if self.checkpoint is not None:
            self.checkpoint.load_into(self.model, self.weights)
            wrong = [n for n, p in self.model.named_parameters() if not p.isfinite().all()]
            if wrong:
                raise RunError(self._diverged(f"{wrong[0]} holds values that are not finite"))
        elif any(p.requires_grad for p in self.model.parameters()):
            raise InputError(
                f"ired {self.command} needs trained weights, but got no --ckpt; name a checkpoint "
                "or a run."
            )

    def _evaluate(self, split: str, problems: int) -> None:
        self.load_weights()
        if self.checkpoint is not None:
            log(self.checkpoint.sentence)
        log(f"{split} set: {problems} problems each of {', '.join(self.datamodule.variants)}")
        run_stage = self.trainer.test if split == "test" else self.trainer.validate
        run_stage(self.model, self.datamodule, verbose=False)
        errors = {key: metric.compute() for key, metric in self.model.errors.items()}
        for (variant, _), (error, _) in errors.items():
            if not error.isfinite():
                raise RunError(self._diverged(f"its {split} error ({variant}) is {float(error)}"))
        measures = {key: ratio.compute() for key, ratio in self.model.measures.items()}
        self._report(split, problems, errors, measures)

    def _diverged(self, what: str) -> str:
        checkpoint = self.checkpoint
        name = f"{checkpoint.path}, step {checkpoint.step}," if checkpoint else "the model"
        return (
            f"{name} diverged: {what}; take an earlier checkpoint, or train with a lower model.lr."
        )

    @rank_zero_only
    def _report(self, split: str, problems: int, errors: Any, measures: Any) -> None:
        result = evaluation_result(errors, measures, self.model, self.datamodule, split, problems)
        print(error_table(result), end="")
        checkpoint = self.checkpoint
        if checkpoint is not None and checkpoint.run is not None and self.weights == "average":
            worse = behind_best(checkpoint.run, checkpoint.step)
            if worse is not None:
                print(f"This checkpoint is {worse}")
        config = self.dump(devices="auto", num_nodes=1, strategy="auto")  # which change no number
        settings = {"checkpoint": checkpoint.digest if checkpoint else None, "config": config}
        key = ResultKey(
            f"{split}_error", checkpoint.step if checkpoint else 0, self.weights, settings
        )
        log(f"written to {write_result(self.results(), key, result, provenance())}")

    def results(self) -> Path:
        """Return the folder of results: --output, else the run's, else beside the checkpoint."""
        if self.output:
            return Path(self.output)
        if self.checkpoint is not None:
            run = self.checkpoint.run
            return run.results if run is not None else self.checkpoint.path.parent / "results"
        run = Run(
            Path(self.settings.runs).absolute()
            / self.settings.experiment
            / (self.settings.name or default_name())
        )
        if not run.config.is_file():
            run.write_config(self.dump())
        return run.results
