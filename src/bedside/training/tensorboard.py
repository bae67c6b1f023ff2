"""Training curves, by the Trainer's own integrations: one run for each training, named as in the report.

tensorboard              runs/NAME/tensorboard/LABEL; the Trainer would write among its checkpoints, which are deleted
trackio, mlflow, wandb   run NAME/LABEL, where their own settings say (MLFLOW_TRACKING_URI, WANDB_MODE ...)
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

TENSORBOARD = "tensorboard"


def callbacks(report_to: str, folder: Path) -> list[TrainerCallback]:
    """Callbacks that the Trainer needs in addition to its own for ``report_to``. TensorBoard writes to ``folder``."""
    if report_to == TENSORBOARD:
        from torch.utils.tensorboard import SummaryWriter

        return [TensorBoardCallback(SummaryWriter(log_dir=str(folder)))]
    return [_FinishWandbRun()] if report_to == "wandb" else []


def trainer_report_to(report_to: str) -> str:
    """The value of ``report_to`` for the Trainer's own arguments."""
    return "none" if report_to == TENSORBOARD else report_to


class _FinishWandbRun(TrainerCallback):
    """The integration leaves its run open, and the next training would write into it."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        import wandb

        wandb.finish()
