# SPDX-License-Identifier: Apache-2.0
"""
Make events from a still picture that a camera is moved over, to train where no events are labelled.

A pixel compares the logarithm of its brightness with the one that it remembers, and sends an event
whenever the two differ by its threshold (Lichtsteiner et al. 2008). Thresholds differ from pixel to
pixel, pixels leak, fire at random in the dark, and rest after an event, as in v2e (Hu et al. 2021).

The picture is drawn at small steps of time. ``simulate_frames`` draws last-event frames directly;
``simulate_events`` gives the events, of which ``last_event_frame`` makes the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.events.representations import NEGATIVE, NO_EVENT, POSITIVE
from snn_detector_ros.events.types import EVENT, Events

#: Added to 8-bit brightness before the logarithm: in the dark a pixel sees its own current.
DARK_CURRENT = 8.0
#: Longest way of a corner between two drawings, px, and most drawings of a bin.
LONGEST_WAY = 1.0
MOST_DRAWINGS = 8

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class EventSensor:
    """
    An event camera; the defaults are within the range that v2e gives for DAVIS sensors.

    :param height: px; ``width`` alike.
    :param threshold: change of log brightness that makes an event.
    :param mismatch: standard deviation of the threshold over the pixels, relative to it.
    :param refractory: rest after an event in us.
    :param leak_rate: positive events that a pixel sends in front of nothing, Hz.
    :param shot_rate: random events of a pixel in the dark, Hz; a quarter of it in the light.
    """

    height: int
    width: int
    threshold: float = 0.25
    mismatch: float = 0.12
    refractory: int = 500
    leak_rate: float = 0.1
    shot_rate: float = 1.0


@dataclass(frozen=True)
class Motion:
    """
    A camera motion; at time 0, the end of the window, the picture lies where it is labelled.

    :param pan: px/s, x and y.
    :param zoom: relative growth in 1/s.
    :param spin: rad/s.
    :param shake: amplitude in px, x and y; ``shake_rate`` in Hz, ``shake_phase`` in rad.
    """

    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 0.0
    spin: float = 0.0
    shake: tuple[float, float] = (0.0, 0.0)
    shake_rate: float = 8.0
    shake_phase: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def draw(cls, random: np.random.Generator, width: int) -> Motion:
        """
        Draw a motion of a hand-carried camera, or of one on a robot.

        :param width: of the sensor in px; motions are the same in parts of it.
        """
        speed = width * np.exp(random.uniform(np.log(0.15), np.log(2.0)))
        direction = random.uniform(0, 2 * np.pi)
        # Mostly sideways, as heads and robots turn.
        pan = speed * np.cos(direction), 0.5 * speed * np.sin(direction)
        shake = width * 0.006 * random.random(2) * (random.random() < 0.6)
        phase = random.uniform(0, 2 * np.pi, 2)
        return cls(
            pan=(float(pan[0]), float(pan[1])), zoom=float(random.normal(0, 0.3)),
            spin=float(random.normal(0, 0.2)), shake=(float(shake[0]), float(shake[1])),
            shake_rate=float(random.uniform(3, 15)), shake_phase=(float(phase[0]), float(phase[1])))

    def matrix(self, time: int, height: int, width: int) -> NDArray[np.float64]:
        """
        Return where the picture lies, relative to time 0.

        :param time: us.
        :param height: of the sensor in px; ``width`` alike. Zoom and spin are about its centre.
        :returns: float64 [2, 3], from pixel positions at time 0 to those at ``time``.
        """
        seconds = time * 1e-6
        angle, growth = self.spin * seconds, np.exp(self.zoom * seconds)
        turn = growth * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        phase = np.asarray(self.shake_phase)
        swing = np.sin(2 * np.pi * self.shake_rate * seconds + phase) - np.sin(phase)
        centre = np.array([width - 1, height - 1]) / 2
        shift = (
            centre - turn @ centre + np.asarray(self.pan) * seconds
            + np.asarray(self.shake) * swing)
        return np.column_stack((turn, shift))

    def drawings(self, start: int, end: int, height: int, width: int) -> int:
        """Return how many steps from ``start`` to ``end`` keep a corner's way short."""
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).T
        ways = (self.matrix(end, height, width) - self.matrix(start, height, width)) @ corners
        return int(np.clip(np.ceil(np.hypot(*ways).max() / LONGEST_WAY), 1, MOST_DRAWINGS))


@dataclass(frozen=True, eq=False)
class _Step:
    """
    What happened between two drawings.

    :param start: us; ``end`` alike.
    :param counts: int8 [H, W], events of each pixel, negative for darker.
    :param before: float32 [H, W], difference to the memory in thresholds, at the start;
        ``after`` alike, at the end.
    :param noise: int64 [N], flat indices of pixels in ``counts`` whose event is random.
    """

    start: int
    end: int
    counts: NDArray[np.int8]
    before: Plane
    after: Plane
    noise: NDArray[np.int64]


def log_brightness(grey: NDArray[np.uint8]) -> Plane:
    """Return the natural logarithm of a uint8 [H, W] picture as pixels see it, float32."""
    table = np.log(np.arange(256) + DARK_CURRENT).astype(np.float32)
    return np.asarray(cv2.LUT(grey, table))


