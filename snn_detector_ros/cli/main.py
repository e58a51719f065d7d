# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``snn-detector``: finds the subcommand, turns errors into one sentence."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from snn_detector_ros import __version__
from snn_detector_ros.errors import SnnDetectorError

#: Subcommands and what they do; each is a module of this package, with ``add_arguments`` and
#: ``run``; a dash is an underscore there.
COMMANDS = {
    'demo': 'play pictures and video through the ROS node and show the boxes',
    'replay': 'run the detector on a video, a folder of pictures or a bag, without ROS',
    'convert': 'turn a trained ReLU detector (ONNX) into a spiking network',
    'build': 'compile the GPU kernels of a model, so that a robot starts without a compiler',
    'inspect': 'print the layers of a spiking network: scales, thresholds, firing rates',
    'eval': 'measure mean average precision on a labelled data set',
    'study': 'repeat the ablations of the conversion papers on labelled pictures',
    'train': 'train a ReLU detector to convert (needs torch)',
    'train-events': 'train an EMS-YOLO on events simulated from pictures (needs torch)',
    'train-classifier': 'train a spiking ResNet with tdBN, or its ReLU twin (needs torch)',
    'export': 'make a model file of a network that was trained with spikes (needs torch)',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run ``snn-detector``.

    :param arguments: command line without the program's name; ``sys.argv`` if None.
    :returns: exit status; 1 for an error that was named, 2 for a wrong command line.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Only the chosen command is imported: their dependencies differ, and start-up should be quick.
    chosen = next((word for word in given if word in COMMANDS), None)
    parser = argparse.ArgumentParser(
        prog='snn-detector', description='Object detection with spiking neural networks.')
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=f'{summary}.')
        if name == chosen:
            module = importlib.import_module(f'snn_detector_ros.cli.{name.replace("-", "_")}')
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    options = parser.parse_args(given)
    try:
        return int(options.run(options))
    except SnnDetectorError as error:
        print(f'snn-detector {options.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
