# SPDX-License-Identifier: Apache-2.0
"""Write files so that a kill at any moment leaves the old one or the new one, never a part."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from snn_detector_ros.errors import ConfigurationError

FORMAT = 1
#: Name of the checkpoint in a run folder.
CHECKPOINT_FILE = 'checkpoint.pt'


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """
    Replace a file in one step.

    :param path: the file.
    :param write: called with the path of a temporary file in the same folder, which it fills.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """
    Save tensors, numbers, strings and containers of them.

    :param path: the file to write or replace.
    :param state: what to save.
    """
    replace_file(path, lambda file: torch.save({'format': FORMAT, **state}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """
    Load a checkpoint; nothing but plain data is ever unpickled.

    :param path: a file that ``save_checkpoint`` wrote.
    :returns: the state.
    :raises ConfigurationError: if the file is missing, damaged or of another format.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise ConfigurationError(f'{path} does not exist; start without --resume') from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise ConfigurationError(f'{path} is not a readable checkpoint: {error}') from error
    if not isinstance(state, dict) or state.get('format') != FORMAT:
        raise ConfigurationError(f'{path} is not a checkpoint of format {FORMAT}; train anew')
    return state
