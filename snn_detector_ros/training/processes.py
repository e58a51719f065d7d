# SPDX-License-Identifier: Apache-2.0
"""
Train one network in several processes, as ``torchrun`` starts them; alone if it did not.

Each process takes its part of every batch, and gradients are averaged, so that the processes do
together what one of them would do with the whole batch. One thing differs: batch normalisation
takes its statistics from the process's own part.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from snn_detector_ros.errors import ConfigurationError

Item = TypeVar('Item')

#: The first process scores the validation pictures while the others wait for it.
PATIENCE = timedelta(hours=3)


@dataclass(frozen=True)
class Processes:
    """
    Where this process stands among those that train together.

    :param rank: its number.
    :param count: how many there are.
    :param device: what it computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device('cpu')

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that evaluates, reports and writes files."""
        return self.rank == 0

    def part(self, items: Sequence[Item], batch: int) -> list[Item]:
        """
        Return what this process takes of a sequence of batches.

        :param items: items of all batches, one after another.
        :param batch: items a batch, of all processes together.
        :returns: the items of its part of each whole batch; all items if it is alone.
        :raises ConfigurationError: if there is no whole batch, or it cannot be divided.
        """
        if self.count == 1:
            return list(items)
        if batch % self.count or len(items) < batch:
            raise ConfigurationError(
                f'batches of {batch} out of {len(items)} pictures cannot be shared by '
                f'{self.count} processes; choose a multiple of {self.count} for --batch')
        part = batch // self.count
        starts = range(self.rank * part, len(items) // batch * batch, batch)
        return [item for start in starts for item in items[start:start + part]]

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the model as a module whose gradients are averaged over the processes."""
        if self.count == 1:
            return model
        devices = [self.device] if self.device.type == 'cuda' else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value / self.count

    def agree(self, value: Any) -> Any:
        """Return the first process's value, and wait for it."""
        values = [value]
        if self.count > 1:
            distributed.broadcast_object_list(values, device=self.device)
        return values[0]


@contextmanager
def join_processes() -> Iterator[Processes]:
    """
    Join the processes that ``torchrun`` started, for the time of a ``with`` statement.

    Computes on CUDA where there is any, one device a process.
    """
    rank, count = (int(os.environ.get(key, value)) for key, value in (
        ('RANK', '0'), ('WORLD_SIZE', '1')))
    device = torch.device('cpu')
    if torch.cuda.is_available():
        device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(device=device)
        return
    distributed.init_process_group(
        'nccl' if device.type == 'cuda' else 'gloo', timeout=PATIENCE)
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()
