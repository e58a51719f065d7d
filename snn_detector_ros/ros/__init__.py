# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node: it moves messages, keeps time and reports; detection itself needs no ROS."""
