"""Gradiometer: measures how gradients vanish or explode through depth, says why, and proves a cure."""

from __future__ import annotations

from gradiometer import kernels

__all__ = ["kernels"]
