# SPDX-License-Identifier: Apache-2.0
"""Arbitrary bytes: no decoder fails, the compiled one equals its numpy twin, cuts do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_detector_ros.events import DECODERS, create_decoder
from snn_detector_ros.events.types import new_registers
from snn_detector_ros.events.words import (
    CHUNK,
    FORMS,
    HAVE_NATIVE,
    Form,
    decode_words,
    decode_words_numpy,
)

needs_native = pytest.mark.skipif(not HAVE_NATIVE, reason='the C module was not built')
#: Codes of single events, of vectors, and all: drawn alone, so that the compiled decoder's way
#: through blocks of single events and its way word by word both come up.
CODES = {
    'EVT3': ((0, 2, 6, 8), (0, 2, 6, 8, 10, 14, 7), (0, 3, 4, 5, 6, 8), tuple(range(16))),
    'LIBCAER_CMP': ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5), tuple(range(16))),
    'EVT2': ((0, 1, 8), (0, 1, 8, 10, 14), tuple(range(16))),
    'EVT21': ((0, 1, 8), (0, 1, 8, 10, 14), tuple(range(16))),
    'EVT21_LEGACY': ((0, 1, 8), (0, 1, 8, 10, 14), tuple(range(16))),
}


@st.composite
def streams(draw: st.DrawFn, form: Form) -> bytes:
    """Words with random payloads, whose codes are likely enough to mean something."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 400))
    codes = rng.choice(draw(st.sampled_from(CODES[form.name])), count).astype(np.uint64)
    words = rng.integers(0, 2**64, count, dtype=np.uint64)
    if draw(st.booleans()):
        # Times that hardly change, as in real streams.
        is_time = codes == (0 if form.name == 'LIBCAER_CMP' else 8)
        words = np.where(is_time, (words & np.uint64(15)) << np.uint64(
            32 if form.name == 'EVT21' else 0), words)
    top = np.uint64(28 if form.name == 'EVT21_LEGACY' else 8 * form.word_size - 4)
    words = words & ~(np.uint64(15) << top) | codes << top
    return words.astype(f'<u{form.word_size}').tobytes()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def assert_twins_agree(form: Form, data: bytes, width: int, height: int) -> None:
    fast, slow = new_registers(width, height), new_registers(width, height)
    size = len(data) // 2 // form.word_size * form.word_size
    for part in (memoryview(data)[:size], memoryview(data)[size:]):
        for given_out, expected in zip(decode_words(form, part, fast),
                                       decode_words_numpy(form, part, slow), strict=True):
            np.testing.assert_array_equal(given_out, expected)
        assert fast.tolist() == slow.tolist()


@needs_native
@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
@given(data=st.data(), width=st.sampled_from([1, 640, 2048]), height=st.sampled_from([3, 480]))
def test_the_compiled_decoder_equals_its_numpy_twin(
    form: Form, data: st.DataObject, width: int, height: int,
) -> None:
    assert_twins_agree(form, data.draw(streams(form)), width, height)


@needs_native
@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
@given(data=st.binary(max_size=600))
def test_they_are_equal_on_arbitrary_bytes(form: Form, data: bytes) -> None:
    assert_twins_agree(form, data[:len(data) // form.word_size * form.word_size], 640, 480)


@needs_native
@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_they_are_equal_on_long_streams(form: Form) -> None:
    words = np.random.default_rng(0).integers(0, 2**16, 3 * CHUNK * 4, dtype=np.uint16)
    assert_twins_agree(form, words.tobytes(), 2048, 2048)


@pytest.mark.parametrize('encoding', DECODERS)
@given(packets=st.lists(st.tuples(
    st.binary(max_size=200), st.integers(0, 2**64 - 1), st.sampled_from(['', 'gap', 'reset'])),
    max_size=6))
def test_arbitrary_packets_are_survived(
    encoding: str, packets: list[tuple[bytes, int, str]],
) -> None:
    decoder = create_decoder(encoding, 640, 480)
    total = 0
    for data, time_base, happening in packets:
        events = decoder.decode(data, time_base)
        assert (events['x'] < 640).all() and (events['y'] < 480).all()
        assert np.isin(events['p'], (0, 1)).all()
        total += len(events)
        if happening == 'gap':
            decoder.note_gap()
        elif happening == 'reset':
            decoder.reset()
    counters = decoder.counters
    assert counters.events == total
    assert counters.packets == len(packets)
    assert min(vars(counters).values()) >= 0
    read = counters.words * decoder.word_size + counters.lost_bytes
    assert read <= sum(len(data) for data, _, _ in packets) < read + decoder.word_size


@pytest.mark.parametrize('encoding', ['evt3', 'evt2', 'evt21', 'evt21_legacy'])
@given(data=st.data(), cuts=st.lists(st.integers(0, 10_000), max_size=5))
def test_a_stream_may_be_cut_anywhere(
    encoding: str, data: st.DataObject, cuts: list[int],
) -> None:
    stream = data.draw(streams(FORMS[encoding.upper()]))
    whole, parts = (create_decoder(encoding, 640, 480) for _ in range(2))
    expected = whole.decode(stream)
    given_out = [parts.decode(part) for part in cut(stream, cuts)]
    np.testing.assert_array_equal(np.concatenate(given_out), expected)
    assert vars(parts.counters) | {'packets': 1} == vars(whole.counters)


@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_a_dat_stream_may_be_cut_anywhere(stream: bytes, cuts: list[int]) -> None:
    whole, parts = (create_decoder('dat', 9000, 9000) for _ in range(2))
    expected = whole.decode(stream)
    given_out = [parts.decode(part) for part in cut(stream, cuts)]
    np.testing.assert_array_equal(np.concatenate(given_out), expected)


@needs_native
def test_the_c_module_refuses_what_would_make_it_read_or_write_elsewhere() -> None:
    from snn_detector_ros import _events

    registers = new_registers(640, 480)
    for kind, data, memory in (
        (_events.EVT3, b'abc', registers), (99, b'', registers), (-1, b'', registers),
        (_events.EVT2, b'', np.zeros(2)),
    ):
        with pytest.raises(ValueError, match='whole words'):
            _events.decode(kind, data, memory)
    with pytest.raises(TypeError):
        _events.decode(_events.EVT2, b'', b'constant')
