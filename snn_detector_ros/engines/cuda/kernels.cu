// SPDX-License-Identifier: Apache-2.0
//
// The kernels of engines/triton in CUDA C++, for GPUs and machines without Triton. Names,
// parameters and constants are the same and explained there, levels and counts are equal; here is
// what differs.
//
// One kernel is compiled at a time: `nvcc -DCONVOLUTION -DBLOCK_M=64 ...`, see compiler.py. A block
// of THREADS threads computes BLOCK_M pixels of BLOCK_N channels. Where levels fire, are counted
// and written, a thread has one channel and LEVELS pixels: neighbours read and write neighbouring
// bytes, whatever the alignment, and what belongs to the channel is loaded once.

#include <stdint.h>

#ifndef BLOCK_N
#define BLOCK_N 1  // the letterbox has all channels of a pixel
#endif
#define APART (THREADS / BLOCK_N)  // pixels from one of a thread to its next
#define LEVELS (BLOCK_M / APART)
// 128 registers a thread: more would leave a multiprocessor too few threads.
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS)
static_assert(THREADS % BLOCK_N == 0 && BLOCK_M % APART == 0, "threads do not cover the block");

__device__ __forceinline__ int pixel_of(int i)
{
    return blockIdx.x * BLOCK_M + threadIdx.x / BLOCK_N + i * APART;
}

__device__ __forceinline__ int channel_of_thread()
{
    return blockIdx.y * BLOCK_N + threadIdx.x % BLOCK_N;
}

// ---- What every kernel does with levels, see neurons.py. Multiplications are never fused with
// additions (--fmad=false), which would round otherwise.

__device__ __forceinline__ int rectify(int level, float slope)
{
    return level < 0 ? -(int)(slope * (float)-level + 0.5f) : level;
}

// Add the spikes of a block to the counts: in shared memory first, then once a channel and step.
__device__ __forceinline__ void count(
    const int (&level)[LEVELS], int pixels, int channels, int32_t *counts, int counts_pitch,
    int column, const int32_t *tau, int steps, int burst)
{
    __shared__ int sums[BLOCK_N];
    const int channel = channel_of_thread();
    int rest[LEVELS];
#pragma unroll
    for (int i = 0; i < LEVELS; i++)
        rest[i] = pixel_of(i) < pixels && channel < channels ? abs(level[i]) : 0;
    for (int step = 0; step < steps; step++) {
        // Half a unit above the level, no quotient of levels up to 127 is so near an integer that
        // the fast division would be too inexact.
        const int weight = tau[step];
        const float reciprocal = __fdividef(1.0f, (float)weight);
        int sum = 0;
#pragma unroll
        for (int i = 0; i < LEVELS; i++) {
            const int spikes = min((int)(((float)rest[i] + 0.5f) * reciprocal), burst);
            rest[i] -= spikes * weight;
            sum += spikes;
        }
        if (threadIdx.x < BLOCK_N)  // whose thread also was the last to read it
            sums[threadIdx.x] = 0;
        __syncthreads();
        atomicAdd(&sums[threadIdx.x % BLOCK_N], sum);
        __syncthreads();
        if (threadIdx.x < BLOCK_N && channel < channels)
            atomicAdd(&counts[step * counts_pitch + column + channel], sums[threadIdx.x]);
    }
}

// Add the levels of another train, and cut off what no neuron can send.
__device__ __forceinline__ void add(
    int (&level)[LEVELS], int pixels, int channels, const int8_t *residual, int pitch,
    int max_level)
{
    const int channel = channel_of_thread();
#pragma unroll
    for (int i = 0; i < LEVELS; i++) {
        if (pixel_of(i) < pixels && channel < channels)
            level[i] += residual[pixel_of(i) * pitch + channel];
        level[i] = max(min(level[i], max_level), -max_level);
    }
}

// Write the channels from `first` to `last`, each pixel `factor` by `factor` times.
__device__ __forceinline__ void store(
    const int (&level)[LEVELS], int pixels, int width, int8_t *out, int pitch, int factor,
    int first, int last)
{
    const int channel = channel_of_thread();
    if (channel < first || channel >= last)
        return;
#pragma unroll
    for (int i = 0; i < LEVELS; i++) {
        const int pixel = pixel_of(i);
        if (pixel >= pixels)
            break;
        const int row = factor == 1 ? 0 : pixel / width;  // most layers do without the division
        const int start = (pixel + row * width * (factor - 1)) * factor;
        for (int down = 0; down < factor; down++)
            for (int along = 0; along < factor; along++)
                out[(start + down * width * factor + along) * pitch + channel - first] = level[i];
    }
}

