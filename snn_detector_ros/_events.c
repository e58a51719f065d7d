/* SPDX-License-Identifier: Apache-2.0
 *
 * The loops over the words of event cameras. Optional: snn_detector_ros/events/ holds a numpy twin
 * of each decoder, and a test holds the twins equal, registers and counters included.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if !defined(__GNUC__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read as they lie in memory: a little-endian machine is needed, or numpy"
#endif

#define INLINE __attribute__((always_inline)) static inline
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define RARELY(condition) __builtin_expect(!!(condition), 0)

/* As EVENT, TRIGGER and REGISTERS in events/types.py. */
typedef struct { uint16_t x, y; int8_t p; int64_t t; } event_t;
typedef struct { uint8_t id; int8_t p; int64_t t; } trigger_t;
typedef struct {
    int64_t width, height;
    int64_t origin, high, low, high_known, time_known; /* us; high and low as the words hold them */
    int64_t row, base, polarity;                       /* row and base are -1 while unknown */
    int64_t unknown_words, out_of_range, cold_start;
} registers_t;

/* A packet may start at any byte of a message. */
typedef uint16_t word16_t __attribute__((aligned(1), may_alias));
typedef uint32_t word32_t __attribute__((aligned(1), may_alias));

typedef struct { event_t *events; trigger_t *triggers; size_t n_events, n_triggers; } output_t;

INLINE void put_event(event_t *event, uint32_t x, uint32_t y, uint32_t p, int64_t t)
{
    const uint64_t packed = x | (uint64_t)y << 16 | (uint64_t)p << 32;
    memcpy(event, &packed, sizeof packed);
    event->t = t;
}

INLINE void put_trigger(output_t *out, uint32_t id, uint32_t p, int64_t t)
{
    out->triggers[out->n_triggers++] = (trigger_t){(uint8_t)id, (int8_t)p, t};
}

