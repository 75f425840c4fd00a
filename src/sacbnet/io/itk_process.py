"""Read files with ITK in a process of its own: a damaged file can end ITK's process, not this one.

The file is also the program of that process, which imports nothing of this package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import SimpleITK as sitk

_MEMORY, _SECONDS = 4 << 30, 15  # of that process; more for large files
_BYTES_A_SECOND = 1_000_000


def run_itk(task: str, path: Path, size: int, what: str) -> Any:
    """Run a task of ITK in another process, within bounds on its memory and its time.

    Parameters
    ----------
    task : {"voxels", "transform"}
        "voxels" reads the files n.dcm of a folder and writes each as n.npy. "transform" describes
        the transform in a file.
    path : Path
        The folder or file.
    size : int
        Bytes that are read; the bounds grow with them.
    what : str
        What is read, for messages.

    Returns
    -------
    object
        The task's answer: None, or what `describe_transform`
        returns.

    Raises
    ------
    InputError
        If the process ends without an answer, or takes longer than its bound.
    """
    from sacbnet.errors import InputError  # not needed in the process that reads

    limit = _SECONDS + size / _BYTES_A_SECOND
    command = [sys.executable, "-P", __file__, task, str(path), str(_MEMORY + 4 * size)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limit, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{what} cannot be read within {limit:.0f} seconds; the file is damaged"
        ) from error
    answer = done.stdout.splitlines()[-1:] if done.returncode == 0 else []
    if not answer:
        raise InputError(f"{what} cannot be read by ITK; the file is damaged or of another format")
    return json.loads(answer[0])


def _voxels(folder: str) -> None:
    import numpy as np

    for file in sorted(Path(folder).glob("*.dcm")):
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        np.save(file.with_suffix(".npy"), sitk.GetArrayFromImage(reader.Execute()))


def describe_transform(path: str) -> dict[str, Any]:
    """Read a transform with ITK.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    dict
        "dimension"; "linear"; "name" of the transform's kind; "corners": where a linear 3-D
        transform takes 0 and the ends of the three axes, in LPS.

    Raises
    ------
    RuntimeError
        If ITK cannot read the file.
    """
    transform = sitk.ReadTransform(path)
    linear, corners = transform.IsLinear(), []
    if linear and transform.GetDimension() == 3:
        points = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        corners = [list(transform.TransformPoint(point)) for point in points]
    return {
        "dimension": transform.GetDimension(),
        "linear": linear,
        "name": transform.GetName(),
        "corners": corners,
    }


def _main() -> None:
    task, path, memory = sys.argv[1:]
    process = psutil.Process()
    if hasattr(process, "rlimit"):  # on Linux
        process.rlimit(psutil.RLIMIT_AS, (int(memory), int(memory)))
        process.rlimit(psutil.RLIMIT_CORE, (0, 0))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    print(json.dumps({"voxels": _voxels, "transform": describe_transform}[task](path)))


if __name__ == "__main__":
    _main()
