"""Legacy VTK and STL meshes. Only the vertices are replaced; all other bytes stay.

Neither format has a place for the frame. 3D Slicer writes "SPACE=LPS" or "SPACE=RAS" into the
header. Without it, LPS is assumed, as ITK and newer versions of 3D Slicer do.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.io.surfaces import Frame, Surface, SurfaceFormat, Vertices

_SPACE = re.compile(rb"SPACE=(LPS|RAS)")
_VTK_POINTS = re.compile(rb"^POINTS[ \t]+(\d+)[ \t]+(float|double)[ \t]*\r?\n", re.MULTILINE)
_VERTEX = re.compile(rb"(\bvertex[ \t]+)(\S+)[ \t]+(\S+)[ \t]+(\S+)")
_FACET = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("more", "<u2")])


def _frame(head: bytes, path: Path) -> tuple[Frame, bool, tuple[str, ...]]:
    """The frame in a header, whether the header states it, and a note if not."""
    found = _SPACE.search(head)
    if found is not None:
        return ("LPS" if found[1] == b"LPS" else "RAS"), True, ()
    told = f"{path} states no frame; its vertices are taken as LPS (--frame RAS if they are RAS)"
    return "LPS", False, (told,)


class Vtk(SurfaceFormat):
    """Legacy VTK files, ASCII or binary."""

    suffixes = (".vtk",)
    written = suffixes

    @override
    def read(self, path: Path) -> Surface:
        """Find the vertices between the other bytes."""
        content = path.read_bytes()
        lines = content.split(b"\n", 3)
        found = _VTK_POINTS.search(content)
        if not content.startswith(b"# vtk DataFile") or found is None or len(lines) < 4:
            raise InputError(
                f"{path} is no legacy VTK file with vertices (POINTS n float); save it as legacy"
                " VTK"
            )
        count, start = 3 * int(found[1]), found.end()
        if lines[2].strip() == b"BINARY":
            kind = ">f4" if found[2] == b"float" else ">f8"
            end = start + count * np.dtype(kind).itemsize
            vertices = np.frombuffer(content[start:end], kind).astype(np.float64)
        else:
            words = list(re.finditer(rb"\S+", content[start : start + 64 * count + 64]))[:count]
            vertices = np.array([float(word[0]) for word in words])
            end = start + (words[-1].end() if words else 0)
        if vertices.size != count:
            raise InputError(f"{path} is cut short: {vertices.size} of {count} numbers are there")

        def rebuild(moved: Vertices) -> bytes:
            if lines[2].strip() == b"BINARY":
                middle = moved.astype(kind).tobytes()
            else:
                middle = b"\n".join(b"%.9g %.9g %.9g" % tuple(row) for row in moved.tolist())
            return content[:start] + middle + content[end:]

        frame, stated, notes = _frame(lines[1], path)
        if re.search(rb"^NORMALS ", content[end:], re.MULTILINE):
            notes += (f"the normals in {path} are not turned; compute them again",)
        return Surface(vertices.reshape(-1, 3), frame, stated, rebuild, notes)


class Stl(SurfaceFormat):
    """STL files, ASCII or binary. The normals are computed anew."""

    suffixes = (".stl",)
    written = suffixes

    @override
    def read(self, path: Path) -> Surface:
        """Read the corners of all triangles."""
        content = path.read_bytes()
        frame, stated, notes = _frame(content[:80], path)
        count = int.from_bytes(content[80:84], "little") if len(content) >= 84 else -1
        if len(content) == 84 + count * _FACET.itemsize:
            facets = np.frombuffer(content[84:], _FACET)
            vertices = facets["vertices"].reshape(-1, 3).astype(np.float64)

            def binary(moved: Vertices) -> bytes:
                out = facets.copy()
                out["vertices"] = moved.reshape(-1, 3, 3)
                out["normal"] = _normals(moved)
                return content[:84] + out.tobytes()

            return Surface(vertices, frame, stated, binary, notes)
        found = list(_VERTEX.finditer(content))
        whole = content.lstrip().startswith(b"solid") and b"endsolid" in content
        if not whole or not found or len(found) % 3:
            raise InputError(f"{path} is no STL file, or it is cut short; save it again")
        vertices = np.array([[float(word) for word in m.groups()[1:]] for m in found])

        def text(moved: Vertices) -> bytes:
            rows = iter(moved.tolist())
            put = _VERTEX.sub(lambda m: m[1] + b"%.9g %.9g %.9g" % tuple(next(rows)), content)
            turned = iter(_normals(moved).tolist())
            return re.sub(
                rb"(\bfacet[ \t]+normal)[^\r\n]*",
                lambda m: m[1] + b" %.6g %.6g %.6g" % tuple(next(turned)),
                put,
            )

        return Surface(vertices, frame, stated, text, notes)


def _normals(vertices: Vertices) -> Vertices:
    """Unit normals (n, 3) of triangles (3 n, 3), by the right-hand rule; 0 for a flat one."""
    a, b, c = np.moveaxis(vertices.reshape(-1, 3, 3), 1, 0)
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(np.divide(normal, length, out=np.zeros_like(normal), where=length > 0))