// ---- Instructions that C++ lacks. What is compiled without nvcc, as in the tests, brings its own.

#ifdef __CUDACC__

// Load four matrices of 8 rows of 16 bytes; thread t names row t % 8 of matrix t / 8, and gets
// bytes 4 * (t % 4) to 4 * (t % 4) + 3 of row t / 4 of each.
__device__ __forceinline__ void load_matrices(uint32_t (&matrices)[4], const int8_t *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_m16n8k32(
    int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void copy_async(int8_t *to, const int8_t *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}

__device__ __forceinline__ void commit_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int NEWER> __device__ __forceinline__ void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(NEWER) : "memory");
}
#else
__device__ __forceinline__ void mma_m8n8k16(int &d0, int &d1, uint32_t a, uint32_t b)
{
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(d0), "+r"(d1) : "r"(a), "r"(b));
}

__device__ __forceinline__ void copy_async(int8_t *to, const int8_t *from)
{
    *(int4 *)to = *(const int4 *)from;
}

__device__ __forceinline__ void commit_copies() {}

template <int NEWER> __device__ __forceinline__ void wait_for_copies() {}
#endif

#endif  // __CUDACC__

#ifdef CONVOLUTION

// ---- The matrix product, see convolution.py. A stage of shared memory holds a block of levels, a
// row a pixel, and one of weights, a row a channel; STAGES - 1 are on their way while one is used.

#define PITCH (BLOCK_K + 16)  // of a row; with it, 8 rows lie in different banks
#define STAGE_BYTES ((BLOCK_M + BLOCK_N) * PITCH)
#define CHUNKS (BLOCK_K / 16)  // what a thread copies at once, 16 bytes, of a row
#define ROUNDS(rows) (((rows) * CHUNKS + THREADS - 1) / THREADS)

// Warps share the block: two share its channels, if there are enough of both.
#define WARPS_N (THREADS >= 128 && BLOCK_N >= 32 ? 2 : 1)
#define WARP_M (BLOCK_M * WARPS_N * 32 / THREADS)
#define WARP_N (BLOCK_N / WARPS_N)
static_assert(WARP_M % 16 == 0 && WARP_N % 16 == 0 && BLOCK_K % 32 == 0, "no whole matrices");
static_assert(STAGES >= 2, "nothing would be on its way");

#define MEMBRANE_PITCH (BLOCK_N + 8)  // int32, of a pixel; with it, 4 pixels lie in other banks
#define MEMBRANE_BYTES (BLOCK_M * MEMBRANE_PITCH * 4)
#define SHARED_BYTES (STAGES * STAGE_BYTES > MEMBRANE_BYTES ? STAGES * STAGE_BYTES : MEMBRANE_BYTES)

// What a thread copies of the levels and the weights, block after block.
struct Reader {
    const int8_t *x, *weight;
    int x_pitch, height, width, blocks, taps_wide, outputs, channel_bytes;
    int y[ROUNDS(BLOCK_M)], x_[ROUNDS(BLOCK_M)];  // where the window of a pixel starts
    int block = 0, part = 0, down = 0, along = 0;  // which is next: of all, of the tap, which tap

    __device__ __forceinline__ void place_windows(
        int out_height, int out_width, int stride_y, int stride_x, int top, int left)
    {
#pragma unroll
        for (int i = 0; i < ROUNDS(BLOCK_M); i++) {
            const int pixel = blockIdx.x * BLOCK_M + (threadIdx.x + i * THREADS) / CHUNKS;
            const int row = pixel / out_width;
            y[i] = row < out_height ? row * stride_y - top : -(1 << 24);  // outside for any tap
            x_[i] = pixel % out_width * stride_x - left;
        }
    }

    __device__ __forceinline__ void copy_next(int8_t *stage)
    {
#pragma unroll
        for (int i = 0; i < ROUNDS(BLOCK_M); i++) {
            const int chunk = threadIdx.x + i * THREADS, row = y[i] + down, col = x_[i] + along;
            const bool inside = row >= 0 && row < height && col >= 0 && col < width;
            // Pixels are less 128, so that they fit int8; black cells pad.
            if (chunk < BLOCK_M * CHUNKS)
                copy(stage, chunk, PICTURE ? 0x80808080 : 0,
                     inside ? x + (row * width + col) * x_pitch + part * BLOCK_K : nullptr);
        }
#pragma unroll
        for (int i = 0; i < ROUNDS(BLOCK_N); i++) {
            const int chunk = threadIdx.x + i * THREADS;
            const int channel = blockIdx.y * BLOCK_N + chunk / CHUNKS;
            if (chunk < BLOCK_N * CHUNKS)
                copy(stage + BLOCK_M * PITCH, chunk, 0, channel < outputs
                     ? weight + channel * channel_bytes + block * BLOCK_K : nullptr);
        }
        advance();
    }

