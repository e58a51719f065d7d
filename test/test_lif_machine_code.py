# SPDX-License-Identifier: Apache-2.0
"""What Triton's compiler makes of the LIF kernels, for GPUs that this machine need not have."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')

from snn_detector_ros.training.spiking.lif_fused import TILE_SIZES  # noqa: E402

#: Lets the launches of ``lif_fused.py`` end with the compiler: for each argument, a compute
#: capability, prints what the machine code of each kernel needs.
COMPILE = """
import json, sys
from types import SimpleNamespace
import torch
from triton import JITFunction
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from snn_detector_ros.engines.triton.disassembly import read_resources
from snn_detector_ros.training.spiking.lif import LifParameters
from snn_detector_ros.training.spiking.lif_fused import fused_lif, fused_tdbn_lif
from snn_detector_ros.training.spiking.tdbn import TdBatchNorm

def compile_only(self, *args, grid, warmup, **options):
    resources = read_resources(launch(self, *args, grid=grid, warmup=True, **options).asm['cubin'])
    print(json.dumps({'kernel': self.fn.__name__, 'arch': arch, 'type': str(dtype), 'steps': steps,
        'spills': resources.spills, 'loads': resources.instructions.get('LDG', 0)}))

launch, JITFunction.run = JITFunction.run, compile_only
driver.set_active(SimpleNamespace(
    get_current_device=lambda: arch, get_current_stream=lambda device: 0,
    get_current_target=lambda: GPUTarget('cuda', arch, 32)))
neuron = LifParameters(detach_reset=False)
for arch, dtype, steps, layout in json.loads(sys.argv[1]):
    dtype = getattr(torch, dtype)
    x = torch.zeros(steps * 2, 64, 8, 8, dtype=dtype)
    x = x.to(memory_format=getattr(torch, layout)).unflatten(0, (steps, 2)).requires_grad_()
    fused_tdbn_lif(x, TdBatchNorm(64, 0.5), neuron).sum().backward()
    fused_lif(x, neuron).sum().backward()
"""


def compiled(cases: list[tuple], cache: Path) -> list[dict]:
    """Compile all kernels for (compute capability, type, steps, layout in memory)."""
    environment = {**os.environ, 'TRITON_CACHE_DIR': str(cache)}
    del environment['TRITON_INTERPRET']
    output = subprocess.run(
        [sys.executable, '-c', COMPILE, json.dumps(cases)], env=environment, check=True,
        stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def check_machine_code(kernels: list[dict]) -> None:
    for kernel in kernels:
        assert not kernel['spills'], kernel
        # Currents, gradients and five values a channel: all that a thread needs of a step comes in
        # one load.
        assert kernel['loads'] <= 2 * kernel['steps'] + 5, kernel


def test_machine_code_has_no_spills(tmp_path: Path) -> None:
    kernels = compiled([(87, 'float16', 5, 'channels_last')], tmp_path)
    assert [kernel['kernel'] for kernel in kernels] == [
        'statistics', 'forward', 'gradient_sums', 'backward', 'forward', 'backward']
    check_machine_code(kernels)


@pytest.mark.slow
def test_machine_code_has_no_spills_on_any_gpu(tmp_path: Path) -> None:
    steps = [size[0] for size in TILE_SIZES]
    cases = [(arch, 'float32', steps[0], 'channels_last') for arch in (75, 80, 89, 90)]
    cases += product((87,), ('float16', 'float32'), steps, ('channels_last', 'contiguous_format'))
    kernels = compiled(cases, tmp_path)
    assert len(kernels) == 6 * len(cases)
    check_machine_code(kernels)
