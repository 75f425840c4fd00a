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


def run_itk(task: str, path: Path, size: int, what: str, folder: Path | None = None) -> Any:
    """Run a task of ITK in another process, within bounds on its memory and its time.

    Parameters
    ----------
    task : {"voxels", "transform"}
        "voxels" reads the files n.dcm of a folder and writes each as n.npy. "transform" takes the
        transform in a file apart.
    path : Path
        The folder or file.
    size : int
        Bytes that are read; the bounds grow with them.
    what : str
        What is read, for messages.
    folder : Path or None, default None
        Folder for what "transform" writes.

    Returns
    -------
    object
        The task's answer: None, or what `take_apart` returns.

    Raises
    ------
    InputError
        If the process ends without an answer, or takes longer than its bound.
    """
    from sacbnet.errors import InputError  # not needed in the process that reads

    limit = _SECONDS + size / _BYTES_A_SECOND
    memory = str(_MEMORY + 12 * size)
    command = [sys.executable, "-P", __file__, task, str(path), memory, str(folder or "")]
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
    linear = transform.IsLinear()
    corners = _corners(transform) if linear and transform.GetDimension() == 3 else []
    return {
        "dimension": transform.GetDimension(),
        "linear": linear,
        "name": transform.GetName(),
        "corners": corners,
    }


def take_apart(path: str, folder: str) -> dict[str, Any]:
    """Read a transform with ITK and list what it consists of.

    Parameters
    ----------
    path : str
        The file.
    folder : str
        Where the voxels of displacement fields are written, as n.npy (k, j, i, 3). If the folder
        holds grid.json (size, origin, spacing, direction), the whole of a transform that is neither
        linear nor a field is sampled there.

    Returns
    -------
    dict
        "dimension"; "name" of the kind; "parts", outermost first: of linear ones the "corners" (see
        `describe_transform`); of fields the "file", "origin", "spacing" and "direction" (LPS); of
        others the "kind" alone.
    """
    import numpy as np

    transform = sitk.ReadTransform(path)
    found: dict[str, Any] = {
        "dimension": transform.GetDimension(),
        "name": transform.GetName(),
        "parts": [],
    }
    if transform.GetDimension() != 3:
        return found

    def field(image: sitk.Image) -> dict[str, Any]:
        name = f"{len(os.listdir(folder))}.npy"
        np.save(Path(folder, name), sitk.GetArrayViewFromImage(image).astype(np.float32))
        geometry = ("GetOrigin", "GetSpacing", "GetDirection")
        return {"file": name} | {g[3:].lower(): list(getattr(image, g)()) for g in geometry}

    flat = _flat(transform)
    kinds = [_kind(part) for part in flat]
    grid = Path(folder, "grid.json")
    if "other" in kinds and grid.is_file():
        g = json.loads(grid.read_text())
        where = g["size"], g["origin"], g["spacing"], g["direction"]
        whole = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *where)
        return found | {"parts": [field(whole)]}
    for part, kind in zip(flat, kinds, strict=True):
        if kind == "linear":
            found["parts"].append({"corners": _corners(part)})
        elif kind == "field":
            dense = sitk.DisplacementFieldTransform(part)
            found["parts"].append(field(dense.GetDisplacementField()))
        else:
            found["parts"].append({"kind": part.GetName()})
    return found


def _kind(part: sitk.Transform) -> str:
    if part.IsLinear():
        return "linear"
    return "field" if part.GetTransformEnum() == sitk.sitkDisplacementField else "other"


def _flat(transform: sitk.Transform) -> list[Any]:
    """The parts of a transform, outermost first: the last one of a composite is applied first."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform]
    whole = sitk.CompositeTransform(transform)
    count = whole.GetNumberOfTransforms()
    return [part for n in range(count) for part in _flat(whole.GetNthTransform(n))]


def _corners(linear: sitk.Transform) -> list[list[float]]:
    points = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return [list(linear.TransformPoint(point)) for point in points]


def _main() -> None:
    task, path, memory, folder = sys.argv[1:]
    process = psutil.Process()
    if hasattr(process, "rlimit"):  # on Linux
        process.rlimit(psutil.RLIMIT_AS, (int(memory), int(memory)))
        process.rlimit(psutil.RLIMIT_CORE, (0, 0))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if task == "voxels":
        _voxels(path)
        print("null")
    else:
        print(json.dumps(take_apart(path, folder)))


if __name__ == "__main__":
    _main()
