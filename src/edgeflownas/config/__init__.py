"""Configuration: the models (every key, its check, its help), reading and merging, the table of keys."""

from edgeflownas.config.models import CheckpointConfig, Config, DataConfig, EvalConfig, RuntimeConfig, TrainConfig

__all__ = ["CheckpointConfig", "Config", "DataConfig", "EvalConfig", "RuntimeConfig", "TrainConfig"]
