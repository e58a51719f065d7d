# SPDX-License-Identifier: Apache-2.0
"""The command ``snn-detector``; one module a subcommand."""