/* Set bits; cheap without the popcnt instruction, and the compiler can do it for many words. */
INLINE uint32_t ones(uint32_t v)
{
    v -= v >> 1 & 0x55555555;
    v = (v & 0x33333333) + (v >> 2 & 0x33333333);
    return ((v + (v >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

INLINE uint16_t ones16(uint16_t v)
{
    v = (uint16_t)(v - (v >> 1 & 0x5555));
    v = (uint16_t)((v & 0x3333) + (v >> 2 & 0x3333));
    v = (uint16_t)((v + (v >> 4)) & 0x0f0f);
    return (uint16_t)((v + (v >> 8)) & 0x1f);
}

/* ---- Words of 16 bits that set one register each: EVT3, libcaer_cmp ---- */

/* Codes (bits 15..12) of a dialect; -1 where it has no such word. "Row" is the coordinate that is
 * set by a word of its own, "column" the one that comes with each event. */
typedef struct {
    int row, column, base, vector12, vector8, time_low, time_high, trigger;
    uint32_t ignored; /* bit c: code c is known and holds nothing for us */
    int columns_are_y, wraps;
} dialect_t;

static const dialect_t EVT3 = {
    .row = 0, .column = 2, .base = 3, .vector12 = 4, .vector8 = 5, .time_low = 6, .time_high = 8,
    .trigger = 10, .ignored = 1u << 7 | 1u << 14 | 1u << 15, .columns_are_y = 0, .wraps = 1};
static const dialect_t LIBCAER_CMP = {
    .row = 2, .column = 3, .base = 4, .vector12 = -1, .vector8 = 5, .time_low = 1, .time_high = 0,
    .trigger = -1, .ignored = 0, .columns_are_y = 1, .wraps = 0};

/* A smaller step back of the high time is jitter, not a wrap. */
#define MOST_JITTER 10

INLINE void count_address_words(const word16_t *words, size_t n, const dialect_t d, output_t *out)
{
    while (n) {
        size_t block = n < 2048 ? n : 2048; /* 12 events a word fit 16 bits */
        uint16_t events = 0, triggers = 0;
        for (size_t i = 0; i < block; i++) {
            const uint16_t code = words[i] >> 12;
            const uint16_t bits = (uint16_t)((code == d.vector12 ? words[i] & 0xfff : 0)
                                             | (code == d.vector8 ? words[i] & 0xff : 0));
            events = (uint16_t)(events + ones16(bits) + (code == d.column));
            triggers = (uint16_t)(triggers + (code == d.trigger));
        }
        out->n_events += events;
        out->n_triggers += triggers;
        words += block;
        n -= block;
    }
}

INLINE event_t *put_address(event_t *event, uint32_t column, uint32_t row, uint32_t p, int64_t t,
                            const dialect_t d)
{
    put_event(event, d.columns_are_y ? row : column, d.columns_are_y ? column : row, p, t);
    return event + 1;
}

INLINE int vector_size(uint32_t word, const dialect_t d)
{
    const int code = (int)(word >> 12);
    return code == d.vector12 ? 12 : code == d.vector8 ? 8 : 0;
}

/* The events of the vectors that n words begin with, as many as fit 32 bits, so that the branch at
 * the end of their bits is mispredicted once. Returns the words that were used. */
INLINE size_t address_vectors(const word16_t *words, size_t n, registers_t *r, output_t *out,
                              const dialect_t d)
{
    const int64_t columns = d.columns_are_y ? r->height : r->width;
    const int64_t rows = d.columns_are_y ? r->width : r->height;
    const int64_t t = r->origin + (r->high << 12) + r->low;
    uint32_t bits = 0;
    int covered = 0, size;
    size_t used = 0;
    for (; used < n && (size = vector_size(words[used], d)) && covered + size <= 32; used++) {
        bits |= (words[used] & ((1u << size) - 1)) << covered;
        covered += size;
    }
    if (!r->time_known || r->row < 0 || r->base < 0) {
        r->cold_start += ones(bits);
    } else {
        const int64_t room = r->row < rows ? columns - r->base : 0;
        const uint32_t inside = bits & (room >= 32 ? UINT32_MAX : room > 0 ? (1u << room) - 1 : 0);
        if (inside != bits)
            r->out_of_range += ones(bits ^ inside);
        event_t *event = out->events + out->n_events;
        for (bits = inside; bits; bits &= bits - 1)
            event = put_address(event, (uint32_t)r->base + (uint32_t)__builtin_ctz(bits),
                                (uint32_t)r->row, (uint32_t)r->polarity, t, d);
        out->n_events = (size_t)(event - out->events);
    }
    if (r->base >= 0)
        r->base += covered;
    return used;
}

/* Any word but a vector. */
INLINE void address_word(uint32_t word, registers_t *r, output_t *out, const dialect_t d)
{
    const uint32_t payload = word & 0xfff;
    const int code = (int)(word >> 12);
    if (code == d.row) {
        r->row = word & 0x7ff;
    } else if (code == d.column) {
        const int64_t column = word & 0x7ff;
        if (!r->time_known || r->row < 0) {
            r->cold_start++;
        } else if (column < (d.columns_are_y ? r->height : r->width)
                   && r->row < (d.columns_are_y ? r->width : r->height)) {
            put_address(out->events + out->n_events++, (uint32_t)column, (uint32_t)r->row,
                        payload >> 11, r->origin + (r->high << 12) + r->low, d);
        } else {
            r->out_of_range++;
        }
    } else if (code == d.base) {
        r->base = word & 0x7ff;
        r->polarity = payload >> 11;
    } else if (code == d.time_low) {
        r->low = payload;
        r->time_known |= r->high_known;
    } else if (code == d.time_high) {
        if (d.wraps && r->high - (int64_t)payload > MOST_JITTER)
            r->origin += 1 << 24;
        r->high = payload;
        r->high_known = 1;
    } else if (code == d.trigger) {
        if (r->time_known)
            put_trigger(out, payload >> 8, payload & 1, r->origin + (r->high << 12) + r->low);
        else
            r->cold_start++;
    } else {
        r->unknown_words += !(d.ignored >> code & 1);
    }
}

#ifdef __SSE2__

#define BLOCK 56 /* and 8 words before it that hold the registers: 64, the bits of a mask */

/* Bit i: word i has this code. */
INLINE uint64_t lanes(const __m128i codes[8], int code)
{
    const __m128i wanted = _mm_set1_epi16((short)code);
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++) {
        const __m128i low = _mm_cmpeq_epi16(codes[2 * i], wanted);
        const __m128i high = _mm_cmpeq_epi16(codes[2 * i + 1], wanted);
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << 16 * i;
    }
    return mask;
}

/* The payload of the last of these words before bit i; there is one. */
INLINE uint32_t last_before(const uint16_t *words, uint64_t mask, int i)
{
    return words[63 - __builtin_clzll(mask & (((uint64_t)1 << i) - 1))] & 0xfff;
}

/* Decode BLOCK words by masks, event by event rather than word by word: in a stream of single
 * events, the codes of words are random, and each would cost a mispredicted branch. Vectors,
 * unknown words and wraps are left to the functions above: then nothing is done, and 0 returned. */
INLINE int address_block(const word16_t *block, registers_t *r, output_t *out, const dialect_t d)
{
    uint16_t words[64];
    __m128i codes[8];
    if (!r->time_known || r->row < 0)
        return 0;
    for (int i = 0; i < 8; i++)
        words[i] = (uint16_t)(d.row << 12 | r->row);
    words[6] = (uint16_t)(d.time_low << 12 | r->low);
    words[7] = (uint16_t)(d.time_high << 12 | r->high);
    memcpy(words + 8, block, 2 * BLOCK);
    for (int i = 0; i < 8; i++)
        codes[i] = _mm_srli_epi16(_mm_loadu_si128((const __m128i *)(const void *)words + i), 12);
    const uint64_t rows = lanes(codes, d.row), events = lanes(codes, d.column);
    const uint64_t lows = lanes(codes, d.time_low), highs = lanes(codes, d.time_high);
    const uint64_t triggers = d.trigger < 0 ? 0 : lanes(codes, d.trigger);
    for (uint64_t rest = ~(rows | events | lows | highs | triggers); rest; rest &= rest - 1)
        if (!(d.ignored >> (words[__builtin_ctzll(rest)] >> 12) & 1))
            return 0;
    for (uint64_t rest = highs & ~(uint64_t)0xff; d.wraps && rest; rest &= rest - 1) {
        const int i = __builtin_ctzll(rest);
        if (RARELY((words[i] & 0xfffu) + MOST_JITTER < last_before(words, highs, i)))
            return 0;
    }
    const uint32_t n_columns = (uint32_t)(d.columns_are_y ? r->height : r->width);
    const uint32_t n_rows = (uint32_t)(d.columns_are_y ? r->width : r->height);
    const int64_t origin = r->origin;
    event_t *event = out->events + out->n_events;
    for (uint64_t rest = events; rest; rest &= rest - 1, r->out_of_range++) {
        const int i = __builtin_ctzll(rest);
        const uint32_t column = words[i] & 0x7ff, row = last_before(words, rows, i) & 0x7ff;
        const uint32_t high = last_before(words, highs, i), low = last_before(words, lows, i);
        put_address(event, column, row, words[i] >> 11 & 1, origin + (high << 12) + low, d);
        /* Differences of small numbers: bit 31 is set where the first is the smaller one. */
        event += ((column - n_columns) & (row - n_rows)) >> 31;
    }
    r->out_of_range -= event - (out->events + out->n_events);
    out->n_events = (size_t)(event - out->events);
    for (uint64_t rest = triggers; rest; rest &= rest - 1) {
        const int i = __builtin_ctzll(rest);
        const uint32_t word = words[i];
        put_trigger(out, word >> 8 & 15, word & 1,
                    origin + (last_before(words, highs, i) << 12) + last_before(words, lows, i));
    }
    r->row = words[63 - __builtin_clzll(rows)] & 0x7ff;
    r->low = words[63 - __builtin_clzll(lows)] & 0xfff;
    r->high = words[63 - __builtin_clzll(highs)] & 0xfff;
    return 1;
}
#else
#define BLOCK 1
#define address_block(block, r, out, d) 0
#endif

INLINE void address_words(const word16_t *words, size_t n, const dialect_t d,
                          registers_t *registers, output_t *out)
{
    registers_t r = *registers;
    output_t o = {out->events, out->triggers, 0, 0};
    while (n) {
        size_t block = BLOCK;
        if (n < BLOCK || !address_block(words, &r, &o, d)) {
            /* A stream with vectors has more of them. */
            block = n < 8 * BLOCK ? n : 8 * BLOCK;
            for (size_t i = 0; i < block;) {
                if (vector_size(words[i], d))
                    i += address_vectors(words + i, block - i, &r, &o, d);
                else
                    address_word(words[i++], &r, &o, d);
            }
        }
        words += block;
        n -= block;
    }
    *registers = r;
    *out = o;
}

/* ---- Words that hold a whole event: EVT2 and EVT2.1, which adds a mask of 32 columns ---- */

enum { OFF = 0, ON = 1, TIME_HIGH = 8, EXT_TRIGGER = 10, IMU = 13, OTHER = 14, CONTINUED = 15 };

typedef enum { EVT2, EVT21, EVT21_LEGACY } evt2_t;

/* The half that EVT2.1 has in common with EVT2. */
INLINE uint32_t evt2_word(const word32_t *words, size_t i, evt2_t kind)
{
    return kind == EVT2 ? words[i] : words[2 * i + (kind == EVT21)];
}

INLINE uint32_t evt2_mask(const word32_t *words, size_t i, evt2_t kind)
{
    return kind == EVT2 ? 1 : words[2 * i + (kind != EVT21)];
}

INLINE void count_event_words(const word32_t *words, size_t n, evt2_t kind, output_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t code = evt2_word(words, i, kind) >> 28;
        out->n_events += code <= ON ? ones(evt2_mask(words, i, kind)) : 0;
        out->n_triggers += code == EXT_TRIGGER;
    }
}

INLINE void event_words(const word32_t *words, size_t n, evt2_t kind, registers_t *registers,
                        output_t *out)
{
    registers_t r = *registers;
    const uint32_t width = (uint32_t)r.width, height = (uint32_t)r.height;
    int64_t high = r.origin + (r.high << 6);
    event_t *event = out->events;
    out->n_triggers = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t word = evt2_word(words, i, kind), code = word >> 28;
        const int64_t t = high + (word >> 22 & 63);
        if (LIKELY(code <= ON)) {
            const uint32_t x = word >> 11 & 0x7ff, y = word & 0x7ff;
            uint32_t bits = evt2_mask(words, i, kind);
            const uint32_t room = y < height && x < width ? width - x : 0;
            const uint32_t inside = room >= 32 ? bits : bits & ((1u << room) - 1);
            if (RARELY(!r.high_known || inside != bits)) {
                if (r.high_known) {
                    r.out_of_range += ones(bits ^ inside);
                    bits = inside;
                } else {
                    r.cold_start += ones(bits);
                    bits = 0;
                }
            }
            if (kind == EVT2) {
                put_event(event, x, y, code, t);
                event += bits;
            } else
                for (; bits; bits &= bits - 1)
                    put_event(event++, x + (uint32_t)__builtin_ctz(bits), y, code, t);
        } else if (code == TIME_HIGH) {
            const int64_t before = r.high;
            r.high = word & 0xfffffff;
            r.high_known = 1;
            if (before - r.high > 1 << 27)
                r.origin += (int64_t)1 << 34;
            high = r.origin + (r.high << 6);
        } else if (code == EXT_TRIGGER) {
            if (r.high_known)
                put_trigger(out, word >> 8 & 31, word & 1, t);
            else
                r.cold_start++;
        } else {
            r.unknown_words += code != OTHER && code != CONTINUED && code != IMU;
        }
    }
    out->n_events = (size_t)(event - out->events);
    *registers = r;
}

/* ---- Python ---- */

/* One function each, for the compiler to keep the registers of one kind in those of the machine. */
#define KIND(name, word, count_words, decode_words, form)                                        \
    static void count_##name(const void *words, size_t n, output_t *out)                         \
    {                                                                                            \
        count_words((const word *)words, n, form, out);                                          \
    }                                                                                            \
    static void decode_##name(const void *words, size_t n, registers_t *r, output_t *out)        \
    {                                                                                            \
        decode_words((const word *)words, n, form, r, out);                                      \
    }

KIND(evt3, word16_t, count_address_words, address_words, EVT3)
KIND(libcaer_cmp, word16_t, count_address_words, address_words, LIBCAER_CMP)
KIND(evt2, word32_t, count_event_words, event_words, EVT2)
KIND(evt21, word32_t, count_event_words, event_words, EVT21)
KIND(evt21_legacy, word32_t, count_event_words, event_words, EVT21_LEGACY)

enum { WORDS_EVT3, WORDS_LIBCAER_CMP, WORDS_EVT2, WORDS_EVT21, WORDS_EVT21_LEGACY, KINDS };
static const struct {
    Py_ssize_t word_size;
    void (*count)(const void *, size_t, output_t *);
    void (*decode)(const void *, size_t, registers_t *, output_t *);
} FORMS[KINDS] = {
    {2, count_evt3, decode_evt3},
    {2, count_libcaer_cmp, decode_libcaer_cmp},
    {4, count_evt2, decode_evt2},
    {8, count_evt21, decode_evt21},
    {8, count_evt21_legacy, decode_evt21_legacy},
};

static PyObject *decode(PyObject *self, PyObject *args)
{
    int kind;
    Py_buffer data, registers;
    PyObject *events = NULL, *triggers = NULL, *result = NULL;
    output_t out = {NULL, NULL, 0, 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "iy*w*", &kind, &data, &registers))
        return NULL;
    if (kind < 0 || kind >= KINDS || data.len % FORMS[kind].word_size
        || registers.len != (Py_ssize_t)sizeof(registers_t)) {
        PyErr_SetString(PyExc_ValueError, "data must be whole words, registers one REGISTERS");
        goto done;
    }
    const size_t n = (size_t)(data.len / FORMS[kind].word_size);
    Py_BEGIN_ALLOW_THREADS
    FORMS[kind].count(data.buf, n, &out);
    Py_END_ALLOW_THREADS
    events = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(out.n_events * sizeof(event_t)));
    triggers = PyByteArray_FromStringAndSize(
        NULL, (Py_ssize_t)(out.n_triggers * sizeof(trigger_t)));
    if (!events || !triggers)
        goto done;
    out.events = (event_t *)PyByteArray_AS_STRING(events);
    out.triggers = (trigger_t *)PyByteArray_AS_STRING(triggers);
    Py_BEGIN_ALLOW_THREADS
    FORMS[kind].decode(data.buf, n, registers.buf, &out);
    Py_END_ALLOW_THREADS
    if (!PyByteArray_Resize(events, (Py_ssize_t)(out.n_events * sizeof(event_t)))
        && !PyByteArray_Resize(triggers, (Py_ssize_t)(out.n_triggers * sizeof(trigger_t))))
        result = PyTuple_Pack(2, events, triggers);
done:
    Py_XDECREF(events);
    Py_XDECREF(triggers);
    PyBuffer_Release(&data);
    PyBuffer_Release(&registers);
    return result;
}

static PyMethodDef methods[] = {
    {"decode", decode, METH_VARARGS,
     "decode(kind, words, registers) -> (events, triggers): bytearrays of EVENT and TRIGGER."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_events", "Fast twins of the decoders in events/.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__events(void)
{
    PyObject *self = PyModule_Create(&module);
    if (self
        && (PyModule_AddIntConstant(self, "EVT3", WORDS_EVT3)
            || PyModule_AddIntConstant(self, "LIBCAER_CMP", WORDS_LIBCAER_CMP)
            || PyModule_AddIntConstant(self, "EVT2", WORDS_EVT2)
            || PyModule_AddIntConstant(self, "EVT21", WORDS_EVT21)
            || PyModule_AddIntConstant(self, "EVT21_LEGACY", WORDS_EVT21_LEGACY)))
        Py_CLEAR(self);
    return self;
}
