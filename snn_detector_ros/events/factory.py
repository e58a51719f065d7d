# SPDX-License-Identifier: Apache-2.0
"""Choose the decoder of a stream by the name of its encoding."""

from __future__ import annotations

from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.errors import EventError
from snn_detector_ros.events.record_decoders import (
    DatDecoder,
    EventArrayDecoder,
    LibcaerDecoder,
    MonoDecoder,
)
from snn_detector_ros.events.word_decoders import (
    Evt2Decoder,
    Evt3Decoder,
    Evt21Decoder,
    Evt21LegacyDecoder,
    LibcaerCmpDecoder,
)

#: All decoders, by encoding.
DECODERS: dict[str, type[EventDecoder]] = {decoder.encoding: decoder for decoder in (
    Evt3Decoder, Evt2Decoder, Evt21Decoder, Evt21LegacyDecoder, LibcaerDecoder, LibcaerCmpDecoder,
    MonoDecoder, DatDecoder, EventArrayDecoder)}


def create_decoder(encoding: str, width: int, height: int) -> EventDecoder:
    """
    Make the decoder of one stream.

    :param encoding: as in ``EventPacket.encoding``.
    :param width: of the sensor in px; ``height`` alike.
    :raises EventError: if there is no decoder for this encoding.
    :raises ConfigurationError: if the sensor size is impossible.
    """
    if encoding not in DECODERS:
        raise EventError(
            f'event encoding `{encoding}` is unknown; there are {", ".join(DECODERS)}')
    return DECODERS[encoding](width, height)
