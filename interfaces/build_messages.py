#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Generate and compile ROS 2 message packages that have no PyPI wheel.

ROS 2's wheels bring rosidl's generators, but neither ``vision_msgs`` nor ``event_camera_msgs``.
This script makes the Python messages with their Fast DDS type support from plain ``.msg`` files,
without CMake. The result talks to the released packages: the wire format and the RIHS01 type hash
depend on the fields only.

Usage: ``build_messages.py interfaces/vision_msgs interfaces/event_camera_msgs`` with the Python of
the environment to install into. A package whose installed hashes equal those of its definitions is
left alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from message_package import (
    ROS,
    BuildError,
    MessagePackage,
    describe,
    generate,
    read_hashes,
    read_package,
)

# Names under which the type supports are opened at run time: all are one library here.
ALIASES = ('typesupport_c', 'typesupport_fastrtps_c', 'typesupport_introspection_c')
# Libraries of a message package that those of a package using it refer to.
LIBRARY_KINDS = ('generator_c', 'generator_py', *ALIASES)
RUNTIME_LIBRARIES = (
    'rosidl_typesupport_fastrtps_c', 'rosidl_typesupport_fastrtps_cpp',
    'rosidl_typesupport_introspection_c', 'rosidl_typesupport_c', 'rosidl_runtime_c',
    'rmw', 'rcutils',
)


