# SPDX-License-Identifier: Apache-2.0
"""
Compiled kernels in a file: what lets a robot start without a compiler.

A ZIP archive with a JSON table and one machine-code file a kernel. It is data: nothing in it is run
on the processor that reads it, and a kernel is looked up by everything that went into it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from snn_detector_ros.errors import ModelFileError

TABLE = 'kernels.json'
VERSION = 1
#: A network takes about ten kernels of 80 kB.
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class CompiledKernel:
    """
    A kernel in machine code.

    :param symbol: its name in the machine code.
    :param cubin: the machine code, an ELF file.
    :param parameters: names of what it is given, in order.
    :param threads: of a block.
    :param shared_bytes: dynamic shared memory of a block.
    :param scratch_pointers: parameters behind the others, which may be null.
    """

    symbol: str
    cubin: bytes
    parameters: tuple[str, ...]
    threads: int
    shared_bytes: int = 0
    scratch_pointers: int = 0


@dataclass(frozen=True)
class KernelFile:
    """
    Kernels of one compiler for one GPU architecture.

    :param compiler: ``triton`` or ``cuda``.
    :param arch: compute capability without the dot.
    :param source: hash of the kernels' source code.
    :param kernels: by the name of their spec.
    """

    compiler: str
    arch: int
    source: str
    kernels: Mapping[str, CompiledKernel]

    def save(self, path: Path) -> None:
        """Write the file."""
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            table = {}
            for name, kernel in self.kernels.items():
                archive.writestr(f'{name}.cubin', kernel.cubin)
                table[name] = {key: value for key, value in asdict(kernel).items()
                               if key != 'cubin'}
            archive.writestr(TABLE, json.dumps({
                'version': VERSION, 'compiler': self.compiler, 'arch': self.arch,
                'source': self.source, 'kernels': table}, indent=1))


def load_kernels(path: Path) -> KernelFile:
    """
    Read a file of kernels.

    :raises ModelFileError: if it is missing, damaged or of another release.
    """
    remedy = 'make it again with `snn-detector build`'
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelFileError(f'{path}: {path.stat().st_size >> 20} MiB are no file of kernels; '
                                 f'{remedy}')
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_FILE_BYTES:
                raise ModelFileError(f'{path}: unpacks to too much; {remedy}')
            table = json.loads(archive.read(TABLE))
            if table['version'] != VERSION:
                raise ModelFileError(f'{path}: version {table["version"]!r} of the file is not '
                                     f'{VERSION}; {remedy}')
            kernels = {
                name: CompiledKernel(
                    str(entry['symbol']), archive.read(f'{name}.cubin'),
                    tuple(map(str, entry['parameters'])), int(entry['threads']),
                    int(entry['shared_bytes']), int(entry['scratch_pointers']))
                for name, entry in table['kernels'].items()}
            return KernelFile(str(table['compiler']), int(table['arch']), str(table['source']),
                              kernels)
    except OSError as error:
        raise ModelFileError(f'{path}: {error.strerror or error}') from error
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError,
            NotImplementedError) as error:
        raise ModelFileError(f'{path}: is no file of kernels ({error}); {remedy}') from error