    __device__ __forceinline__ void copy(
        int8_t *rows, int chunk, uint32_t padding, const int8_t *from)
    {
        int8_t *to = rows + chunk / CHUNKS * PITCH + chunk % CHUNKS * 16;
        if (from)
            copy_async(to, from + chunk % CHUNKS * 16);
        else
            *(uint4 *)to = make_uint4(padding, padding, padding, padding);
    }

    __device__ __forceinline__ void advance()
    {
        block++;
        if (++part < blocks)
            return;
        part = 0;
        if (++along == taps_wide) {
            along = 0;
            down++;
        }
    }
};

// What a thread holds of the product, as the tensor cores lay it out: of each matrix of 16 pixels
// and 8 channels, channels 2 * (t % 4) and the next of pixel t / 4, and of the pixel 8 further.
typedef int Membranes[WARP_M / 16][WARP_N / 8][4];

__device__ __forceinline__ int warp_pixel() { return threadIdx.x / 32 / WARPS_N * WARP_M; }
__device__ __forceinline__ int warp_channel() { return threadIdx.x / 32 % WARPS_N * WARP_N; }

// Add the product of 16 pixels and 8 channels over 32 bytes.
__device__ __forceinline__ void multiply_matrices(
    int (&membrane)[4], const uint32_t (&levels)[4], uint32_t synapses, uint32_t further)
{
#if __CUDA_ARCH__ >= 800
    mma_m16n8k32(membrane, levels, synapses, further);
#else
    mma_m8n8k16(membrane[0], membrane[1], levels[0], synapses);
    mma_m8n8k16(membrane[2], membrane[3], levels[1], synapses);
    mma_m8n8k16(membrane[0], membrane[1], levels[2], further);
    mma_m8n8k16(membrane[2], membrane[3], levels[3], further);
#endif
}

__device__ __forceinline__ void multiply(const int8_t *stage, Membranes &membrane)
{
    // Halves of 16 bytes, and in each 16 rows: the same order for pixels and for channels.
    const int lane = threadIdx.x % 32, own = lane % 16 * PITCH + lane / 16 * 16;
    const int8_t *pixels = stage + warp_pixel() * PITCH + own;
    const int8_t *channels = stage + (BLOCK_M + warp_channel()) * PITCH + own;
#pragma unroll
    for (int k = 0; k < BLOCK_K; k += 32) {
        uint32_t levels[WARP_M / 16][4], synapses[WARP_N / 16][4];
#pragma unroll
        for (int m = 0; m < WARP_M / 16; m++)
            load_matrices(levels[m], pixels + m * 16 * PITCH + k);
#pragma unroll
        for (int n = 0; n < WARP_N / 16; n++)
            load_matrices(synapses[n], channels + n * 16 * PITCH + k);
#pragma unroll
        for (int m = 0; m < WARP_M / 16; m++)
#pragma unroll
            for (int n = 0; n < WARP_N / 8; n++)
                multiply_matrices(membrane[m][n], levels[m], synapses[n / 2][n % 2],
                                  synapses[n / 2][n % 2 + 2]);
    }
}

// Give each thread the membranes of its channel, through shared memory that nobody reads any more.
__device__ __forceinline__ void hand_over(
    const Membranes &membrane, int *shared, int (&mine)[LEVELS])
{
    const int lane = threadIdx.x % 32;
    int *own = shared + (warp_pixel() + lane / 4) * MEMBRANE_PITCH + warp_channel() + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < WARP_M / 16; m++)
#pragma unroll
        for (int n = 0; n < WARP_N / 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                *(int2 *)(own + (m * 16 + half * 8) * MEMBRANE_PITCH + n * 8) = make_int2(
                    membrane[m][n][2 * half], membrane[m][n][2 * half + 1]);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < LEVELS; i++)
        mine[i] = shared[(threadIdx.x / BLOCK_N + i * APART) * MEMBRANE_PITCH
                         + threadIdx.x % BLOCK_N];
}

__device__ __forceinline__ int fire(
    int membrane, int threshold, float reciprocal, int max_level, float slope)
{
    membrane = max(membrane, SIGNED ? -max_level * threshold : 0);
    membrane = min(membrane, max_level * threshold + threshold - 1);
    int level = (int)floorf((float)membrane * reciprocal);
    const int rest = membrane - level * threshold;
    level += (rest >= threshold) - (rest < 0);
    return SIGNED ? rectify(level, slope) : level;
}

