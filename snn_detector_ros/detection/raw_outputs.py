# SPDX-License-Identifier: Apache-2.0
"""
The float network's own output arrays, computed by spikes.

Whoever has a decoder for the float network keeps it: names, shapes and meaning are the same. What
followed the last convolutions (sigmoid, softmax, box decoding) was kept in the model file and runs
in float.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.detection.readout_maps import MembraneMaps
from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.float_tail import FloatTail
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import RawHead, SpikingNetwork
from snn_detector_ros.network.model_file import load_converted


class RawOutputs:
    """
    Runs a spiking network that was converted with ``--head raw``.

    Not thread-safe: one object belongs to one thread at a time.

    :param model: the model file.
    :param engine: see :class:`~snn_detector_ros.detection.detector.Detector`.
    :param threads: threads of the engine; 0 takes one per physical core.
    :raises ModelFileError: if the model cannot be read.
    :raises ConfigurationError: if it was converted with another head.
    """

    def __init__(
        self, model: str | Path, *, engine: str = 'auto', threads: int = 0,
    ) -> None:
        self.network: SpikingNetwork = load_converted(model)
        head = self.network.head
        if not isinstance(head, RawHead):
            raise ConfigurationError(
                f'{Path(model).name} was not converted with --head raw; use Detector, or convert '
                'the float network again')
        self._tail = FloatTail(head)
        self._maps = MembraneMaps(self.network)
        self._engine = make_engine(engine, self.network, threads=threads, statistics=False)
        self._letterbox = Letterbox(self.network.input_size)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self._tail.outputs)

    def __call__(
        self, image: NDArray[np.uint8], *, colour: str = 'bgr',
    ) -> dict[str, NDArray[Any]]:
        """
        Return the outputs for a picture.

        :param image: uint8 [H, W, 3], or [H, W] for a grey picture; it is letterboxed to the input
            size unless it has that size.
        :param colour: order of its channels: ``bgr``, ``rgb`` or ``mono``.
        :returns: the arrays that the float network puts out, by name.
        :raises ImageError: if the picture has a wrong type, shape or size.
        """
        self._maps.sums = self._engine.run(self._letterbox(image, colour=colour))
        return self._tail({name: self._maps.values(name) for name in self.network.outputs})
