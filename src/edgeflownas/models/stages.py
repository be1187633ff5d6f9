"""What the training step and the evaluation walk know of a network: a chain of stages over a search space.

A stage takes features and an option and gives features, or, where it is an output stage, a prediction.  The supernet
(models/flownet.py) and the published single model (models/edgeflownet.py) are such chains, so one loop trains and one
walk evaluates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgeflownas.errors import ConfigError
from edgeflownas.models.attention import global_mean
from edgeflownas.models.batches import InputForm
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import replicate_pad
from edgeflownas.space import Arch, SearchSpace

__all__ = ["GRID", "BatchNormKind", "Stage", "StagedNet", "check_width", "number_batchnorms", "resolve"]

BatchNormKind = Literal["trained", "frozen"]
GRID = 16  # heights and widths are padded to multiples of it: four halvings


@dataclass(frozen=True)
class Stage:
    """A link as a space uses it: ``choice`` is its place in the arch code, ``output`` the scale it predicts.

    After a stage that ``gives`` context the caller forms :meth:`StagedNet.context_of` its features and hands that to
    the later stage that ``takes`` it; all others depend on the features alone.
    """

    name: str
    choice: int | None
    output: int | None
    context: Literal["", "gives", "takes"] = ""


def resolve(space: SearchSpace, arch: Arch | Sequence[int] | str | None) -> Arch:
    """The arch of ``space`` that ``arch`` means; None is allowed where the space holds one arch only."""
    if arch is None:
        if len(space) != 1:
            raise ConfigError(
                f"space {space.name!r} holds {len(space)} archs: say which one, e.g. net(images, space.sample(0))"
            )
        return space.arch((0,) * len(space.choices))
    return space.parse(arch) if isinstance(arch, str) else space.arch(arch)


def check_width(width: int) -> None:
    """Raises ConfigError for a width that no network here can have."""
    if not 2 <= width <= 4096 or width % 2:
        raise ConfigError(f"width {width} must be an even number from 2 to 4096 (H2 has width / 2 channels)")


class StagedNet(nn.Module):
    """A chain of stages, each a submodule called with (features, option).

    Whoever derives from it sets ``stages`` and ``batchnorms`` (those with statistics to recalibrate; may be none).
    ``input_form`` says what the images it is trained on look like; everything that feeds it batches obeys it.
    """

    stages: tuple[Stage, ...]
    batchnorms: tuple[BatchNorm, ...]

    def __init__(self, space: SearchSpace, width: int, channels_last: bool, input_form: InputForm) -> None:
        super().__init__()
        check_width(width)
        self.space, self.width, self.channels_last, self.input_form = space, width, channels_last, input_form

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of the features (not kept as such: torch.save could not write it)."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def shared_stages(self) -> int:
        """Number of leading stages that all archs share; 0 where there is no choice, hence nothing to share.

        They end before a stage that gives context, so that what they hand on is their features alone.
        """
        if all(stage.choice is None for stage in self.stages):
            return 0
        return next(i for i, stage in enumerate(self.stages) if stage.choice is not None or stage.context == "gives")

    def prepare(self, images: Tensor) -> Tensor:
        """Images [B,6,H,W] -> input of stage 0: padded right and bottom to multiples of 16 by repeating the edge."""
        if images.dim() != 4 or images.shape[1] != 6 or not images.is_floating_point():
            raise ConfigError(
                f"{type(self).__name__} takes float images [B,6,H,W] (image 1, image 2; {self.input_form}), got "
                f"{images.dtype} {list(images.shape)}"
            )
        height, width = images.shape[-2:]
        padded = replicate_pad(images, -width % GRID, -height % GRID)
        return padded.contiguous(memory_format=self.memory_format)

    def run_stage(self, index: int, features: Tensor, option: int, context: Tensor | None = None) -> Tensor:
        """Run stage ``index`` with one option: new features, or the prediction [B,4,h,w] of an output stage.

        ``context`` is what the last stage that gives one gave; only a stage that takes it reads it.  Raises ConfigError
        where it is missing.
        """
        stage = self.stages[index]
        if stage.context != "takes":
            result: Tensor = self.get_submodule(stage.name)(features, option)
            return result
        if context is None:
            raise ConfigError(
                f"stage {stage.name} needs the context that an earlier stage gives: net.context_of(features)"
            )
        gated: Tensor = self.get_submodule(stage.name)(features, context)
        return gated

    def context_of(self, features: Tensor) -> Tensor:
        """Context [B,C,1,1] of the features [B,C,h,w] of a stage that gives it: their mean over the (padded) grid."""
        return global_mean(features)

    def forward(self, images: Tensor, arch: Arch | Sequence[int] | str | None = None) -> list[Tensor]:
        """Predictions p0 [B,4,H/4,W/4], p1 [B,4,H/2,W/2], p2 [B,4,H,W] on the padded grid.

        Args:
            images: [B,6,H,W], image 1 then image 2, as ``input_form`` says (RGB in [-1,1] unless told otherwise).
            arch: Arch, digits or text of this network's space; None where the space holds one arch only.

        Raises:
            ConfigError: arch of another space, or images of another layout.
        """
        return self.run_from(0, self.prepare(images), resolve(self.space, arch))

    def run_from(
        self, start: int, features: Tensor, code: Arch, decoder_features: list[Tensor] | None = None
    ) -> list[Tensor]:
        """The predictions of stages ``start`` and later, from the features that stage ``start`` takes.

        ``decoder_features`` receives the features [B,C,h,w] from which each prediction is made.
        """
        predictions = []
        context = None
        for index in range(start, len(self.stages)):
            stage = self.stages[index]
            result = self.run_stage(index, features, 0 if stage.choice is None else code[stage.choice], context)
            if stage.output is None:
                features = result
                if stage.context == "gives":
                    context = self.context_of(features)
            else:
                predictions.append(result)
                if decoder_features is not None:
                    decoder_features.append(self.as_pixels(index, features))
        return predictions

    def as_pixels(self, index: int, features: Tensor) -> Tensor:
        """What output stage ``index`` takes, as a map of the size of its prediction."""
        return features


def number_batchnorms(net: nn.Module, frozen: bool = False) -> tuple[BatchNorm, ...]:
    """The batch norms of ``net`` in order, each told its position and its name; none to recalibrate if ``frozen``."""
    named = [(name, module) for name, module in net.named_modules() if isinstance(module, BatchNorm)]
    for slot, (name, module) in enumerate(named):
        module.slot, module.name, module.frozen = slot, name, frozen
    return () if frozen else tuple(module for _, module in named)
