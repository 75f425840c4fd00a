"""How `pip` builds sacbnet: wheels by scikit-build-core, editable installs by hatchling.

An editable install of hatchling is one line in a .pth file, so PYTHONPATH still chooses the source
tree. That of scikit-build-core puts an import hook before PYTHONPATH. The kernels of an editable
install lie in the source tree, where this file and `make kernels` build them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.build import build_editable as _build_editable
from hatchling.build import get_requires_for_build_editable as _requires_for_editable
from scikit_build_core.build import (
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

ROOT = Path(__file__).resolve().parents[1]
__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    """hatchling's requirements, and what CMake needs."""
    return [*_requires_for_editable(config_settings), *get_requires_for_build_wheel()]


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the kernels in the source tree, if a compiler is at hand, and the editable wheel."""
    try:
        build_kernels()
    except (OSError, subprocess.SubprocessError) as error:
        print(
            f"the kernels were not built ({error}); the plain forms of torch run, which are"
            " slower. Run `make kernels` to see why",
            file=sys.stderr,
        )
    return _build_editable(wheel_directory, config_settings, metadata_directory)


def build_kernels() -> None:
    """Do what `make kernels` does."""
    cmake = Path(sysconfig.get_path("scripts")) / "cmake"
    program = str(cmake) if cmake.exists() else "cmake"
    source, place = ROOT / "src" / "sacbnet" / "kernels" / "cpu", ROOT / "build" / "kernels"
    levels = os.environ.get("SACBNET_LEVELS", "best")
    make = [program, "--build", str(place), "--parallel", str(os.cpu_count() or 1)]
    for command in (
        [program, "-S", str(source), "-B", str(place), f"-DSACBNET_LEVELS={levels}"],
        make,
    ):
        subprocess.run(command, check=True)
