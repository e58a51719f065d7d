# SPDX-License-Identifier: Apache-2.0
"""Keep an exponential moving average of the weights, which detects better than the weights."""

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar('Model', bound=nn.Module)
DECAY = 0.9999
RAMP_STEPS = 2000


class AveragedModel(Generic[Model]):
    """A copy of a model whose floating-point state follows the original slowly."""

    def __init__(self, model: Model) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Move towards ``model``; the first steps move faster, as little has been averaged."""
        self.updates += 1
        decay = DECAY * (1 - math.exp(-self.updates / RAMP_STEPS))
        state = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(state[name], 1 - decay)
            else:
                value.copy_(state[name])
