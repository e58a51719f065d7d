// SPDX-License-Identifier: Apache-2.0
//
// One kernel of KERNELS, the path of a file in CUDA C++: ENTRY is its name.

#include <utility>

#include "cuda_emulation.h"

// Constants of the kernel that are no sizes: names are defined as elements of this.
static const int *switches;

#include KERNELS

static void **arguments;

template <typename... Types, size_t... Indices>
static void call(void (*function)(Types...), std::index_sequence<Indices...>)
{
    function(*(Types *)arguments[Indices]...);
}

template <typename... Types> static void call(void (*function)(Types...))
{
    call(function, std::index_sequence_for<Types...>());
}

// The values are as cuLaunchKernel takes them: the address of each argument, in order.
extern "C" const char *launch(
    int width, int height, int backwards, int late, const int *constants, void **values)
{
    switches = constants;
    arguments = values;
    threads_are_backwards = backwards;
    copies_are_late = late;
    return run_grid(width, height, [] { call(ENTRY); });
}
