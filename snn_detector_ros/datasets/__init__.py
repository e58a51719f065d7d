# SPDX-License-Identifier: Apache-2.0
"""Pictures and labels on disk, read without torch, for training, calibration and evaluation."""
