# SPDX-License-Identifier: Apache-2.0
"""What the assembler made of a kernel, read back from the machine code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snn_detector_ros.errors import MissingDependencyError

#: Tensor-core instructions on integers, of every generation.
INTEGER_MMA = ('IMMA', 'IGMMA')
_RESOURCES = re.compile(r'REG:(\d+)\s+STACK:(\d+)\s+SHARED:(\d+)\s+LOCAL:(\d+)')
#: An instruction behind its address, and possibly behind a predicate.
_INSTRUCTION = re.compile(r'^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)', re.M)


@dataclass(frozen=True)
class Resources:
    """
    What a kernel needs and uses.

    :param registers: of a thread.
    :param stack_bytes: of a thread.
    :param local_bytes: of a thread; spilled registers lie here.
    :param shared_bytes: static shared memory of a block.
    :param instructions: how often each operation stands in the code, without its modifiers.
    """

    registers: int
    stack_bytes: int
    local_bytes: int
    shared_bytes: int
    instructions: Mapping[str, int]

    @property
    def spills(self) -> bool:
        """Whether registers did not suffice."""
        return bool(self.stack_bytes or self.local_bytes
                    or self.instructions.get('STL') or self.instructions.get('LDL'))

    @property
    def integer_mma(self) -> int:
        """Tensor-core instructions on integers."""
        return sum(self.instructions.get(name, 0) for name in INTEGER_MMA)


def read_resources(cubin: bytes) -> Resources:
    """
    Read machine code with NVIDIA's tools, of Triton or of the CUDA toolkit.

    :param cubin: with one kernel in it.
    :raises MissingDependencyError: if neither is installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'kernel.cubin')
        path.write_bytes(cubin)
        usage = _output(_tool('cuobjdump'), '-res-usage', str(path))
        code = _output(_tool('nvdisasm'), '-c', str(path))
    found = _RESOURCES.search(usage)
    assert found is not None, usage
    registers, stack, shared, local = map(int, found.groups())
    return Resources(registers, stack, local, shared, Counter(_INSTRUCTION.findall(code)))


def _tool(name: str) -> str:
    try:
        import triton.backends.nvidia
        own = Path(triton.backends.nvidia.__file__).parent / 'bin' / name
        if own.exists():
            return str(own)
    except ImportError:
        pass
    found = shutil.which(name)
    if found is None:
        raise MissingDependencyError('triton', 'gpu')
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
