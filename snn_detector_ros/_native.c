/* SPDX-License-Identifier: Apache-2.0
 *
 * The two loops around a network that numpy is too slow for: rearranging the picture, and counting
 * the spikes of a frame. Optional: snn_detector_ros/native.py holds a numpy twin of each, and a
 * test holds the twins equal.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAVE_X86 1
#endif

#define MAX_STEPS 4096
#define MAX_VBMI_STEPS 6 /* three registers each, of 32, where levels from 127 on fire alike */

/* Sum over all levels of table[level], for `steps` tables of 256 entries each, by a histogram.
 * Four histograms in turn, because equal neighbours (zeros, mostly) would wait for each other. */
static void count_histogram(const uint8_t *levels, size_t n, const uint8_t *tables, int steps,
                            int64_t *out)
{
    static const size_t chunk = (size_t)1 << 30; /* keeps the 32 bit bins from overflowing */
    uint64_t histogram[256] = {0};
    while (n) {
        uint32_t part[4][256] = {{0}};
        size_t m = n < chunk ? n : chunk, i = 0;
        for (; i + 4 <= m; i += 4) {
            part[0][levels[i]]++;
            part[1][levels[i + 1]]++;
            part[2][levels[i + 2]]++;
            part[3][levels[i + 3]]++;
        }
        for (; i < m; i++)
            part[0][levels[i]]++;
        for (int level = 0; level < 256; level++)
            histogram[level] += (uint64_t)part[0][level] + part[1][level] + part[2][level]
                                + part[3][level];
        levels += m;
        n -= m;
    }
    for (int step = 0; step < steps; step++) {
        int64_t sum = 0;
        for (int level = 0; level < 256; level++)
            sum += (int64_t)histogram[level] * tables[256 * step + level];
        out[step] = sum;
    }
}

#ifdef HAVE_X86
#define VBMI __attribute__((target("avx512f,avx512bw,avx512vbmi")))

/* 64 table look-ups in two or three instructions. Index bit 6 chooses between two vectors, and with
 * a `full` table of 256 entries bit 7 between two such pairs. */
VBMI __attribute__((always_inline)) static inline __m512i
look_up(const __m512i *table, __m512i index, const int full)
{
    __m512i spikes = _mm512_permutex2var_epi8(table[0], index, table[1]);
    if (full)
        spikes = _mm512_mask_mov_epi8(spikes, _mm512_movepi8_mask(index),
                                      _mm512_permutex2var_epi8(table[2], index, table[3]));
    return spikes;
}

/* The same by look-ups; tables that are not `full` need all levels from 127 on to fire alike.
 * Spikes are summed as bytes for as long as these cannot overflow. Inlined with a constant number
 * of steps, so that tables and sums stay in registers: then this is as fast as reading the levels,
 * and with full tables half as fast. */
VBMI __attribute__((always_inline)) static inline void
count_steps(const uint8_t *levels, size_t n, const uint8_t *tables, const int steps, size_t run,
            const int full, int64_t *out)
{
    const __m512i zero = _mm512_setzero_si512(), top = _mm512_set1_epi8(full ? -1 : 127);
    __m512i table[MAX_VBMI_STEPS][4], part[MAX_VBMI_STEPS], sum[MAX_VBMI_STEPS];
    for (int step = 0; step < steps; step++) {
        for (int i = 0; i < (full ? 4 : 2); i++)
            table[step][i] = _mm512_loadu_si512(tables + 256 * step + 64 * i);
        sum[step] = zero;
    }
    while (n) {
        size_t blocks = n / 64 < run ? n / 64 : run;
        for (int step = 0; step < steps; step++)
            part[step] = zero;
        for (const uint8_t *end = levels + 64 * blocks; levels < end; levels += 64) {
            __m512i index = _mm512_min_epu8(_mm512_loadu_si512(levels), top);
            for (int step = 0; step < steps; step++)
                part[step] = _mm512_add_epi8(part[step], look_up(table[step], index, full));
        }
        n -= 64 * blocks;
        if (!blocks) {
            const __mmask64 rest = ((__mmask64)1 << n) - 1;
            __m512i index = _mm512_min_epu8(_mm512_maskz_loadu_epi8(rest, levels), top);
            for (int step = 0; step < steps; step++)
                part[step] = _mm512_maskz_mov_epi8(rest, look_up(table[step], index, full));
            n = 0;
        }
        for (int step = 0; step < steps; step++)
            sum[step] = _mm512_add_epi64(sum[step], _mm512_sad_epu8(part[step], zero));
    }
    for (int step = 0; step < steps; step++)
        out[step] = _mm512_reduce_add_epi64(sum[step]);
}

