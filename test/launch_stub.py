# SPDX-License-Identifier: Apache-2.0
"""
Run a launch file without `launch`: the part of its API that our launch files may use, recorded.

`launch` and `launch_ros` are not on PyPI. :func:`run_launch_file` puts stand-ins for them in place,
executes the launch file, resolves its substitutions and conditions as `ros2 launch` would for the
given arguments, and returns what would have been started. A name, keyword or argument that the real
API lacks is lacking here too, so a launch file that runs here uses nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class StartedNode:
    """One node that the launch file starts, with every substitution resolved."""

    package: str
    executable: str
    name: str
    namespace: str
    parameters: dict[str, Any]
    parameter_files: list[str]
    remappings: list[tuple[str, str]]
    arguments: list[str]
    environment: dict[str, str]


@dataclass
class Launched:
    """What a launch file declared and started."""

    arguments: dict[str, DeclareLaunchArgument] = field(default_factory=dict)
    configurations: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    nodes: list[StartedNode] = field(default_factory=list)

    def node(self, executable: str) -> StartedNode:
        """Return the one node started from ``executable``."""
        (found,) = [node for node in self.nodes if node.executable == executable]
        return found


def run_launch_file(path: Path, arguments: Mapping[str, str] | None = None) -> Launched:
    """
    Execute a launch file and record it.

    :param path: the ``.launch.py`` file.
    :param arguments: what a user would type as ``name:=value``.
    :returns: the declared arguments and the nodes that would start.
    :raises LookupError: if an argument without default is missing, or an undeclared one is read.
    """
    launched = Launched(configurations=dict(arguments or {}))
    _include(path, launched)
    return launched


def _include(path: Path, launched: Launched) -> None:
    with _stand_ins():
        spec = importlib.util.spec_from_file_location(path.name.replace('.', '_'), path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for entity in module.generate_launch_description().entities:
            entity.execute(launched)


@contextmanager
def _stand_ins() -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in _API}
    for name, symbols in _API.items():
        sys.modules[name] = ModuleType(name)
        for symbol in symbols:
            setattr(sys.modules[name], symbol.__name__, symbol)
    try:
        yield
    finally:
        # Only these: what the launch file imported besides must stay, or would exist twice.
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


# Substitutions ---------------------------------------------------------------------------------


class Substitution:
    def perform(self, context: Launched) -> str:
        raise NotImplementedError


def perform(value: Any, context: Launched) -> str:
    """Resolve a string, a substitution, or a sequence of both."""
    if isinstance(value, Substitution):
        return value.perform(context)
    if isinstance(value, (str, Path)):
        return str(value)
    if isinstance(value, Iterable):
        return ''.join(perform(part, context) for part in value)
    raise TypeError(f'{value!r} is neither text nor a substitution')


class LaunchConfiguration(Substitution):
    def __init__(self, variable_name: str, *, default: Any = None) -> None:
        self._name = variable_name
        self._default = default

    def perform(self, context: Launched) -> str:
        if self._name in context.configurations:
            return context.configurations[self._name]
        if self._default is None:
            raise LookupError(f'launch configuration `{self._name}` does not exist')
        return perform(self._default, context)


class PathJoinSubstitution(Substitution):
    def __init__(self, substitutions: Iterable[Any]) -> None:
        self._parts = list(substitutions)

    def perform(self, context: Launched) -> str:
        return os.path.join(*(perform(part, context) for part in self._parts))


class FindPackageShare(Substitution):
    """The share directory of a package: of ours, the repository, which has the same layout."""

    def __init__(self, package: Any) -> None:
        self._package = package

    def perform(self, context: Launched) -> str:
        name = perform(self._package, context)
        return str(REPOSITORY) if name == 'snn_detector_ros' else f'/share/{name}'


# Conditions ------------------------------------------------------------------------------------


class IfCondition:
    def __init__(self, predicate_expression: Any) -> None:
        self._predicate = predicate_expression

    def evaluate(self, context: Launched) -> bool:
        text = perform(self._predicate, context).lower()
        if text not in ('true', 'false', '1', '0'):
            raise ValueError(f'condition `{text}` is none of true, false, 1, 0')
        return text in ('true', '1')


# Actions ---------------------------------------------------------------------------------------


class Action:
    def __init__(self, *, condition: IfCondition | None = None) -> None:
        self._condition = condition

    def execute(self, context: Launched) -> None:
        if self._condition is None or self._condition.evaluate(context):
            self.act(context)

    def act(self, context: Launched) -> None:
        raise NotImplementedError


class LaunchDescription:
    def __init__(self, initial_entities: Iterable[Action] | None = None) -> None:
        self.entities = list(initial_entities or ())

    def add_action(self, action: Action) -> None:
        self.entities.append(action)


class DeclareLaunchArgument(Action):
    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str | None = None,
        choices: Iterable[str] | None = None,
        condition: IfCondition | None = None,
    ) -> None:
        super().__init__(condition=condition)
        self.name = name
        self.default_value = default_value
        self.description = description
        self.choices = None if choices is None else list(choices)

    def act(self, context: Launched) -> None:
        context.arguments.setdefault(self.name, self)
        if self.name not in context.configurations:
            if self.default_value is None:
                raise LookupError(f'required launch argument `{self.name}` was not provided')
            context.configurations[self.name] = perform(self.default_value, context)
        value = context.configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise LookupError(f'`{self.name}:={value}` is none of {self.choices}')


class SetEnvironmentVariable(Action):
    def __init__(self, name: Any, value: Any, *, condition: IfCondition | None = None) -> None:
        super().__init__(condition=condition)
        self._name = name
        self._value = value

    def act(self, context: Launched) -> None:
        context.environment[perform(self._name, context)] = perform(self._value, context)


class OpaqueFunction(Action):
    def __init__(self, *, function: Any, condition: IfCondition | None = None) -> None:
        super().__init__(condition=condition)
        self._function = function

    def act(self, context: Launched) -> None:
        for action in self._function(context) or ():
            action.execute(context)


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: Any) -> None:
        self.path = launch_file_path


class IncludeLaunchDescription(Action):
    def __init__(
        self,
        launch_description_source: PythonLaunchDescriptionSource,
        *,
        launch_arguments: Iterable[tuple[Any, Any]] | None = None,
        condition: IfCondition | None = None,
    ) -> None:
        super().__init__(condition=condition)
        self._source = launch_description_source
        self._arguments = list(launch_arguments or ())

    def act(self, context: Launched) -> None:
        for name, value in self._arguments:
            context.configurations[perform(name, context)] = perform(value, context)
        _include(Path(perform(self._source.path, context)), context)


class ParameterValue:
    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: Launched) -> Any:
        text = perform(self.value, context)
        return text if self.value_type is str else yaml.safe_load(text)


class Node(Action):
    def __init__(
        self,
        *,
        executable: Any,
        package: Any = None,
        name: Any = None,
        namespace: Any = None,
        parameters: Iterable[Any] | None = None,
        remappings: Iterable[tuple[Any, Any]] | None = None,
        arguments: Iterable[Any] | None = None,
        ros_arguments: Iterable[Any] | None = None,
        output: Any = None,
        additional_env: Mapping[Any, Any] | None = None,
        emulate_tty: bool = False,
        respawn: Any = False,
        respawn_delay: float | None = None,
        prefix: Any = None,
        sigterm_timeout: Any = '5',
        on_exit: Any = None,
        condition: IfCondition | None = None,
    ) -> None:
        super().__init__(condition=condition)
        self._texts = {'package': package, 'executable': executable, 'name': name,
                       'namespace': namespace}
        self._parameters = list(parameters or ())
        self._remappings = list(remappings or ())
        self._arguments = [*(arguments or ()), *(ros_arguments or ())]
        self._environment = dict(additional_env or {})

    def act(self, context: Launched) -> None:
        node = StartedNode(
            **{key: '' if text is None else perform(text, context)
               for key, text in self._texts.items()},
            parameters={},
            parameter_files=[],
            remappings=[(perform(source, context), perform(target, context))
                        for source, target in self._remappings],
            arguments=[perform(argument, context) for argument in self._arguments],
            environment={**context.environment,
                         **{perform(name, context): perform(value, context)
                            for name, value in self._environment.items()}})
        for entry in self._parameters:
            if isinstance(entry, Mapping):
                node.parameters.update(
                    (perform(name, context), _parameter(value, context))
                    for name, value in entry.items())
            else:
                node.parameter_files.append(perform(entry, context))
        context.nodes.append(node)


def _parameter(value: Any, context: Launched) -> Any:
    """Evaluate a parameter as launch_ros does: what comes from a substitution is read as YAML."""
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if isinstance(value, Substitution):
        return yaml.safe_load(value.perform(context))
    if isinstance(value, (list, tuple)) and any(isinstance(part, Substitution) for part in value):
        return yaml.safe_load(perform(value, context))
    return value


_API: dict[str, tuple[type, ...]] = {
    'launch': (LaunchDescription,),
    'launch.actions': (
        DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable),
    'launch.conditions': (IfCondition,),
    'launch.launch_description_sources': (PythonLaunchDescriptionSource,),
    'launch.substitutions': (LaunchConfiguration, PathJoinSubstitution),
    'launch_ros': (),
    'launch_ros.actions': (Node,),
    'launch_ros.parameter_descriptions': (ParameterValue,),
    'launch_ros.substitutions': (FindPackageShare,),
}
