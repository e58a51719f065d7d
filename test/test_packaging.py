# SPDX-License-Identifier: Apache-2.0
"""What is declared for pip, colcon and apt agrees with what is there."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'snn_detector_ros'
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()

# Each ROS 2 package that is imported must be in package.xml; rclpy's own parts come with it.
ROS_MODULES = {
    'action_msgs', 'ament_index_python', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs',
    'event_camera_msgs', 'geometry_msgs', 'launch', 'launch_ros', 'lifecycle_msgs',
    'rcl_interfaces', 'rclpy', 'rosgraph_msgs', 'sensor_msgs', 'std_msgs',
    'vision_msgs', 'visualization_msgs',
}


def imported_modules(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the top-level name of every import in the Python files of some folders."""
    for file in (file for folder in folders for file in sorted(folder.rglob('*.py'))):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else [
                alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                yield (name or '').split('.')[0], file


def setup_arguments() -> dict[str, str]:
    """Return the plain string arguments of setup.py's call."""
    calls = [node for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
             if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup']
    return {keyword.arg: keyword.value.value for keyword in calls[0].keywords
            if keyword.arg and isinstance(keyword.value, ast.Constant)}


def test_manifest_and_setup_agree() -> None:
    setup = setup_arguments()

    assert MANIFEST.findtext('version') == setup['version']
    assert MANIFEST.findtext('license') == setup['license']
    maintainer = MANIFEST.find('maintainer')
    assert maintainer is not None
    assert (maintainer.text, maintainer.get('email')) == (
        setup['maintainer'], setup['maintainer_email'])


def test_manifest_is_valid_for_ros_tools() -> None:
    catkin_pkg = pytest.importorskip('catkin_pkg.package', reason='comes with colcon')
    warnings: list[str] = []

    parsed = catkin_pkg.parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    parsed.validate(warnings=warnings)

    assert parsed.get_build_type() == 'ament_python'
    assert warnings == []


def test_every_ros_import_is_in_the_manifest() -> None:
    declared = {element.text for element in MANIFEST.findall('exec_depend')}
    used = {name: file for name, file in imported_modules([PACKAGE, ROOT / 'launch'])
            if name in ROS_MODULES}

    missing = {name: str(file.relative_to(ROOT)) for name, file in used.items()
               if name not in declared}

    assert missing == {}


def test_all_but_ros_and_training_import_without_ros_and_torch() -> None:
    script = (
        'import importlib, pkgutil, sys\n'
        'sys.modules.update(dict.fromkeys(["rclpy", "torch", "launch", "launch_ros"]))\n'
        'import snn_detector_ros as package\n'
        'for module in pkgutil.walk_packages(package.__path__, "snn_detector_ros."):\n'
        '    if module.name.split(".")[1] not in ("ros", "training"):\n'
        '        importlib.import_module(module.name)\n'
        '        print(module.name)\n')

    result = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True,
                            text=True, timeout=60)

    assert result.returncode == 0, result.stderr
    assert 'snn_detector_ros.detection.detector' in result.stdout.split()


def test_scripts_go_where_ros2_run_looks() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')

    assert config['install']['install_scripts'] == '$base/lib/snn_detector_ros'
    assert config['develop']['script_dir'] == '$base/lib/snn_detector_ros'


def test_setup_without_compiler_still_builds(tmp_path: Path) -> None:
    """A robot without gcc gets the package; numpy twins replace the native loops."""
    for name in ('setup.py', 'setup.cfg', 'snn_detector_ros', 'resource', 'package.xml'):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns('*.so'))
        else:
            shutil.copy(source, tmp_path)

    result = subprocess.run(
        [sys.executable, 'setup.py', 'build'], cwd=tmp_path, env={'CC': '/bin/false', 'HOME': '/'},
        capture_output=True, text=True, timeout=120)

    assert result.returncode == 0, result.stderr
    (library,) = tmp_path.glob('build/lib*/snn_detector_ros')
    assert (library / '__init__.py').exists()
    assert not list(library.glob('_native*.so'))


def test_every_requirement_has_its_reason() -> None:
    reasons = (ROOT / 'docs' / 'dependencies.md').read_text()
    names = [re.split(r'[<>=; ]', line)[0]
             for file in (ROOT / 'requirements').glob('*.txt')
             for line in file.read_text().splitlines() if line and not line.startswith('#')]

    assert [name for name in names if f'`{name}`' not in reasons] == []


def test_extras_named_in_errors_exist() -> None:
    named = {extra for file in PACKAGE.rglob('*.py') for extra in re.findall(
        r"MissingDependencyError\(.*'(\w+)'\)", file.read_text())}
    (extras,) = [keyword.value for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
                 if isinstance(node, ast.Call) for keyword in node.keywords
                 if keyword.arg == 'extras_require']

    assert named
    assert named <= set(ast.literal_eval(extras))


def test_targets_of_make_are_listed_by_help() -> None:
    makefile = (ROOT / 'Makefile').read_text()
    (phony,) = re.findall(r'^\.PHONY: (.*)$', makefile, re.MULTILINE)

    listed = subprocess.run(['make', '--no-print-directory', 'help'], cwd=ROOT, text=True,
                            capture_output=True, check=True).stdout

    for target in phony.split():
        assert re.search(rf'^  make {target}\s+\S', listed, re.MULTILINE), target