VBMI static void count_vbmi(const uint8_t *levels, size_t n, const uint8_t *tables, int steps,
                            size_t run, int full, int64_t *out)
{
    switch (2 * steps + full) {
    case 2: count_steps(levels, n, tables, 1, run, 0, out); break;
    case 3: count_steps(levels, n, tables, 1, run, 1, out); break;
    case 4: count_steps(levels, n, tables, 2, run, 0, out); break;
    case 5: count_steps(levels, n, tables, 2, run, 1, out); break;
    case 6: count_steps(levels, n, tables, 3, run, 0, out); break;
    case 7: count_steps(levels, n, tables, 3, run, 1, out); break;
    case 8: count_steps(levels, n, tables, 4, run, 0, out); break;
    case 9: count_steps(levels, n, tables, 4, run, 1, out); break;
    case 10: count_steps(levels, n, tables, 5, run, 0, out); break;
    case 11: count_steps(levels, n, tables, 5, run, 1, out); break;
    case 12: count_steps(levels, n, tables, 6, run, 0, out); break;
    case 13: count_steps(levels, n, tables, 6, run, 1, out); break;
    }
}
#endif

/* Blocks of 64 levels whose spikes can be summed in a byte; 0 if this CPU cannot count_vbmi. */
static size_t vbmi_run(const uint8_t *tables, int steps)
{
#ifdef HAVE_X86
    int largest = 1;
    if (steps > MAX_VBMI_STEPS || !__builtin_cpu_supports("avx512vbmi")
        || !__builtin_cpu_supports("avx512bw"))
        return 0;
    for (int i = 0; i < 256 * steps; i++)
        largest = tables[i] > largest ? tables[i] : largest;
    return 255 / (size_t)largest;
#else
    (void)tables, (void)steps;
    return 0;
#endif
}

/* Whether levels from 127 on fire differently. */
static int is_full(const uint8_t *tables, int steps)
{
    for (int i = 0; i < 256 * steps; i++)
        if (i % 256 > 127 && tables[i] != tables[i / 256 * 256 + 127])
            return 1;
    return 0;
}

static void count(const Py_buffer *tensors, Py_ssize_t n, const uint8_t *tables, int steps,
                  int64_t *out)
{
    const size_t run = vbmi_run(tables, steps);
    const int full = is_full(tables, steps);
    for (Py_ssize_t i = 0; i < n; i++, out += steps) {
#ifdef HAVE_X86
        if (run) {
            count_vbmi(tensors[i].buf, (size_t)tensors[i].len, tables, steps, run, full, out);
            continue;
        }
#endif
        (void)run, (void)full;
        count_histogram(tensors[i].buf, (size_t)tensors[i].len, tables, steps, out);
    }
}

static PyObject *count_spikes(PyObject *self, PyObject *args)
{
    PyObject *list;
    Py_buffer tables, out, *tensors = NULL;
    Py_ssize_t n, opened = 0, steps;
    (void)self;
    if (!PyArg_ParseTuple(args, "O!y*w*", &PyList_Type, &list, &tables, &out))
        return NULL;
    n = PyList_GET_SIZE(list);
    steps = tables.len / 256;
    if (tables.len % 256 || steps < 1 || steps > MAX_STEPS
        || out.len != n * steps * (Py_ssize_t)sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "tables must be [T, 256] bytes and out [N, T] int64");
        goto done;
    }
    tensors = PyMem_Calloc((size_t)n + 1, sizeof(Py_buffer));
    if (!tensors) {
        PyErr_NoMemory();
        goto done;
    }
    for (; opened < n; opened++)
        if (PyObject_GetBuffer(PyList_GET_ITEM(list, opened), &tensors[opened], PyBUF_SIMPLE))
            goto done;
    Py_BEGIN_ALLOW_THREADS
    count(tensors, n, tables.buf, (int)steps, out.buf);
    Py_END_ALLOW_THREADS
done:
    while (opened)
        PyBuffer_Release(&tensors[--opened]);
    PyMem_Free(tensors);
    PyBuffer_Release(&tables);
    PyBuffer_Release(&out);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *space_to_depth(PyObject *self, PyObject *args)
{
    Py_buffer image, out;
    Py_ssize_t height, width, channels;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnnw*", &image, &height, &width, &channels, &out))
        return NULL;
    int fits = height > 0 && width > 0 && channels > 0 && height % 2 == 0 && width % 2 == 0
               && image.len / height / width == channels
               && image.len == height * width * channels && out.len == image.len;
    if (fits) {
        const size_t pair = 2 * (size_t)channels, row = (size_t)(width * channels);
        Py_BEGIN_ALLOW_THREADS
        const uint8_t *source = image.buf;
        uint8_t *target = out.buf;
        for (Py_ssize_t y = 0; y < height; y += 2, source += 2 * row)
            for (size_t x = 0; x < row; x += pair, target += 2 * pair) {
                memcpy(target, source + x, pair);
                memcpy(target + pair, source + row + x, pair);
            }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&image);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "image must be [H, W, C] with even H and W, out as large");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"count_spikes", count_spikes, METH_VARARGS,
     "count_spikes(tensors, tables, out): out[i, t] = sum of tables[t, level] over tensor i."},
    {"space_to_depth", space_to_depth, METH_VARARGS,
     "space_to_depth(image, height, width, channels, out): 2x2 blocks of pixels become channels."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "Fast twins of the loops in native.py.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&module);
}
