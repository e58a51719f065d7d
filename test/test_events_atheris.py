# SPDX-License-Identifier: Apache-2.0
"""
Bytes that are bred to reach every branch of the decoders' Python, and of the headers of recordings.

Run as a program, this file is what the test starts: libFuzzer ends its process.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 20_000


@pytest.mark.slow
def test_guided_fuzzing_finds_no_failure(tmp_path: Path) -> None:
    pytest.importorskip('atheris', reason='`atheris` guides this test')
    result = subprocess.run(
        [sys.executable, __file__, f'-runs={RUNS}', '-seed=1', '-max_len=600'],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert f'Done {RUNS} runs' in result.stderr


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=['snn_detector_ros.events']):
        from snn_detector_ros.events import DECODERS, EventError, create_decoder
        from snn_detector_ros.events.recording import read_header

    def survive(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        decoder = create_decoder(provider.PickValueInList(list(DECODERS)), 640, 480)
        for _ in range(3):
            packet = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 200))
            events = decoder.decode(packet, provider.ConsumeInt(8) & (2**64 - 1))
            assert (events['x'] < 640).all() and (events['y'] < 480).all()
            if provider.ConsumeBool():
                decoder.note_gap()
        header = b'%' + provider.ConsumeBytes(provider.remaining_bytes())
        with contextlib.suppress(EventError):
            read_header(io.BytesIO(header), Path('fuzzed'))

    atheris.Setup(sys.argv, survive)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
