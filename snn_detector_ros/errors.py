# SPDX-License-Identifier: Apache-2.0
"""
The errors this package raises on purpose.

Each names the offending value and the remedy, so that a log line is enough to act on. Whoever wants
to survive bad input catches :class:`SnnDetectorError`; anything else is a bug.
"""

from __future__ import annotations


class SnnDetectorError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(SnnDetectorError):
    """An option or parameter has a value that cannot work."""


class NetworkError(SnnDetectorError):
    """
    A spiking network breaks one of the rules that exact execution relies on.

    :param node: name of the layer, or of the part of the network, at fault.
    :param problem: what is wrong with it and what would be right.
    """

    def __init__(self, node: str, problem: str) -> None:
        self.node = node
        self.problem = problem
        super().__init__(f'{node}: {problem}')


class ModelFileError(SnnDetectorError):
    """A model file cannot be read, or is not a spiking network that this version can run."""


class ConversionError(SnnDetectorError):
    """A float network holds something that cannot be turned into spikes."""


class EngineError(SnnDetectorError):
    """An engine cannot run this network on this machine."""


class ImageError(SnnDetectorError):
    """An image cannot be used: its encoding, size or bytes are wrong."""


class DatasetError(SnnDetectorError):
    """A data set, an image folder or a label file cannot be read."""


class MissingDependencyError(SnnDetectorError):
    """
    An optional dependency is not installed.

    :param package: what could not be imported.
    :param extra: the extra of this package that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f'`{package}` is not installed; it comes with: pip install "snn_detector_ros[{extra}]"')
