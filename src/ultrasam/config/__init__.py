"""Settings of training runs as frozen dataclasses: what a recipe may say. Needs no torch."""

from ultrasam.config.downstream import (
    ClassifyConfig,
    EncoderConfig,
    FocalConfig,
    InstancesConfig,
    JitterConfig,
    Mask2FormerSettings,
    RunConfig,
    TaskData,
)
from ultrasam.config.promptable import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PromptConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "ClassifyConfig",
    "DataConfig",
    "EncoderConfig",
    "FocalConfig",
    "InstancesConfig",
    "JitterConfig",
    "LossConfig",
    "Mask2FormerSettings",
    "ModelConfig",
    "RunConfig",
    "TaskData",
    "OptimConfig",
    "PromptConfig",
    "TrainConfig",
]
