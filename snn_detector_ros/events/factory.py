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
#: Streams that a factory keeps apart; a topic has one.
MOST_STREAMS = 8


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


class DecoderFactory:
    """Keep one decoder for each (encoding, width, height), and with it the state of its stream."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[str, int, int], EventDecoder] = {}

    def __call__(self, encoding: str, width: int, height: int) -> EventDecoder:
        """
        Return the decoder of these packets, the same one as the last time.

        When more than :data:`MOST_STREAMS` have come, the one that was made first is forgotten.

        :raises EventError: if there is no decoder for this encoding.
        :raises ConfigurationError: if the sensor size is impossible.
        """
        key = (encoding, width, height)
        if key not in self._decoders:
            decoder = create_decoder(*key)
            if len(self._decoders) == MOST_STREAMS:
                del self._decoders[next(iter(self._decoders))]
            self._decoders[key] = decoder
        return self._decoders[key]
