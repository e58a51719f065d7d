# SPDX-License-Identifier: Apache-2.0
"""
EMS-YOLO (Su et al., ICCV 2023): EMS-ResNet backbones with an anchor head, for frames and events.

All convolutions but the first and those of the head read spikes; in the published networks the
shortcuts of the head's blocks multiply reals, here they fire first. The head is linear, so it is
applied once, to the mean over time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from snn_detector_ros.training.head import AnchorDetector, Detect
from snn_detector_ros.training.spiking.blocks import ResidualBlock, SiluConv
from snn_detector_ros.training.spiking.lif import LifParameters
from snn_detector_ros.training.spiking.tdbn import ConvTdbn, PerStep, concatenated

NEURON = LifParameters()
#: Grey of an event picture where nothing happened.
NO_EVENT = 127 / 255


@dataclass(frozen=True)
class EmsSize:
    """
    What distinguishes the networks; channels are those of width 1.

    :param stem: channels, kernel and stride of the first convolution.
    :param first_stride: of the first stage; together with the stem's stride it makes 4.
    :param depths: blocks of each stage (64, 128, 256, 512 channels; strides 4, 8, 16, 32).
    :param expansion: hidden channels of a block, relative to its outputs.
    :param concat: blocks grow by concatenation (EMS-Block2).
    :param neck_hidden: hidden channels of the neck's first block, where they are fixed.
    :param silu_ends: the last two blocks are ``SiluConv``, and do not spike.
    :param levels: outputs of the pyramid: 2 for strides 16 and 32, 3 for stride 8 too.
    :param width: multiple of all channels.
    """

    stem: tuple[int, int, int]
    depths: tuple[int, int, int, int]
    expansion: float = 0.5
    first_stride: int = 2
    concat: bool = True
    neck_hidden: int | None = None
    silu_ends: bool = False
    levels: int = 2
    width: float = 1.0


SIZES = {
    'ems-res10': EmsSize((32, 3, 2), (1, 1, 1, 1)),
    'ems-res18': EmsSize((32, 3, 2), (2, 2, 2, 2)),
    'ems-res34': EmsSize(
        (64, 7, 2), (3, 4, 6, 3), expansion=1.0, concat=False, neck_hidden=1024),
    'ems-res34-cat': EmsSize((64, 7, 2), (3, 4, 6, 3), expansion=1.0, silu_ends=True),
    # For small objects on small computers: stride 4 at once, and a finer third output.
    'ems-res10-narrow': EmsSize(
        (32, 7, 4), (1, 1, 1, 1), first_stride=1, levels=3, width=0.5),
}


class EmsYolo(AnchorDetector):
    """The detector; ``forward`` gives raw maps, ``BoxDecoder`` makes boxes of them."""

    def __init__(
            self, size: EmsSize, class_count: int,
            anchors: Sequence[Sequence[tuple[float, float]]], *, channels: int = 3,
            steps: int | None = None) -> None:
        """
        Create the network with random weights.

        :param size: usually from ``SIZES``.
        :param class_count: number of classes.
        :param anchors: width and height in px, [size.levels][anchors a level].
        :param channels: input channels of the stem; event pictures are repeated over them.
        :param steps: time steps for frames; None for a network that reads T bins of events.
        """
        super().__init__()
        self.size, self.steps, self.channels = size, steps, channels

        def scaled(count: int) -> int:
            return max(round(count * size.width / 8) * 8, 8)

        stem, kernel, stride = size.stem
        self.stem = ConvTdbn(
            channels, scaled(stem), kernel, stride, threshold=NEURON.threshold)
        c2, c3, c4, c5 = (scaled(count) for count in (64, 128, 256, 512))
        depths = size.depths
        self.to_p3 = nn.Sequential(
            *_stage(size, scaled(stem), c2, size.first_stride, depths[0]),
            *_stage(size, c2, c3, 2, depths[1]))
        self.to_p4 = nn.Sequential(*_stage(size, c3, c4, 2, depths[2]))
        self.to_p5 = nn.Sequential(*_stage(size, c4, c5, 2, depths[3]))
        self.neck = _block(size, c5, c4, hidden=size.neck_hidden)
        self.out5 = _end(size, c4, c5)
        self.lateral4 = _block(size, c4, c3, kernel=1)
        self.out4 = _end(size, c3 + c4, c4)
        self.upsample = PerStep(nn.Upsample(scale_factor=2, mode='nearest'))
        outputs = [c4, c5]
        if size.levels == 3:
            self.lateral3 = _block(size, c4, c2, kernel=1)
            self.out3 = _end(size, c2 + c3, c3)
            outputs.insert(0, c3)
        self.head = Detect(class_count, anchors, outputs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """
        Compute the raw maps of a batch.

        :param x: float [N, 3, H, W], colours in 0..1, which each time step sees; or, if ``steps``
            is None, [N, T, H, W], the T pictures of events in 0..1, oldest first. H and W are
            multiples of 32.
        :returns: ``size.levels`` tensors [N, anchors, H / s, W / s, 5 + classes], finest first.
        """
        p3 = self.to_p3(self.currents(x))
        p4 = self.to_p4(p3)
        neck = self.neck(self.to_p5(p4))
        n4 = self.out4(concatenated(self.upsample(self.lateral4(neck)), p4))
        features = [n4, self.out5(neck)]
        if self.size.levels == 3:
            side = self.upsample(self.lateral3(n4))
            features.insert(0, self.out3(concatenated(side, p3)))
        maps: list[Tensor] = self.head([feature.mean(0) for feature in features])
        return maps

    def currents(self, x: Tensor) -> Tensor:
        """
        Encode the input: the stem's output of each step, computed once where all steps are equal.

        :param x: as for ``forward``.
        :returns: float [T, N, C, H / stride, W / stride].
        """
        if self.steps is not None:
            once: Tensor = self.stem(x[None])
            return once.expand(self.steps, *once.shape[1:])
        # Zero where nothing happened, so that padding is a place without events.
        bins = ((x - NO_EVENT) * 2).transpose(0, 1)[:, :, None]
        y: Tensor = self.stem(bins.expand(-1, -1, self.channels, -1, -1))
        return y


def _block(
        size: EmsSize, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1,
        hidden: int | None = None) -> ResidualBlock:
    return ResidualBlock(
        inputs, outputs, kernel, stride, neuron=NEURON, concat=size.concat,
        hidden=int(outputs * size.expansion) if hidden is None else hidden)


def _stage(
        size: EmsSize, inputs: int, outputs: int, stride: int, depth: int) -> list[ResidualBlock]:
    first = _block(size, inputs, outputs, stride=stride)
    return [first, *(_block(size, outputs, outputs) for _ in range(depth - 1))]


def _end(size: EmsSize, inputs: int, outputs: int) -> nn.Module:
    if size.silu_ends:
        return SiluConv(inputs, outputs, 3, neuron=NEURON)
    return _block(size, inputs, outputs)
