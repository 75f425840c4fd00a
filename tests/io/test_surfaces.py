"""Surface meshes: the vertices go where SimpleITK says, and nothing else changes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.points import Points
from sacbnet.io.surfaces import is_surface, load_surface, save_surface
from sacbnet.io.transforms import save_displacement
from sacbnet.registration.given import route_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField

GRID = Grid((20, 22, 24), np.diag([-2.0, -2.0, 2.0, 1.0]))
LPS = np.array([-1.0, -1.0, 1.0])
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [1, 3, 2]])
# RAS; well inside the grid
CORNERS = GRID.centre + np.array([[0, 0, 0], [6, 1, 0], [1, 7, 2], [2, 1, 8.0]])


def wavy() -> DisplacementField:
    def moved(p):
        q = (p - GRID.centre) / 6
        return p + np.stack([np.sin(q[..., 1]), np.cos(q[..., 2]), np.sin(q[..., 0])], -1)

    return DisplacementField.from_map(moved, GRID)


def gifti(path) -> None:
    points = nib.gifti.GiftiDataArray(CORNERS.astype(np.float32), "NIFTI_INTENT_POINTSET")
    faces = nib.gifti.GiftiDataArray(TRIANGLES.astype(np.int32), "NIFTI_INTENT_TRIANGLE")
    nib.save(nib.gifti.GiftiImage(darrays=[points, faces]), path)


def vtk(path, binary: bool, title: str = "vtk output SPACE=LPS", more: bytes = b"") -> None:
    values = CORNERS * (LPS if "SPACE=RAS" not in title else 1)
    head = f"# vtk DataFile Version 4.2\n{title}\n{'BINARY' if binary else 'ASCII'}\n"
    head += "DATASET POLYDATA\nPOINTS 4 float\n"
    faces = np.hstack([np.full((3, 1), 3), TRIANGLES])
    if binary:
        body = values.astype(">f4").tobytes() + b"\nPOLYGONS 3 12\n"
        body += faces.astype(">i4").tobytes() + b"\n"
    else:
        numbers = " ".join(f"{x:.6f}" for x in values.ravel())
        body = f"{numbers} \n\nPOLYGONS 3 12\n".encode()
        body += "\n".join(" ".join(map(str, row)) for row in faces).encode() + b"\n"
    path.write_bytes(head.encode() + body + more)


def stl(path, binary: bool) -> None:
    corners = (CORNERS * LPS)[TRIANGLES].astype(np.float32)
    if binary:
        facets = b"".join(np.zeros(3, "<f4").tobytes() + t.tobytes() + b"\7\0" for t in corners)
        head = b"binary SPACE=LPS".ljust(80, b" ")
        path.write_bytes(head + (3).to_bytes(4, "little") + facets)
        return
    lines = ["solid SPACE=LPS"]
    for t in corners:
        lines += ["facet normal 0 0 0", " outer loop"]
        lines += [f"  vertex {x:e} {y:e} {z:e}" for x, y, z in t]
        lines += [" endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid"]))


MAKERS = {
    "a.surf.gii": gifti,
    "text.vtk": lambda path: vtk(path, False),
    "binary.vtk": lambda path: vtk(path, True),
    "ras.vtk": lambda path: vtk(path, True, "surface SPACE=RAS"),
    "text.stl": lambda path: stl(path, False),
    "binary.stl": lambda path: stl(path, True),
}


@pytest.mark.parametrize("name", MAKERS)
def test_vertices_go_where_simpleitk_says(tmp_path, name):
    MAKERS[name](tmp_path / name)
    assert is_surface(tmp_path / name)
    mesh = load_surface(tmp_path / name)
    expected = CORNERS if not name.endswith("stl") else CORNERS[TRIANGLES].reshape(-1, 3)
    assert mesh.stated and np.abs(mesh.xyz - expected).max() < 1e-4
    save_displacement(tmp_path / "u.nii", wavy())
    moved, outside = route_of([tmp_path / "u.nii"]).points(Points(mesh.xyz))
    assert outside == 0
    out = tmp_path / f"moved_{name}"
    save_surface(out, tmp_path / name, mesh, moved.xyz)
    again = load_surface(out)
    # from the data back to the reference: SimpleITK's transform leads to where they were
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "u.nii"), sitk.sitkVectorFloat64)
    )
    there = np.array([transform.TransformPoint((p * LPS).tolist()) for p in again.xyz]) * LPS
    assert np.abs(there - mesh.xyz).max() < 1e-3 and np.abs(again.xyz - mesh.xyz).max() > 0.3
    assert again.frame == mesh.frame
    # the same vertices give the same file, but for the normals of STL and the digits of text
    if name in ("binary.vtk", "ras.vtk"):
        assert mesh.written(mesh.xyz) == (tmp_path / name).read_bytes()


def test_everything_else_stays(tmp_path):
    gifti(tmp_path / "a.gii")
    mesh = load_surface(tmp_path / "a.gii")
    save_surface(tmp_path / "b.gii", tmp_path / "a.gii", mesh, mesh.xyz + 1)
    b = nib.load(tmp_path / "b.gii")
    assert (b.get_arrays_from_intent("NIFTI_INTENT_TRIANGLE")[0].data == TRIANGLES).all()
    assert np.abs(load_surface(tmp_path / "a.gii").xyz - CORNERS).max() < 1e-4
    more = b"POINT_DATA 4\nSCALARS depth int 1\nLOOKUP_TABLE default\n1 2 3 4\n"
    vtk(tmp_path / "a.vtk", False, more=more)
    mesh = load_surface(tmp_path / "a.vtk")
    save_surface(tmp_path / "b.vtk", tmp_path / "a.vtk", mesh, mesh.xyz + 1)
    text = (tmp_path / "b.vtk").read_bytes()
    assert text.endswith(more) and b"POLYGONS 3 12" in text
    stl(tmp_path / "a.stl", True)
    mesh = load_surface(tmp_path / "a.stl")
    content = mesh.written(mesh.xyz)
    facets = np.frombuffer(content[84:], [("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")])
    assert (facets["a"] == 7).all() and np.allclose(np.linalg.norm(facets["n"], axis=1), 1)
    corner = facets["v"]
    assert np.abs((facets["n"] * (corner[:, 1] - corner[:, 0])).sum(1)).max() < 1e-4


def test_what_a_user_should_know_is_said(tmp_path):
    vtk(tmp_path / "a.vtk", True, "vtk output", b"POINT_DATA 4\nNORMALS n float\n")
    mesh = load_surface(tmp_path / "a.vtk")
    assert not mesh.stated and mesh.frame == "LPS"
    assert "states no frame" in mesh.notes[0] and "normals" in mesh.notes[1]
    gifti(tmp_path / "a.gii")
    image = nib.load(tmp_path / "a.gii")
    for name, value in zip("RAS", ("5.0", "-17", "19"), strict=True):
        image.darrays[0].meta[f"VolGeomC_{name}"] = value
    nib.save(image, tmp_path / "fs.gii")
    assert "mris_convert --to-scanner" in load_surface(tmp_path / "fs.gii").notes[0]


def test_damaged_meshes_are_said(tmp_path):
    for name, make in MAKERS.items():
        make(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(whole[: len(whole) // 3])
        with pytest.raises(InputError) as caught:
            load_surface(tmp_path / f"cut_{name}")
        assert f"cut_{name}" in str(caught.value)
    nib.save(nib.gifti.GiftiImage(), tmp_path / "none.gii")
    with pytest.raises(InputError, match="holds 0 sets of vertices"):
        load_surface(tmp_path / "none.gii")
    with pytest.raises(InputError, match="no surface mesh"):
        load_surface(tmp_path / "nowhere.vtk")
    mesh = load_surface(tmp_path / "text.vtk")
    with pytest.raises(OutputError, match=r"keeps its format; \.vtk was expected"):
        save_surface(tmp_path / "x.stl", tmp_path / "text.vtk", mesh, mesh.xyz)
