# SPDX-License-Identifier: Apache-2.0
"""Where pictures come from without ROS: folders, videos, cameras, bags and installed samples."""
