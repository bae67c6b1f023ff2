"""Training curves by the Trainer's own integrations: one a training, under the name the report gives it.

tensorboard              runs/NAME/tensorboard/LABEL: the Trainer would write among checkpoints, which go at the end
trackio, mlflow, wandb   run NAME/LABEL, where their own settings say (MLFLOW_TRACKING_URI, WANDB_MODE ...)
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

TENSORBOARD = "tensorboard"


def callbacks(report_to: str, folder: Path) -> list[TrainerCallback]:
    """What has to be added to what ``report_to`` makes the Trainer do by itself."""
    if report_to == TENSORBOARD:
        from torch.utils.tensorboard import SummaryWriter

        return [TensorBoardCallback(SummaryWriter(log_dir=str(folder)))]
    return [_WandbEnds()] if report_to == "wandb" else []


def by_the_trainer(report_to: str) -> str:
    """``report_to`` as the Trainer may read it."""
    return "none" if report_to == TENSORBOARD else report_to


class _WandbEnds(TrainerCallback):
    """The integration leaves its run open, and the next training would write into it."""

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        import wandb

        wandb.finish()
