// SPDX-License-Identifier: Apache-2.0
//
// Runs a kernel in CUDA C++ on a processor. A thread of a block is a fiber that runs until it waits
// for others. Blocks follow each other; shared memory begins as noise. Where CUDA leaves it open,
// the test chooses: in which order threads run between two barriers, and whether a copy to shared
// memory happens as early or as late as can be. A kernel that lacks a barrier or waits for too few
// copies is wrong in one of these.

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <ucontext.h>

#define __device__
#define __forceinline__
#define __global__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("shared_memory")))
// The linker names the ends of a section.
extern char __start_shared_memory[] __attribute__((visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((visibility("hidden")));
static char some_shared_memory __attribute__((section("shared_memory"), used));

struct Index { unsigned x, y; };
static Index threadIdx, blockIdx;
struct int2 { int x, y; } __attribute__((aligned(8)));
struct uint4 { unsigned x, y, z, w; } __attribute__((aligned(16)));
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}
// The GPU's quotient may be off by two units in the last place.
static inline float __fdividef(float a, float b) { return a / b * (1 + 0x1p-22f); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

// ---- Threads

enum { WARP = 32, STACK_BYTES = 64 << 10, MAX_COPIES = 64 };
enum State { RUNS, WAITS_FOR_WARP, WAITS_FOR_BLOCK, DONE };

struct Copy { int8_t *to; const int8_t *from; int group; };

struct Thread {
    ucontext_t context;
    char *stack;
    State state;
    Copy copies[MAX_COPIES];  // that have not happened yet
    int copy_count, group;
    unsigned exchanged[2][16];  // with the warp, in turn, so that the slowest can still read
    int turn;
};

static Thread threads[THREADS];
static ucontext_t scheduler;
static bool copies_are_late, threads_are_backwards;
static const char *problem;

static Thread &self() { return threads[threadIdx.x]; }

static void wait_as(State state)
{
    const Index mine = threadIdx;
    self().state = state;
    swapcontext(&threads[mine.x].context, &scheduler);
    threadIdx = mine;
}

static void __syncthreads() { wait_as(WAITS_FOR_BLOCK); }

static bool release(int first, int count, State waiting)
{
    for (int i = first; i < first + count; i++)
        if (threads[i].state != waiting)
            return false;
    for (int i = first; i < first + count; i++)
        threads[i].state = RUNS;
    return true;
}

template <typename T> static T atomicAdd(T *address, T value)
{
    const T before = *address;
    *address += value;
    return before;
}

// ---- Instructions of tensor cores, from the tables of fragments in the PTX manual

// Give the warp some numbers, and wait for those of all.
static void exchange(const unsigned *numbers, int count)
{
    Thread &thread = self();
    thread.turn ^= 1;
    memcpy(thread.exchanged[thread.turn], numbers, count * sizeof(unsigned));
    wait_as(WAITS_FOR_WARP);
}

// What thread `lane` of this warp has given.
static const unsigned *given_by(int lane)
{
    const Thread &other = threads[threadIdx.x / WARP * WARP + lane];
    return other.exchanged[self().turn];
}

static int byte_of(unsigned number, int index) { return (int8_t)(number >> 8 * index); }

static void load_matrices(uint32_t (&matrices)[4], const int8_t *row)
{
    unsigned halves[2];
    memcpy(halves, &row, sizeof(row));
    exchange(halves, 2);
    const int lane = threadIdx.x % WARP;
    for (int matrix = 0; matrix < 4; matrix++) {
        const int8_t *there;
        memcpy(&there, given_by(matrix * 8 + lane / 4), sizeof(there));
        if ((uintptr_t)there % 16)
            problem = "a row of a matrix is misaligned";
        memcpy(&matrices[matrix], there + lane % 4 * 4, 4);
    }
}

#if __CUDA_ARCH__ >= 800
static void mma_m16n8k32(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    const unsigned fragments[] = {a[0], a[1], a[2], a[3], b0, b1};
    exchange(fragments, 6);
    const int group = threadIdx.x % WARP / 4, quad = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) {
        const int row = group + 8 * (i / 2), col = quad * 2 + i % 2;
        for (int k = 0; k < 32; k++) {
            // a0: rows 0-7, k 0-15; a1: rows 8-15; a2, a3: k 16-31. b0: k 0-15; b1: k 16-31.
            const unsigned left = given_by(row % 8 * 4 + k % 16 / 4)[row / 8 + k / 16 * 2];
            const unsigned right = given_by(col * 4 + k % 16 / 4)[4 + k / 16];
            d[i] += byte_of(left, k % 4) * byte_of(right, k % 4);
        }
    }
}
#else
static void mma_m8n8k16(int &d0, int &d1, uint32_t a, uint32_t b)
{
    const unsigned fragments[] = {a, b};
    exchange(fragments, 2);
    const int row = threadIdx.x % WARP / 4, quad = threadIdx.x % 4;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 16; k++)
            (i ? d1 : d0) += byte_of(given_by(row * 4 + k / 4)[0], k % 4)
                             * byte_of(given_by((quad * 2 + i) * 4 + k / 4)[1], k % 4);
}
#endif

