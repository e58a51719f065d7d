# SPDX-License-Identifier: Apache-2.0
"""Bad images: each is counted by its cause, the node lives, and the next good one is detected."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import image_message
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from snn_detector_ros import Detector
from snn_detector_ros.errors import EngineError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def image(**changes):
    message = image_message(PIXELS)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def compressed(data, kind='jpeg'):
    message = CompressedImage(format=kind, data=bytes(data))
    message.header.stamp.sec = 1
    return message


def jpeg():
    return cv2.imencode('.jpg', PIXELS)[1].tobytes()


BAD_IMAGES = {
    'unknown encoding': lambda: image(encoding='bgr12_packed'),
    'float image': lambda: image_message(np.full((20, 30), np.nan, np.float32), encoding='32FC1'),
    'short buffer': lambda: image(data=b'\0' * 100),
    'no data': lambda: image(data=b''),
    'zero size': lambda: image(width=0, height=0, step=0, data=b''),
    'huge size': lambda: image(width=2**31, height=2**31, step=2**32 - 1),
    'short step': lambda: image(step=10),
    'truncated jpeg': lambda: compressed(jpeg()[:-200]),
    'not an image': lambda: compressed(b'hello'),
    'empty jpeg': lambda: compressed(b''),
    'depth': lambda: compressed(b'\0' * 50, '16UC1; compressedDepth png'),
}
CAUSES = {
    'float image': 'unknown encoding', 'no data': 'short buffer', 'zero size': 'empty image',
    'huge size': 'huge image', 'truncated jpeg': 'truncated image',
    'not an image': 'unknown encoding', 'empty jpeg': 'unknown encoding',
    'depth': 'unknown encoding'}


@pytest.mark.parametrize('fault', BAD_IMAGES)
def test_a_bad_image_is_counted_and_the_next_good_one_detected(bench, small_model, fault):
    bench.start(model=str(small_model))
    detections = bench.listen(Detection2DArray, '/detections')
    message = BAD_IMAGES[fault]()
    topic = '/image' if isinstance(message, Image) else '/image/compressed'
    bench.publish(topic, message)
    cause = f'dropped: bad image, {CAUSES.get(fault, fault)}'
    status = bench.status('input', lambda status, values: values.get(cause) == '1')
    assert status.level == b'\x01' and cause in status.message
    bench.publish(topic, image() if topic == '/image' else compressed(jpeg()))
    bench.until(lambda: detections, 'detections of a good image')


class FaultyDetector(Detector):
    """Raises an error at its first image after warming up."""

    error: Exception | None = None

    def detect(self, image, *, colour='bgr'):
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().detect(image, colour=colour)


@pytest.mark.parametrize('error, cause, level', [
    (EngineError('out of memory'), 'dropped: detector failed, EngineError', b'\x01'),
    (ZeroDivisionError('a bug'), 'dropped: unexpected error, ZeroDivisionError', b'\x02')])
def test_an_error_of_the_detector_costs_one_image(bench, small_model, error, cause, level, capfd):
    made = []

    def make(*arguments, **options):
        made.append(FaultyDetector(*arguments, **options))
        return made[-1]

    bench.start(model=str(small_model), make_detector=make)
    made[0].error = error
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/image', image())
    status = bench.status('input', lambda status, values: values.get(cause) == '1')
    assert status.level == level
    bench.publish('/image', image())
    bench.until(lambda: detections, 'detections of the next image')
    assert str(error) in capfd.readouterr().err