KERNEL convolution(
    const int8_t *x, int x_pitch, int height, int width, const int8_t *weight,
    const int32_t *bias, const int32_t *threshold, const float *reciprocal, float slope,
    const int8_t *residual, int residual_pitch, int32_t *sums,
    int8_t *out, int out_pitch, int out_factor, int out_last,
    int8_t *other, int other_pitch, int other_factor, int other_first,
    int32_t *counts, int counts_pitch, int column, int residual_column, const int32_t *tau,
    int steps, int burst, int max_level,
    int out_height, int out_width, int outputs, int blocks, int taps, int taps_wide,
    int stride_y, int stride_x, int top, int left)
{
    __shared__ __align__(16) int8_t shared[SHARED_BYTES];
    const int total = taps * blocks, pixels = out_height * out_width;
    Reader reader = {x, weight, x_pitch, height, width, blocks, taps_wide, outputs,
                     total * BLOCK_K};
    reader.place_windows(out_height, out_width, stride_y, stride_x, top, left);
    Membranes product = {};
    for (int block = 1 - STAGES; block < total; block++) {
        if (block >= 0) {
            wait_for_copies<STAGES - 2>();
            __syncthreads();  // all copies of this block are there, all reads of the last are done
        }
        if (reader.block < total)
            reader.copy_next(shared + reader.block % STAGES * STAGE_BYTES);
        commit_copies();
        if (block >= 0)
            multiply(shared + block % STAGES * STAGE_BYTES, product);
    }
    __syncthreads();
    int level[LEVELS];  // the membranes, until they fire
    hand_over(product, (int *)shared, level);

    const int channel = channel_of_thread();
    const bool is_channel = channel < outputs;
    const int start = is_channel ? bias[channel] : 0;
#pragma unroll
    for (int i = 0; i < LEVELS; i++)
        level[i] += start;
    if (!FIRES) {
#pragma unroll
        for (int i = 0; i < LEVELS; i++)
            if (is_channel && pixel_of(i) < pixels)
                sums[pixel_of(i) * outputs + channel] = level[i];
        return;
    }
    const int own_threshold = is_channel ? threshold[channel] : 1;
    const float own_reciprocal = is_channel ? reciprocal[channel] : 1.0f;
#pragma unroll
    for (int i = 0; i < LEVELS; i++)
        level[i] = fire(level[i], own_threshold, own_reciprocal, max_level, slope);
    if (COUNTS)
        count(level, pixels, outputs, counts, counts_pitch, column, tau, steps, burst);
    if (RESIDUAL) {
        add(level, pixels, outputs, residual, residual_pitch, max_level);
        if (COUNTS)
            count(level, pixels, outputs, counts, counts_pitch, residual_column, tau, steps, burst);
    }
    store(level, pixels, out_width, out, out_pitch, out_factor, 0, min(out_last, outputs));
    if (OTHER)
        store(level, pixels, out_width, other, other_pitch, other_factor, other_first, outputs);
}

#endif  // CONVOLUTION

#ifdef RELAY

KERNEL relay(
    const int8_t *x, int x_pitch, int factor, int block_channels, float slope,
    const int8_t *residual, int residual_pitch, int8_t *out, int out_pitch, int out_factor,
    int8_t *other, int other_pitch, int other_factor,
    int32_t *counts, int counts_pitch, int column, const int32_t *tau, int steps, int burst,
    int max_level, int height, int width, int channels)
{
    const int pixels = height * width, channel = channel_of_thread();
    int level[LEVELS];
#pragma unroll
    for (int i = 0; i < LEVELS; i++) {
        level[i] = 0;
        const int pixel = pixel_of(i), row = pixel / width, col = pixel % width;
        if (pixel >= pixels || channel >= channels)
            continue;
        const int read = row / factor * (width / factor) + col / factor;
        level[i] = x[read * x_pitch + (row % factor * factor + col % factor) * block_channels
                     + channel];
    }
    if (RESIDUAL)
        add(level, pixels, channels, residual, residual_pitch, max_level);
#pragma unroll
    for (int i = 0; i < LEVELS; i++)
        level[i] = rectify(level[i], slope);
    if (COUNTS)
        count(level, pixels, channels, counts, counts_pitch, column, tau, steps, burst);
    store(level, pixels, width, out, out_pitch, out_factor, 0, channels);
    if (OTHER)
        store(level, pixels, width, other, other_pitch, other_factor, 0, channels);
}

