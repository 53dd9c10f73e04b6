"""Loggers that write into the run's folder, which is known only once the whole configuration is."""

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ired_interp.lightning_private import set_tensorboard_folder
from ired_interp.results import Run


class RunFolderLogger(ABC):
    """A logger that `ired fit` tells where the run lies."""

    @abstractmethod
    def set_run(self, run: Run, config: str) -> None:
        """Write into this run's folder; `config` is the resolved configuration as YAML."""


class RunMetrics(CSVLogger):
    """The run's own record of what training logs, metrics/version_<n>/metrics.csv.

    Results have files of their own and are not repeated in it.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run.path, name="metrics", flush_logs_every_n_steps=50)


class TensorBoard(TensorBoardLogger, RunFolderLogger):
    """TensorBoard's event files in the folder tensorboard/ of the run: `tensorboard --logdir runs`.

    Parameters
    ----------
    kwargs : Any
        As in Lightning's TensorBoardLogger, except for its places.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(".", name="", version="tensorboard", **kwargs)

    def set_run(self, run: Run, config: str) -> None:
        """Write into the run's folder."""
        set_tensorboard_folder(self, str(run.path))
