"""Configuration: every key once (``keys``), reading and merging (``load``), schema and docs (``describe``)."""

from edgeflownas.config.keys import CheckpointConfig, Config, DataConfig, EvalConfig, RuntimeConfig, TrainConfig

__all__ = ["CheckpointConfig", "Config", "DataConfig", "EvalConfig", "RuntimeConfig", "TrainConfig"]