#endif  // RELAY

#ifdef POOLING

KERNEL pooling(
    const int8_t *x, int x_pitch, int height, int width,
    int8_t *out, int out_pitch, int out_factor, int8_t *other, int other_pitch, int other_factor,
    int8_t *third, int third_pitch, int32_t *counts, int counts_pitch, int column,
    int other_column, int third_column, const int32_t *tau, int steps, int burst,
    int out_height, int out_width, int channels, int rows, int columns,
    int stride_y, int stride_x, int top, int left)
{
    const int pixels = out_height * out_width, channel = channel_of_thread();
    // Of the nested windows of a chain; the innermost reaches a third of the way to the edge.
    int first[LEVELS], second[LEVELS], best[LEVELS];
    const int reach_y = (rows - 1) / 6, reach_x = (columns - 1) / 6;
#pragma unroll
    for (int i = 0; i < LEVELS; i++) {
        first[i] = second[i] = best[i] = -128;
        const int pixel = pixel_of(i);
        if (pixel >= pixels || channel >= channels)
            continue;
        const int y = pixel / out_width * stride_y - top, x_ = pixel % out_width * stride_x - left;
        for (int down = max(0, -y); down < min(rows, height - y); down++)
            for (int along = max(0, -x_); along < min(columns, width - x_); along++) {
                const int level = x[((y + down) * width + x_ + along) * x_pitch + channel];
                best[i] = max(best[i], level);
                if (CHAIN == 1)
                    continue;
                const int off_y = abs(down - rows / 2), off_x = abs(along - columns / 2);
                if (off_y <= 2 * reach_y && off_x <= 2 * reach_x)
                    second[i] = max(second[i], level);
                if (off_y <= reach_y && off_x <= reach_x)
                    first[i] = max(first[i], level);
            }
        if (CHAIN == 1)
            first[i] = best[i];
    }
    if (COUNTS)
        count(first, pixels, channels, counts, counts_pitch, column, tau, steps, burst);
    if (COUNTS && CHAIN == 3) {
        count(second, pixels, channels, counts, counts_pitch, other_column, tau, steps, burst);
        count(best, pixels, channels, counts, counts_pitch, third_column, tau, steps, burst);
    }
    store(first, pixels, out_width, out, out_pitch, out_factor, 0, channels);
    if (CHAIN == 3) {
        store(second, pixels, out_width, other, other_pitch, other_factor, 0, channels);
        store(best, pixels, out_width, third, third_pitch, 1, 0, channels);
    } else if (OTHER) {
        store(first, pixels, out_width, other, other_pitch, other_factor, 0, channels);
    }
}

#endif  // POOLING

#ifdef LETTERBOX

// Interpolate between two pixels of a line; in units of 1 / 128.
__device__ __forceinline__ int between(int first, int second, int across)
{
    return (first * (2048 - across) + second * across) >> 4;
}

KERNEL letterbox(
    const uint8_t *source, int source_width, int source_channels, int blue, int green, int red,
    const int32_t *row_taps, const int32_t *column_taps, int fit_height, int fit_width,
    int top, int left, int padding, int8_t *x, int x_pitch, int height, int width)
{
#pragma unroll
    for (int i = 0; i < LEVELS; i++) {
        const int pixel = pixel_of(i), y = pixel / width, x_ = pixel % width;
        const int row = y - top, col = x_ - left;
        if (y >= height)
            break;
        const bool inside = row >= 0 && row < fit_height && col >= 0 && col < fit_width;
        const int block = y / 2 * (width / 2) + x_ / 2, cell = y % 2 * 2 + x_ % 2;
        int8_t *out = x + (BLOCKS ? block * x_pitch + cell * 3 : pixel * x_pitch);
        for (int channel = 0; channel < 3; channel++) {
            int value = padding;
            if (inside) {
                const uint8_t *byte = source + (channel == 0 ? blue : channel == 1 ? green : red);
                const uint8_t *up = byte + row_taps[row * 3] * source_width * source_channels;
                const uint8_t *down = byte + row_taps[row * 3 + 1] * source_width * source_channels;
                const int before = column_taps[col * 3] * source_channels;
                const int behind = column_taps[col * 3 + 1] * source_channels;
                const int along = row_taps[row * 3 + 2], across = column_taps[col * 3 + 2];
                value = (((2048 - along) * between(up[before], up[behind], across) >> 16)
                         + (along * between(down[before], down[behind], across) >> 16) + 2) >> 2;
            }
            out[channel] = (int8_t)(value - 128);
        }
    }
}

#endif  // LETTERBOX
