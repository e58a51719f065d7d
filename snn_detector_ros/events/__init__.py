# SPDX-License-Identifier: Apache-2.0
"""Event cameras: decoders of their encodings, recordings, windows and pictures of events."""

from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.errors import BadPacketError, EventError
from snn_detector_ros.events.factory import DECODERS, create_decoder
from snn_detector_ros.events.frames import event_picture
from snn_detector_ros.events.packets import EventPacket, read_event_array, read_event_packet
from snn_detector_ros.events.recording import EventRecording
from snn_detector_ros.events.representations import (
    last_event_frame,
    signed_histogram,
    time_surface,
    voxel_grid,
)
from snn_detector_ros.events.stream import EventStream, StampedWindow
from snn_detector_ros.events.types import EVENT, TRIGGER, DecoderCounters, Events
from snn_detector_ros.events.windows import CountWindows, EventWindows, TimeWindows, Window

__all__ = [
    'DECODERS', 'EVENT', 'TRIGGER', 'BadPacketError', 'CountWindows', 'DecoderCounters',
    'EventDecoder', 'EventError', 'EventPacket', 'EventRecording', 'EventStream',
    'EventWindows', 'Events', 'StampedWindow', 'TimeWindows', 'Window', 'create_decoder',
    'event_picture', 'last_event_frame', 'read_event_array', 'read_event_packet',
    'signed_histogram', 'time_surface', 'voxel_grid',
]
