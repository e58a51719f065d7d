# SPDX-License-Identifier: Apache-2.0
"""From pictures to boxes: the part that all engines share."""