// ---- Asynchronous copies

static void copy_now(const Copy &copy)
{
    if ((uintptr_t)copy.to % 16 || (uintptr_t)copy.from % 16)
        problem = "a copy is misaligned";
    for (int i = 0; i < 16; i++)  // not memcpy, so that each byte is checked under a sanitizer
        copy.to[i] = copy.from[i];
}

static void copy_async(int8_t *to, const int8_t *from)
{
    Thread &thread = self();
    const Copy copy = {to, from, thread.group};
    if (!copies_are_late || __CUDA_ARCH__ < 800)
        copy_now(copy);
    else if (thread.copy_count < MAX_COPIES)
        thread.copies[thread.copy_count++] = copy;
    else
        problem = "too many copies are on their way";
}

static void commit_copies() { self().group++; }

template <int NEWER> static void wait_for_copies()
{
    Thread &thread = self();
    int left = 0;
    for (int i = 0; i < thread.copy_count; i++)
        if (thread.copies[i].group < thread.group - NEWER)
            copy_now(thread.copies[i]);
        else
            thread.copies[left++] = thread.copies[i];
    thread.copy_count = left;
}

// ---- Grids

static void (*run_kernel)();

static void run_thread()
{
    const Index mine = threadIdx;
    run_kernel();
    threads[mine.x].state = DONE;
}

__attribute__((no_sanitize("address"))) static void spoil_shared_memory()
{
    for (volatile char *byte = __start_shared_memory; byte != __stop_shared_memory; byte++)
        *byte = 0x55;
}

static void start_threads()
{
    for (Thread &thread : threads) {
        if (!thread.stack)
            thread.stack = (char *)malloc(STACK_BYTES);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
        thread.context.uc_stack.ss_size = STACK_BYTES;
        thread.context.uc_link = &scheduler;
        makecontext(&thread.context, run_thread, 0);
        thread.state = RUNS;
        thread.copy_count = thread.group = thread.turn = 0;
    }
}

static bool run_thread_of_block(int thread)
{
    threadIdx = {(unsigned)thread, 0};
    if (self().state != RUNS)
        return false;
    swapcontext(&scheduler, &self().context);
    return true;
}

// Run a warp as long as it needs no other: it may be far ahead of them, or far behind.
static bool run_warp(int first)
{
    bool any = false;
    do {
        for (int i = 0; i < WARP; i++)
            any |= run_thread_of_block(first + (threads_are_backwards ? WARP - 1 - i : i));
    } while (release(first, WARP, WAITS_FOR_WARP));
    return any;
}

static void run_block()
{
    spoil_shared_memory();
    start_threads();
    bool any = true;
    while (any && !problem) {
        any = false;
        for (int i = 0; i < THREADS; i += WARP)
            any |= run_warp(threads_are_backwards ? THREADS - WARP - i : i);
        any |= release(0, THREADS, WAITS_FOR_BLOCK);
    }
    for (const Thread &thread : threads)
        if (thread.state != DONE && !problem)
            problem = "threads wait for others that never come";
}

// Run a grid of blocks; return what is wrong, or null.
static const char *run_grid(int width, int height, void (*function)())
{
    run_kernel = function;
    problem = nullptr;
    for (unsigned y = 0; y < (unsigned)height; y++)
        for (unsigned x = 0; x < (unsigned)width && !problem; x++) {
            blockIdx = {x, y};
            run_block();
        }
    return problem;
}
