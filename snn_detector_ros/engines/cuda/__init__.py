# SPDX-License-Identifier: Apache-2.0
"""The kernels of the GPU engine in CUDA C++, and their compiler; needs no GPU and no driver."""
