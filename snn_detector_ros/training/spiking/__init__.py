# SPDX-License-Identifier: Apache-2.0
"""Networks that are trained as spiking networks: LIF neurons, tdBN, EMS-YOLO, spiking ResNets."""