def simulate_frames(
        scene: Plane, sensor: EventSensor, motion: Motion, *, bins: int, bin_length: int,
        random: np.random.Generator) -> NDArray[np.uint8]:
    """
    Draw the last-event frames of the last ``bins`` bins before time 0.

    :param scene: float32 [H, W] of ``log_brightness``, at least as large as the sensor, which sees
        its middle at time 0.
    :param sensor: the camera.
    :param motion: how it moves.
    :param bins: number of bins.
    :param bin_length: us.
    :param random: source of all random numbers.
    :returns: uint8 [bins, height, width] as ``last_event_frame`` draws them.
    """
    frames = np.full((bins, sensor.height, sensor.width), NO_EVENT, np.uint8)
    for step in _steps(scene, sensor, motion, bins, bin_length, random):
        frame = frames[step.start // bin_length]
        np.copyto(frame, POSITIVE, where=step.counts > 0)
        np.copyto(frame, NEGATIVE, where=step.counts < 0)
    return frames


def simulate_events(
        scene: Plane, sensor: EventSensor, motion: Motion, *, bins: int, bin_length: int,
        random: np.random.Generator) -> Events:
    """
    Make the events of the same time, with the same random numbers.

    :returns: EVENT [N] in time order; the first bin starts at 0 us.
    """
    parts = [_events_of(step) for step in _steps(scene, sensor, motion, bins, bin_length, random)]
    return np.concatenate([np.empty(0, EVENT), *parts])


def _steps(
        scene: Plane, sensor: EventSensor, motion: Motion, bins: int, bin_length: int,
        random: np.random.Generator) -> Iterator[_Step]:
    shape, total = (sensor.height, sensor.width), bins * bin_length
    offset = (np.asarray(scene.shape) - shape)[::-1] / 2
    # No pixel fires at nothing.
    factors = random.normal(1, sensor.mismatch, shape).clip(0.2)
    threshold = (sensor.threshold * factors).astype(np.float32)
    # What a memory lies off when the window starts is anything below a threshold.
    before = random.uniform(-1, 1, shape).astype(np.float32)
    memory: NDArray[Any] = _draw(scene, offset, motion, -total, shape) - before * threshold
    leak = sensor.leak_rate * sensor.threshold
    for first in range(0, total, bin_length):
        count = motion.drawings(first - total, first + bin_length - total, *shape)
        edges = first + bin_length * np.arange(count + 1) // count
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            memory -= np.float32(leak * (end - start) * 1e-6)
            view = _draw(scene, offset, motion, end - total, shape)
            after = ((view - memory) / threshold).astype(np.float32, copy=False)
            most = 1 + (end - start - 1) // max(sensor.refractory, 1)
            crossings = np.trunc(after)
            counts = crossings.clip(-most, most).astype(np.int8)
            # What happens during the rest is forgotten.
            memory += crossings * threshold
            noise = _noise(view, counts, sensor, end - start, random)
            yield _Step(start, end, counts, before, after, noise)
            before = (after - crossings).astype(np.float32, copy=False)


def _draw(
        scene: Plane, offset: NDArray[np.float64], motion: Motion, time: int,
        shape: tuple[int, int]) -> Plane:
    """Return what the sensor sees at a time (0 is the end), float32 [H, W]."""
    matrix = motion.matrix(time, *shape)
    matrix[:, 2] -= matrix[:, :2] @ offset
    return np.asarray(cv2.warpAffine(
        scene, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _noise(
        view: Plane, counts: NDArray[np.int8], sensor: EventSensor, duration: int,
        random: np.random.Generator) -> NDArray[np.int64]:
    """Add random events to ``counts`` where nothing else happened; return where."""
    expected = sensor.shot_rate * duration * 1e-6 * counts.size
    pixels = random.integers(0, counts.size, random.poisson(expected))
    polarity = random.integers(0, 2, len(pixels)) * 2 - 1
    darkest, brightest = np.log(DARK_CURRENT), np.log(255 + DARK_CURRENT)
    lightness = (view.reshape(-1)[pixels] - darkest) / (brightest - darkest)
    flat = counts.reshape(-1)
    kept = (random.random(len(pixels)) > 0.75 * lightness) & (flat[pixels] == 0)
    pixels, first = np.unique(pixels[kept], return_index=True)
    flat[pixels] = polarity[kept][first]
    return pixels


def _events_of(step: _Step) -> Events:
    """Place the events of a step in time, by the way between two drawings being straight."""
    counts = step.counts.reshape(-1)
    pixels = np.flatnonzero(counts)
    number = np.abs(counts[pixels]).astype(np.int64)
    pixels, of = np.repeat(pixels, number), np.repeat(number, number)
    order = np.arange(len(pixels)) - np.repeat(np.cumsum(number) - number, number) + 1
    before, after = step.before.reshape(-1)[pixels], step.after.reshape(-1)[pixels]
    # Where a rest swallowed crossings, the others stand for them at equal distances.
    crossing = order * np.abs(np.trunc(after)) / of
    is_noise = np.isin(pixels, step.noise)
    way = np.where(is_noise, 1.0, np.abs(after - before))
    share = np.where(
        is_noise, 0.5, (crossing - np.where(after < 0, -before, before)) / np.maximum(way, 1e-6))
    events = np.empty(len(pixels), EVENT)
    events['y'], events['x'] = np.divmod(pixels, step.counts.shape[1])
    events['p'] = counts[pixels] > 0
    last = step.end - step.start - 1
    events['t'] = step.start + (share.clip(0, 1) * last).astype(np.int64)
    return events[np.argsort(events['t'], kind='stable')]
