"""Tests of compiled kernels need kernels: `make kernels`, and no SACBNET_KERNELS=plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacbnet.kernels.cpu import native

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the files named after a kernel where the plain forms are asked for."""
    if native.switched_off():
        for item in items:
            if item.path.parent == HERE and item.path.stem.endswith("_kernel"):
                item.add_marker(pytest.mark.skip(reason="the kernels are switched off"))
