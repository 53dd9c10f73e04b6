"""Keep the checkpoints of the lowest validation errors."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from ired_interp.results import Run


class KeepBest(ModelCheckpoint):
    """Save best-step=N.ckpt at a validation whose error is among the lowest so far.

    As every checkpoint it holds the averaged weights, which are those validated, and all that a
    run goes on from.

    Parameters
    ----------
    run : Run
        Where to save.
    variant : str
        The distribution whose error counts.
    count : int
        Checkpoints to keep.
    """

    def __init__(self, run: Run, variant: str, count: int) -> None:
        super().__init__(
            run.checkpoints,
            "best-{step}",
            monitor=f"val/error/{variant}",
            save_top_k=count,
            save_on_train_epoch_end=False,
            enable_version_counter=False,  # a step that is made again replaces its checkpoint
        )

    def needs(self, step: int) -> bool:
        """Never: it saves at validations."""
        return False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was kept; the files are looked for where the run lies now."""
        kept = {
            self._here(path): error
            for path, error in state_dict["best_k_models"].items()
            if Path(self._here(path)).is_file()
        }
        moved = {
            "dirpath": self.dirpath,
            "best_k_models": kept,
            "best_model_path": self._here(state_dict["best_model_path"]),
            "kth_best_model_path": self._here(state_dict["kth_best_model_path"]),
        }
        super().load_state_dict({**state_dict, **moved})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else ""
