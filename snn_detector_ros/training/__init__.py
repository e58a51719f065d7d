# SPDX-License-Identifier: Apache-2.0
"""Train ReLU detectors that convert well, and export them as float ONNX; needs torch."""
