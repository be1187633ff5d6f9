"""TensorFlow Lite files of deployed graphs, written directly and run by LiteRT."""

from edgeflownas.hardware.tflite.made_up import cost_model_bytes
from edgeflownas.hardware.tflite.writer import write_float, write_int8

__all__ = ["cost_model_bytes", "write_float", "write_int8"]