def run(command: Sequence[str | Path]) -> None:
    """
    Run a compiler or linker.

    :raises BuildError: with the end of its output if it fails, or with the remedy if it is missing.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BuildError(
            f'{command[0]} is missing; install it with: apt-get install gcc g++') from error
    if result.returncode:
        raise BuildError(
            f'{command[0]} failed with status {result.returncode}:\n{result.stderr[-2000:]}')


def compile_sources(package: MessagePackage, sources: Sequence[Path]) -> list[Path]:
    """Compile C and C++ sources on all cores, telling the progress; return the object files."""
    # ROS 2's packages install headers as include/<package>/<package>/..., Fast CDR directly.
    includes = [
        package.work / 'c', sysconfig.get_path('include'), numpy.get_include(),
        *sorted((ROS / 'include').iterdir()), ROS / 'include']
    flags = [f'-I{folder}' for folder in includes] + ['-fPIC', '-O1', '-w']
    flags += [f'-DROSIDL_{kind}_BUILDING_DLL_{package.name}'
              for kind in ('GENERATOR_C', 'TYPESUPPORT_FASTRTPS_C')]

    def compile_one(source: Path) -> Path:
        target = source.with_name(source.name + '.o')
        compiler = ['g++', '-std=c++17'] if source.suffix == '.cpp' else ['gcc', '-std=gnu11']
        run([*compiler, *flags, '-c', source, '-o', target])
        return target

    objects = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, compiled in enumerate(pool.map(compile_one, sources), start=1):
            objects.append(compiled)
            if done % 20 == 0 or done == len(sources):
                print(f'{package.name}: compiled {done} of {len(sources)} files', flush=True)
    return objects


def build_binaries(package: MessagePackage, library: Path) -> None:
    """
    Compile everything, and link the C library and the Python extension module.

    :param library: where the C library goes; the extension is linked into ``package.python``.
    """
    core = sorted(package.c.rglob('*.c')) + sorted(package.c.rglob('*.cpp'))
    bindings = sorted(package.python.rglob('*.c'))
    objects = compile_sources(package, core + bindings)

    used = [
        f'-l{other}__rosidl_{kind}' for other in package.dependencies for kind in LIBRARY_KINDS
        if (ROS / 'lib' / f'lib{other}__rosidl_{kind}.so').exists()]
    used += [*(f'-l{name}' for name in RUNTIME_LIBRARIES), '-l:libfastcdr.so.2']
    link = ['g++', '-shared', f'-L{library.parent}', f'-L{ROS / "lib"}',
            '-Wl,--no-as-needed', '-Wl,--allow-shlib-undefined']
    run([*link, '-o', library, f'-Wl,-soname,{library.name}', '-Wl,-rpath,$ORIGIN',
         *objects[:len(core)], *used])
    run([*link, '-o', package.python / extension_name(package), '-Wl,-rpath,$ORIGIN/../../..',
         *objects[len(core):], f'-l:{library.name}', *used])


def extension_name(package: MessagePackage) -> str:
    """Return the file name of the Python extension, which names the release of Python too."""
    return f'{package.name}_s__rosidl_typesupport_c{sysconfig.get_config_var("EXT_SUFFIX")}'


def install(package: MessagePackage, prefix: Path) -> None:
    """Build the package into a prefix; its type descriptions come last, as the sign of success."""
    site, lib, share = site_packages(prefix), prefix / 'lib', prefix / 'share'
    index = share / 'ament_index' / 'resource_index'
    definitions = share / package.name / 'msg'
    for folder in (site / package.name, definitions):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (site, definitions, index / 'packages', index / 'rosidl_interfaces'):
        folder.mkdir(parents=True, exist_ok=True)

    library = lib / f'lib{package.name}__rosidl_generator_c.so'
    build_binaries(package, library)
    for kind in ALIASES:
        alias = lib / f'lib{package.name}__rosidl_{kind}.so'
        alias.unlink(missing_ok=True)
        alias.symlink_to(library.name)
    shutil.copytree(
        package.python, site / package.name, ignore=shutil.ignore_patterns('*.c', '*.o'))

    (index / 'packages' / package.name).write_text('')
    (index / 'rosidl_interfaces' / package.name).write_text(
        '\n'.join(f'msg/{message.name}' for message in package.messages))
    for folder, kind in ((package.source, 'msg'), (package.idl, 'idl')):
        for file in (folder / 'msg').glob(f'*.{kind}'):
            shutil.copy(file, definitions)
    for file in (package.descriptions / 'msg').glob('*.json'):
        shutil.copy(file, definitions)


def site_packages(prefix: Path) -> Path:
    """Return the folder of importable packages under a prefix."""
    return Path(sysconfig.get_path('platlib', vars={'base': str(prefix), 'platbase': str(prefix)}))


def is_current(package: MessagePackage, prefix: Path, hashes: dict[str, str]) -> bool:
    """Tell whether a prefix already holds the package with exactly these hashes."""
    extension = site_packages(prefix) / package.name / extension_name(package)
    return extension.exists() and read_hashes(prefix / 'share' / package.name / 'msg') == hashes


def build(source: Path, prefix: Path, *, force: bool = False) -> bool:
    """
    Build one message package into a prefix, unless it is there already.

    :param source: folder named like the package, with ``msg/*.msg`` in it.
    :param force: build it even if it is there.
    :returns: whether anything was compiled.
    :raises BuildError: if the package cannot be built.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='build_messages_') as work:
        package = read_package(source.resolve(), Path(work))
        hashes = describe(package)
        if not force and is_current(package, prefix, hashes):
            print(f'{package.name}: {len(hashes)} message types, up to date')
            return False
        print(f'{package.name}: generating {len(hashes)} message types', flush=True)
        generate(package)
        install(package, prefix)
    print(f'{package.name}: installed in {prefix} after {time.monotonic() - start:.0f} s')
    return True


def main() -> int:
    """Build the packages named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description='Generate and compile ROS 2 message packages.')
    parser.add_argument(
        'packages', nargs='+', type=Path, help='folders with msg/*.msg, dependencies first')
    parser.add_argument(
        '--prefix', type=Path, default=ROS, help='where to install (default: this environment)')
    parser.add_argument('--force', action='store_true', help='build even what is up to date')
    arguments = parser.parse_args()
    try:
        for source in arguments.packages:
            build(source, arguments.prefix.resolve(), force=arguments.force)
    except BuildError as error:
        print(f'build_messages: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
