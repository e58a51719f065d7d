# SPDX-License-Identifier: Apache-2.0
"""``snn-detector build``: compile the GPU kernels of a model for a robot that has no compiler."""

from __future__ import annotations

import argparse
from pathlib import Path

from snn_detector_ros.engines.gpu.engine import WITH_TAILS
from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel, KernelFile
from snn_detector_ros.engines.gpu.kernel_store import (
    compile_kernels,
    kernel_path,
    source_hash,
)
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.engines.gpu.planner import make_plan
from snn_detector_ros.engines.gpu.usable import MIN_ARCH, why_unfit
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.engines.select import GPU_ENGINES
from snn_detector_ros.engines.triton.disassembly import Resources, read_resources
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import load_converted
from snn_detector_ros.network.validation import check_shapes, require_separated
from snn_detector_ros.resources import DEFAULT_MODEL, resource

#: Widths of the columns of the table.
_ROW = '{:<12}{:>7}{:>7}{:>7}{:>11}{:>8}{:>8}{:>7}   {}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('model', type=Path, nargs='?', help='model file; default: the shipped one')
    parser.add_argument(
        '--arch', type=int, required=True, metavar='CC',
        help='compute capability without the dot: 80 A100, 86 RTX 30, 87 Orin, 89 RTX 40, 90 H100')
    parser.add_argument(
        '--kernels', choices=GPU_ENGINES, default=GPU_ENGINES[0],
        help='engine to build for: Triton, or CUDA C++ (needs nvcc); default: %(default)s')
    parser.add_argument(
        '--input-size', type=int, nargs=2, action='append', metavar=('HEIGHT', 'WIDTH'),
        help='of the network in px; may be repeated; default: as in the file')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='FILE',
        help='default: beside the model, where the engine looks for it')


def run(args: argparse.Namespace) -> int:
    """
    Compile.

    :param args: options of ``add_arguments``.
    :returns: exit status; 1 if a kernel spills registers.
    :raises ConfigurationError: if these kernels cannot run the model, or not on such a GPU.
    :raises MissingDependencyError: if Triton is not installed.
    :raises EngineError: if a kernel cannot be compiled.
    """
    if args.arch < MIN_ARCH[args.kernels]:
        raise ConfigurationError(
            f'--arch {args.arch}: the {args.kernels} kernels need {MIN_ARCH[args.kernels]} or more')
    model = args.model or resource(DEFAULT_MODEL)
    network = load_converted(model)
    require_separated(network, args.kernels)
    problem = why_unfit(network)
    if problem is not None:
        raise ConfigurationError(f'{model}: {problem}')
    sizes = [(height, width) for height, width in args.input_size or [network.input_size]]
    specs = needed_kernels(network, sizes, tails=args.kernels == WITH_TAILS)
    print(f'{len(specs)} kernels of {model.name} for compute capability {args.arch / 10}')
    print(_ROW.format('kernel', 'pixels', 'chann.', 'depth', 'registers', 'shared', 'spills',
                      'mma', 'options'))
    compiled: dict[str, CompiledKernel] = {}
    spilled = False
    for spec in specs:
        compiled |= compile_kernels([spec], args.kernels, args.arch)
        resources = read_resources(compiled[spec.name].cubin)
        spilled |= resources.spills
        print(_row(spec, compiled[spec.name], resources), flush=True)
    path = args.output or kernel_path(model, args.kernels, args.arch)
    KernelFile(args.kernels, args.arch, source_hash(args.kernels), compiled).save(path)
    print(f'{path}: {path.stat().st_size / 1024:.0f} KiB')
    return int(spilled)


def needed_kernels(
    network: SpikingNetwork, sizes: list[tuple[int, int]], *, tails: bool,
) -> tuple[KernelSpec, ...]:
    """
    Return all kernels that an engine may ask for: with and without statistics, and for ``levels``.

    :param sizes: (height, width) of the network's input in px.
    :param tails: whether the kernels can let a convolution follow another.
    :raises NetworkError: if the network does not fit a size.
    """
    specs: dict[KernelSpec, None] = {}
    for size in sizes:
        check_shapes(network, size)
        for statistics, fuse in ((True, True), (False, True), (True, False)):
            plan = make_plan(network, size, Fit(size, size), statistics=statistics, fuse=fuse,
                             tails=tails)
            specs |= dict.fromkeys(plan.specs)
    return tuple(specs)


def _row(spec: KernelSpec, kernel: CompiledKernel, resources: Resources) -> str:
    constants = dict(spec.constants)
    options = [name.lower() for name, value in constants.items() if value is True]
    return _ROW.format(
        spec.kernel, *(constants.get(f'BLOCK_{axis}', '') for axis in 'MNK'),
        resources.registers, kernel.shared_bytes + resources.shared_bytes,
        'yes' if resources.spills else 'no', resources.integer_mma or '', ' '.join(options))
