# SPDX-License-Identifier: Apache-2.0
"""The GPU engine: a plan of launches for one network, and what runs it."""
