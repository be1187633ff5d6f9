"""What a model costs on an Arm Ethos-U: Vela in this process, and the chips it compiles for."""

from edgeflownas.hardware.vela.apart import compile_file
from edgeflownas.hardware.vela.compiler import VERSION, Compiled, LayerCost, Mode, Placed, compile_tflite
from edgeflownas.hardware.vela.targets import TARGETS, Target, get_target, own_target

__all__ = [
    "TARGETS",
    "VERSION",
    "Compiled",
    "LayerCost",
    "Mode",
    "Placed",
    "Target",
    "compile_file",
    "compile_tflite",
    "get_target",
    "own_target",
]
