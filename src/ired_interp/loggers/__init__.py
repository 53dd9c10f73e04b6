"""Where metrics and results go besides the run's folder: W&B, TensorBoard, CSV."""

from ired_interp.loggers.publish import publish, summarise
from ired_interp.loggers.run_folder import RunFolderLogger, RunMetrics, TensorBoard
from ired_interp.loggers.wandb import WandB

__all__ = ["RunFolderLogger", "RunMetrics", "TensorBoard", "WandB", "publish", "summarise"]
