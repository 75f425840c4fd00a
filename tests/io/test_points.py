"""Points: CSV of ANTs, markups of 3D Slicer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.points import Points
from sacbnet.io.points import load_points, save_points
from sacbnet.io.transforms import save_affine
from sacbnet.spatial.transforms import Affine

from .. import ants

LPS = np.array([-1.0, -1.0, 1.0])
XYZ = np.array([[1.5, -2.25, 3.0], [0.0, 1e-7, 123.456789]])
NAMED = Points(
    XYZ,
    ("left, upper", 'the "apex"'),
    {"comment": ("", "été"), "id": ("7", "9"), "weight": ("0.5", "x")},
)


def _same(a: Points, b: Points) -> bool:
    return np.array_equal(a.xyz, b.xyz) and a.labels == b.labels


def test_csv_keeps_everything(tmp_path):
    save_points(tmp_path / "a.csv", NAMED)
    again = load_points(tmp_path / "a.csv")
    assert _same(again, NAMED) and dict(again.columns) == {"t": ("0", "0"), **NAMED.columns}
    save_points(tmp_path / "b.csv", again)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "x,y,z,t,label,comment,id,weight"
    assert lines[1] == '-1.5,2.25,3.0,0,"left, upper",,7,0.5'  # LPS
    assert lines[2].startswith("0.0,-1e-07,123.456789,")


def test_slicer_markups_keep_labels_ids_and_descriptions(tmp_path):
    save_points(tmp_path / "a.mrk.json", NAMED)
    again = load_points(tmp_path / "a.mrk.json")
    assert _same(again, NAMED) and dict(again.columns) == {
        k: NAMED.columns[k] for k in ("comment", "id")
    }
    document = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))
    markup = document["markups"][0]
    assert "markups-schema-v1" in document["@schema"]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == (
        "Fiducial",
        "LPS",
        "mm",
    )
    assert markup["controlPoints"][0]["position"] == [-1.5, 2.25, 3.0]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            *[st.floats(-1e4, 1e4)] * 3,
            st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
        ),
        min_size=1,
        max_size=5,
    ),
    extension=st.sampled_from([".csv", ".mrk.json"]),
)
def test_any_points_round_trip(tmp_path, rows, extension):
    points = Points(np.array([r[:3] for r in rows]), tuple(r[3] for r in rows))
    save_points(tmp_path / f"a{extension}", points)
    assert _same(load_points(tmp_path / f"a{extension}"), points)


@pytest.mark.parametrize(
    "frame, signs", [("LPS", LPS), (1, LPS), ("1", LPS), ("RAS", 1), (0, 1), ("0", 1), (None, LPS)]
)
def test_markups_in_either_frame(tmp_path, frame, signs):
    markup = {"type": "Fiducial", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}
    if frame is not None:
        markup["coordinateSystem"] = frame
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [markup]}))
    points = load_points(tmp_path / "a.mrk.json")
    assert np.array_equal(points.xyz[0], np.array([1, 2, 3]) * signs) and points.labels == ("a",)


@pytest.mark.parametrize(
    "frame, signs", [("LPS", LPS), ("1", LPS), ("RAS", 1), ("0", 1), (None, 1)]
)
def test_fcsv_in_either_frame(tmp_path, frame, signs):
    head = "# Markups fiducial file version = 4.11\n" + (
        f"# CoordinateSystem = {frame}\n" if frame else ""
    )
    head += "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    rows = "vtk_0,1,2,3,0,0,0,1,1,1,0,F-1,apex,vtkNode\nvtk_1,4,5,6,0,0,0,1,1,1,0,F-2\n"
    (tmp_path / "a.fcsv").write_text(head + rows)
    points = load_points(tmp_path / "a.fcsv")
    assert np.array_equal(points.xyz, np.array([[1, 2, 3], [4, 5, 6]]) * signs)
    assert points.labels == ("F-1", "F-2")
    assert dict(points.columns) == {"id": ("vtk_0", "vtk_1"), "comment": ("apex", "")}


def test_csv_of_other_programs(tmp_path):
    # Excel: mark, CRLF
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfName,Z,Y,X\r\nfoo,3,2,1\r\n\r\nbar,6,5,4\r\n")
    points = load_points(tmp_path / "a.csv")
    assert np.array_equal(points.xyz, np.array([[1, 2, 3], [4, 5, 6]]) * LPS)
    assert points.labels == ("1", "2") and dict(points.columns) == {"Name": ("foo", "bar")}
    (tmp_path / "b.csv").write_text("# x,y,z\n1,2,3\n")  # numpy.savetxt
    assert len(load_points(tmp_path / "b.csv").xyz) == 1


def test_ants_reads_our_csv_and_we_read_its(tmp_path):
    """The program itself, not its Python wrapper: it maps points by the file, without inversion."""
    affine = Affine(np.array([[1, 0.1, 0, 5], [0, 1.2, 0, -6], [0.3, 0, 1, 7], [0, 0, 0, 1.0]]))
    save_affine(tmp_path / "a.mat", affine)
    points = Points(XYZ, ("3", "4"))
    save_points(tmp_path / "a.csv", points)
    files = ["-i", f"{tmp_path}/a.csv", "-o", f"{tmp_path}/b.csv", "-t", f"{tmp_path}/a.mat"]
    ants.run("antsApplyTransformsToPoints", "-d", 3, *files, "--precision", 1)
    moved = load_points(tmp_path / "b.csv")
    assert np.abs(moved.xyz - affine(points.xyz)).max() < 1e-4
    assert moved.labels == ("3", "4")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.csv", "", "is empty; points were expected"),
        ("a.csv", "x,y,z\n", "holds a header and no points"),
        ("a.csv", "x,y,label\n1,2,3\n", r"has no column z \(its header: x,y,label\)"),
        ("a.csv", "x;y;z\n1;2;3\n", r"has no column x, y, z"),
        ("a.csv", "x,y,z\n1,2,3\n1,two,3\n", "line 3, holds 'two' as a coordinate"),
        ("a.csv", "x,y,z\n1,nan,3\n", "line 2, holds 'nan' as a coordinate"),
        ("a.csv", "x,y,z\n1,2\n", "line 2, has 2 values; its header names 3"),
        ("a.csv", "x,y,z,a,A\n1,2,3,4,5\n", "two columns of one name"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read as text"),
        ("a.mrk.json", "{", "not a markups file"),
        ("a.mrk.json", "[]", "not a markups file"),
        ("a.mrk.json", '{"markups": []}', "holds nothing"),
        ("a.mrk.json", '{"markups": [{"type": "Curve"}]}', "holds Curve; one list of points"),
        (
            "a.mrk.json",
            '{"markups": [{"type": "Fiducial"}, {"type": "Fiducial"}]}',
            "holds Fiducial, Fiducial",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"type": "Fiducial", "controlPoints": []}]}',
            "holds no points",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}',
            "three numbers were expected",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"position": [1, 2, "c"]}]}]}',
            "point 1, holds 'c'",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"positionStatus": "undefined"}]}]}',
            "1 points that are",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"coordinateSystem": "IJK", "controlPoints": [{}]}]}',
            "coordinate system 'IJK'",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"coordinateUnits": "um", "controlPoints": [{}]}]}',
            "is in um; mm was expected",
        ),
        ("a.fcsv", "# CoordinateSystem = 2\n", "coordinate system ' 2'"),
        ("a.fcsv", "# CoordinateSystem = LPS\n", "no points"),
        ("a.xls", "x", "unknown format"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, text, words):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=words) as caught:
        load_points(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_and_bad_values(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_points(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"\(n, 3\)"):
        Points(np.zeros((3, 2)))
    with pytest.raises(InputError, match="NaN"):
        Points(np.full((1, 3), np.nan))
    with pytest.raises(InputError, match="'label' of the points has 1 entries for 2 points"):
        Points(XYZ, ("a",))
    with pytest.raises(OutputError, match=r"one of \.csv, \.mrk\.json, \.json was expected"):
        save_points(tmp_path / "a.fcsv", NAMED)
