# SPDX-License-Identifier: Apache-2.0
"""Read the definitions of a ROS 2 message package and generate its sources with rosidl.

The generators come with ROS 2's wheels. They are called here as rosidl's CMake macros call them.
"""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rosidl_typesupport_c
import rosidl_typesupport_fastrtps_c
import rosidl_typesupport_introspection_c
from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_adapter.parser import InvalidSpecification, parse_message_file
from rosidl_generator_c import generate_c
from rosidl_generator_py import generate_py
from rosidl_generator_type_description import generate_type_hash

ROS = Path(sys.prefix)
SHARE = ROS / 'share'
C_TYPE_SUPPORTS = ('rosidl_typesupport_fastrtps_c', 'rosidl_typesupport_introspection_c')
# Generators whose sources include a header that their CMake package would have configured.
VISIBILITY_HEADERS = ('rosidl_generator_c', *C_TYPE_SUPPORTS)


class BuildError(Exception):
    """A message package cannot be built; the text names the file and the remedy."""


@dataclass(frozen=True)
class MessagePackage:
    """
    A message package's definitions, and the folders that its build uses.

    :param source: folder named like the package, with ``msg/*.msg`` in it.
    :param messages: its message files, sorted.
    :param dependencies: installed packages that it needs, directly or not, sorted.
    :param work: folder for everything that is generated.
    """

    source: Path
    messages: tuple[Path, ...]
    dependencies: tuple[str, ...]
    work: Path

    @property
    def name(self) -> str:
        """Return the package's name."""
        return self.source.name

    @property
    def idl(self) -> Path:
        """Return the folder of the IDL files, one for each message."""
        return self.work / 'idl' / self.name

    @property
    def descriptions(self) -> Path:
        """Return the folder of the type descriptions, which hold the RIHS01 hashes."""
        return self.work / 'description'

    @property
    def c(self) -> Path:
        """Return the folder of the generated C and C++ sources."""
        return self.work / 'c' / self.name

    @property
    def python(self) -> Path:
        """Return the folder that becomes the importable package."""
        return self.work / 'python' / self.name


def read_package(source: Path, work: Path) -> MessagePackage:
    """
    Parse the messages of one package and find the packages that they refer to.

    :param source: folder named like the package, with ``msg/*.msg`` in it.
    :param work: empty folder for everything that will be generated.
    :raises BuildError: if a message does not parse, or names a type that is neither installed nor
        in the package.
    """
    messages = tuple(sorted((source / 'msg').glob('*.msg')))
    if not messages:
        raise BuildError(f'{source} holds no msg/*.msg file; give the folder of a message package')
    own = {message.stem for message in messages}
    direct = set()
    for message in messages:
        for package, type_name, field in field_types(source.name, message):
            installed = (SHARE / package / 'msg' / f'{type_name}.idl').exists()
            if not (type_name in own if package == source.name else installed):
                raise BuildError(
                    f'{message}: field {field!r} has the unknown type {package}/{type_name}; '
                    f'correct it, or install {package} first')
            direct.add(package)
    return MessagePackage(source, messages, closure(direct - {source.name}), work)


def field_types(package: str, message: Path) -> list[tuple[str, str, str]]:
    """
    List ``(package, type, field name)`` of those fields of a message that are messages themselves.

    :raises BuildError: if the file is no valid message definition.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            fields = parse_message_file(package, str(message)).fields
    except (InvalidSpecification, NameError, ValueError) as error:
        raise BuildError(
            f'{message} is no valid message definition: {type(error).__name__}: {error}') from error
    return [(field.type.pkg_name, field.type.type, field.name)
            for field in fields if not field.type.is_primitive_type()]


def closure(packages: Iterable[str]) -> tuple[str, ...]:
    """Return the packages and all those that their IDL files include, sorted."""
    found: set[str] = set()
    waiting = set(packages)
    while waiting:
        package = waiting.pop()
        found.add(package)
        for idl in (SHARE / package / 'msg').glob('*.idl'):
            includes = re.findall(r'^#include "(\w+)/', idl.read_text(), re.MULTILINE)
            waiting |= set(includes) - found
    return tuple(sorted(found))


def describe(package: MessagePackage) -> dict[str, str]:
    """
    Write the IDL files and the type descriptions.

    :returns: the RIHS01 hash of every message, by its name.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        for message in package.messages:
            convert_msg_to_idl(
                package.source, package.name, Path('msg') / message.name, package.idl / 'msg')
    call(generate_type_hash, package, 'rosidl_generator_type_description', package.descriptions)
    return read_hashes(package.descriptions / 'msg')


def read_hashes(folder: Path) -> dict[str, str]:
    """Read the RIHS01 hash of every message from the type descriptions in a folder."""
    hashes = {}
    for file in sorted(folder.glob('*.json')):
        for entry in json.loads(file.read_text())['type_hashes']:
            if entry['type_name'].endswith(f'/msg/{file.stem}'):
                hashes[file.stem] = entry['hash_string']
    return hashes


def generate(package: MessagePackage) -> None:
    """Write the C, C++ and Python sources; :func:`describe` must have run."""
    descriptions = [
        f'msg/{message.stem}.idl:{package.descriptions}/msg/{message.stem}.json'
        for message in package.messages]
    call(generate_c, package, 'rosidl_generator_c', package.c,
         type_description_tuples=descriptions)
    call(rosidl_typesupport_c.generate_c, package, 'rosidl_typesupport_c', package.c,
         list(C_TYPE_SUPPORTS))
    call(rosidl_typesupport_introspection_c.generate_c, package,
         'rosidl_typesupport_introspection_c', package.c)
    call(rosidl_typesupport_fastrtps_c.generate_typesupport_fastrtps_c, package,
         'rosidl_typesupport_fastrtps_c', package.c)
    for generator in VISIBILITY_HEADERS:
        configure_visibility_header(package, generator)

    (package.python / 'msg').mkdir(parents=True)
    (package.python / '__init__.py').touch()
    call(generate_py, package, 'rosidl_generator_py', package.python, ['rosidl_typesupport_c'])


def configure_visibility_header(package: MessagePackage, generator: str) -> None:
    """Write the header of export macros for one generator."""
    header = f'{generator}__visibility_control.h'
    text = (SHARE / generator / 'resource' / f'{header}.in').read_text()
    text = text.replace('@PROJECT_NAME@', package.name)
    text = text.replace('@PROJECT_NAME_UPPER@', package.name.upper())
    (package.c / 'msg' / header).write_text(text)


def call(
    generator: Callable[..., Any], package: MessagePackage, name: str, output: Path,
    *positional: object, **entries: object,
) -> None:
    """
    Call one of rosidl's generators, which read their arguments from a JSON file, quietly.

    :param name: package of the generator, whose templates lie in its share folder.
    :param output: folder to write to.
    :param positional: further arguments of the generator.
    :param entries: further entries of the JSON file.
    """
    arguments = {
        'package_name': package.name,
        'output_dir': str(output),
        'template_dir': str(SHARE / name / 'resource'),
        'idl_tuples': [f'{package.idl}:msg/{message.stem}.idl' for message in package.messages],
        'ros_interface_files': [str(message) for message in package.messages],
        'ros_interface_dependencies': [
            f'{other}:{idl}'
            for other in package.dependencies for idl in sorted((SHARE / other).glob('*/*.idl'))],
        'include_paths': [f'{other}:{SHARE / other}' for other in package.dependencies],
        'target_dependencies': [],
        **entries,
    }
    file = package.work / f'{name}.json'
    file.write_text(json.dumps(arguments))
    with contextlib.redirect_stdout(io.StringIO()):
        generator(str(file), *positional)
