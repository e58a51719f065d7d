# SPDX-License-Identifier: Apache-2.0
"""How good a detector is: average precision on labelled pictures, spiking and float alike."""
