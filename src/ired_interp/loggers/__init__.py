"""Where metrics and results go besides the run's folder: W&B, TensorBoard, CSV."""

from ired_interp.loggers.placed import PlacedLogger, RunMetrics, TensorBoard
from ired_interp.loggers.publish import publish
from ired_interp.loggers.wandb import WandB

__all__ = ["PlacedLogger", "RunMetrics", "TensorBoard", "WandB", "publish"]
