# SPDX-License-Identifier: Apache-2.0
"""Repeat the ablations of the conversion papers on any network and any labelled pictures."""
