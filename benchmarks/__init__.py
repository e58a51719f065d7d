# SPDX-License-Identifier: Apache-2.0
"""The race that ``make bench`` runs; no part of the installed package."""
