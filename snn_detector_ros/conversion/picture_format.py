# SPDX-License-Identifier: Apache-2.0
"""
What numbers a float network takes a picture as: order of the colours, scale, mean and deviation.

The spiking network reads bytes, blue first. So the format is folded into the first convolution: its
weights, and, with a mean, its bias. One thing is then different: zeros that the convolution pads
with stand for the mean in the float network, and for black pixels in the spiking one. Where the
mean is not zero, the outermost cells of the first layer, those that see the padding, deviate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError

_KEYS = ('colour', 'scale', 'mean', 'std')


@dataclass(frozen=True)
class PictureFormat:
    """
    ``input = (byte * scale - mean) / std`` for each channel.

    :param colour: order of the channels, ``rgb`` or ``bgr``.
    :param scale: 1/255 for networks of 0..1.
    :param mean: one number a channel, in the network's order.
    :param std: one number a channel, in the network's order.
    :raises ConfigurationError: if an entry cannot be meant.
    """

    colour: str = 'rgb'
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.colour not in ('rgb', 'bgr'):
            raise ConfigurationError(f'colour order {self.colour!r}: choose rgb or bgr')
        numbers = np.array([self.scale, *self.mean, *self.std], np.float64)
        if numbers.shape != (7,) or not np.isfinite(numbers).all() or self.scale == 0 or (
                0 in self.std):
            raise ConfigurationError(
                f'picture format with scale {self.scale}, mean {self.mean} and std {self.std}: '
                'needs three finite numbers each, and neither scale nor std may be 0')

    @classmethod
    def from_mapping(cls, entries: Mapping[str, Any]) -> PictureFormat:
        """
        Read a format such as ``{'colour': 'bgr', 'scale': 0.0039, 'mean': 0, 'std': [1, 1, 1]}``.

        :param entries: absent ones take their default; one number stands for all channels.
        :raises ConfigurationError: if an entry is unknown or malformed.
        """
        unknown = sorted(set(entries) - set(_KEYS))
        if unknown:
            raise ConfigurationError(
                f'picture format has an entry {unknown[0]!r}; known: {", ".join(_KEYS)}')
        try:
            values: dict[str, Any] = {
                key: tuple(np.broadcast_to(np.asarray(value, np.float64), 3).tolist())
                if key in ('mean', 'std') else str(value) if key == 'colour' else float(value)
                for key, value in entries.items()}
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f'picture format {dict(entries)}: {error}') from error
        return cls(**values)

    def to_json(self) -> str:
        """Return the format as :meth:`from_mapping` reads it."""
        return json.dumps({key: getattr(self, key) for key in _KEYS})

    @property
    def gain(self) -> NDArray[np.float64]:
        """What a picture of 0..1 is multiplied by, float64 [3], in the network's order."""
        return 255 * self.scale / np.array(self.std)

    @property
    def shift(self) -> NDArray[np.float64]:
        """What is added then, float64 [3], in the network's order."""
        return -np.array(self.mean) / np.array(self.std)

    def blob(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """
        Return a picture as the input of the float network.

        :param pixels: uint8 [H, W, 3], blue-green-red.
        :returns: float32 [1, 3, H, W].
        """
        ordered = pixels if self.colour == 'bgr' else pixels[:, :, ::-1]
        values = ordered.transpose(2, 0, 1) * (self.gain / 255)[:, None, None].astype(np.float32)
        return (values + self.shift[:, None, None].astype(np.float32))[None].astype(np.float32)
