"""DICOM files as scanners and archives really write them: read right, or refused with the reason.

The files are written here by pydicom, the numbers that are expected come from the arrays.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset

from sacbnet.errors import InputError
from sacbnet.io.images import load_image, load_reference

RNG = np.random.default_rng(0)
SLICES = RNG.integers(1, 900, (5, 7, 6)).astype(np.uint16)
LARGE = RNG.integers(1, 900, (5, 64, 72)).astype(np.int16) - 400  # for ITK's encoders
ROWS = [1, 0, 0, 0, 1, 0]
MR, ENHANCED, DOSE, NM = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4", "4.1", "481.2", "20"))


def _item(**values) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _save(path, pixels, sop=MR, number=1, lacks=(), syntax="1.2.840.10008.1.2.1", **values):
    """One file: pixels (rows, columns) or (frames, rows, columns)."""
    signed = pixels.dtype.kind == "i"
    bits = pixels.dtype.itemsize * 8
    values = {
        "SOPClassUID": sop,
        "SOPInstanceUID": f"1.2.3.4.{number}",
        "SeriesInstanceUID": "1.2.3.7",
        "StudyInstanceUID": "1.2.3.6",
        "Modality": "MR",
        "InstanceNumber": number,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "PixelData": pixels.tobytes(),
    } | values
    if pixels.ndim == 3:
        values["NumberOfFrames"] = len(pixels)
    data = _item(**{k: v for k, v in values.items() if k not in lacks})
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = sop
    data.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    data.save_as(path, enforce_file_format=True)
    return path


def _series(folder, slices=SLICES, heights=None, change=None, **values):
    """One file for each slice, 0.8 x 1.5 mm; `change(n)` gives values of slice n."""
    folder.mkdir(exist_ok=True)
    heights = np.arange(len(slices)) * 2.0 if heights is None else heights
    for n, (pixels, height) in enumerate(zip(slices, heights, strict=True)):
        own = {
            "ImagePositionPatient": [-5, -6, height],
            "ImageOrientationPatient": ROWS,
            "PixelSpacing": [1.5, 0.8],
        }
        _save(folder / f"{n:03d}.dcm", pixels, number=n + 1, **own | values | (change or dict)(n=n))
    return folder


def _enhanced(path, slices, heights, slopes=None, more=None, shared=None, **values):
    """One file with all slices, as enhanced MR; `more(n)` gives groups of frame n."""
    per = []
    for n, height in enumerate(heights):
        groups = {"PlanePositionSequence": [_item(ImagePositionPatient=[-5, -6, float(height)])]}
        if slopes is not None:
            transform = _item(RescaleSlope=slopes[n], RescaleIntercept=-n, RescaleType="US")
            groups["PixelValueTransformationSequence"] = [transform]
        per.append(_item(**groups | (more(n) if more else {})))
    common = {
        "PixelMeasuresSequence": [_item(PixelSpacing=[1.5, 0.8], SliceThickness=2.0)],
        "PlaneOrientationSequence": [_item(ImageOrientationPatient=ROWS)],
    }
    values |= {
        "SharedFunctionalGroupsSequence": [_item(**common if shared is None else shared)],
        "PerFrameFunctionalGroupsSequence": per,
    }
    return _save(path, slices, ENHANCED, **values)


def _affine(step=2.0, across=0.8, down=1.5):
    return np.array([[-across, 0, 0, 5], [0, -down, 0, 6], [0, 0, step, 0], [0, 0, 0, 1]])


def _is(image, slices, affine=None, atol=1e-4):
    expected = np.asarray(slices).transpose(2, 1, 0)
    assert image.data.shape == expected.shape
    assert np.allclose(image.data, expected, rtol=1e-6, atol=atol)
    assert np.allclose(image.grid.affine, _affine() if affine is None else affine, atol=1e-6)


def _refused(source, words):
    with pytest.raises(InputError, match=words) as raised:
        load_image(source)
    assert len(str(raised.value)) <= 300 and "\n" not in str(raised.value)


# -- slopes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("slopes", "intercepts"),
    [
        ([1, 0.001, 0.001, 0.5, 0.001], [0] * 5),
        ([1] * 5, [0, -1024, -1024, -2000, 7]),
        ([2.5, 1, 1, 1, 1], [0.25, 0, 0, -3, 0]),
        ([-1, 1, 2, 3, 4], [0] * 5),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_each_slice_has_its_own_slope(tmp_path, slopes, intercepts, signed):
    slices = (SLICES.astype(np.int16) - 400) if signed else SLICES

    def change(n):
        return {"RescaleSlope": slopes[n], "RescaleIntercept": intercepts[n]}

    image = load_image(_series(tmp_path / "a", slices, change=change))
    expected = slices * np.reshape(slopes, (5, 1, 1)) + np.reshape(intercepts, (5, 1, 1))
    _is(image, expected)
    assert image.warnings == ()


def test_each_frame_has_its_own_slope(tmp_path):
    slopes = [1, 0.5, 0.25, 3, 1]
    path = _enhanced(tmp_path / "a.dcm", SLICES, [0, 2, 4, 6, 8], slopes)
    _is(load_image(path), SLICES * np.reshape(slopes, (5, 1, 1)) - np.reshape(range(5), (5, 1, 1)))


def _compressed(folder, slopes, compressor):
    """The slices LARGE, compressed by ITK, each with its slope and the intercept -3."""
    _series(folder, LARGE)
    for n, slope in enumerate(slopes):
        writer, plain = sitk.ImageFileWriter(), folder / f"{n:03d}.dcm"
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(str(folder.parent / "packed.dcm"))
        writer.Execute(sitk.GetImageFromArray(LARGE[n][None]))
        packed, data = pydicom.dcmread(folder.parent / "packed.dcm"), pydicom.dcmread(plain)
        assert packed.file_meta.TransferSyntaxUID.is_compressed
        data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        data.PixelData, data.RescaleSlope, data.RescaleIntercept = packed.PixelData, slope, -3
        data["PixelData"].VR = "OB"
        data.save_as(plain)
    return folder


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_slices_have_their_own_slopes(tmp_path, compressor):
    """ITK reads the voxels; the slope is not applied twice and does not decide the type."""
    slopes = [1, 0.001, 0.5, 2, 1]
    image = load_image(_compressed(tmp_path / "a", slopes, compressor))
    _is(image, LARGE * np.reshape(slopes, (5, 1, 1)) - 3)


def test_a_damaged_compressed_slice_does_not_end_the_process(tmp_path):
    folder = _compressed(tmp_path / "a", [1] * 5, "JPEG2000")
    data = pydicom.dcmread(folder / "002.dcm")
    data.PixelData = data.PixelData[:60] + RNG.bytes(len(data.PixelData) - 60)
    data["PixelData"].VR = "OB"
    data.save_as(folder / "002.dcm")
    _refused(folder, "the compressed voxels of .* cannot be read")


@pytest.mark.parametrize("packed", [False, True])
def test_values_that_are_shown_inverted_are_not_changed(tmp_path, packed):
    """MONOCHROME1 says how values are shown, not what they are."""
    folder = tmp_path / "a"
    _compressed(folder, [1] * 5, "JPEG") if packed else _series(folder)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.PhotometricInterpretation = "MONOCHROME1"
        data.save_as(file)
    _is(load_image(folder), LARGE - 3 if packed else SLICES)


def test_bits_above_those_in_use_do_not_count(tmp_path):
    slices = SLICES | 0xF000
    image = load_image(_series(tmp_path / "a", slices, BitsStored=12, HighBit=11))
    _is(image, SLICES)


# -- order and volumes ----------------------------------------------------------------------------
@pytest.mark.parametrize("order", [[0, 2, 4, 1, 3], [4, 3, 2, 1, 0]])
def test_frames_in_any_order(tmp_path, order):
    path = _enhanced(tmp_path / "a.dcm", SLICES[order], [2 * n for n in order])
    image = load_image(path)
    _is(image, SLICES)
    assert image.warnings == ()


def test_files_in_any_order(tmp_path):
    order = [3, 1, 4, 0, 2]
    _is(load_image(_series(tmp_path / "a", SLICES[order], [2.0 * n for n in order])), SLICES)


def test_several_volumes_in_one_file(tmp_path):
    def echo(n):
        return {"MREchoSequence": [_item(EffectiveEchoTime=10.0 * (1 + n % 2))]}

    slices = np.repeat(SLICES, 2, axis=0)
    path = _enhanced(tmp_path / "a.dcm", slices, np.repeat(np.arange(5) * 2, 2), more=echo)
    _refused(path, "several slices at one position .several volumes that differ in EffectiveEcho")
    reference = load_reference(path)
    assert reference.grid.shape == (6, 7, 5) and np.allclose(reference.grid.affine, _affine())


def test_two_volumes_between_each_other(tmp_path):
    """Arterial and venous phase in one series: the heights alone look like a fine volume."""
    heights = [0, 2, 4, 0.7, 2.7, 4.7]

    def phase(n):
        return {"AcquisitionNumber": 1 + n // 3}

    _refused(
        _series(tmp_path / "a", np.repeat(SLICES[:3], 2, axis=0), heights, phase),
        "several slices between each other",
    )


def test_slices_acquired_in_two_passes_are_one_volume(tmp_path):
    def number(n):
        return {"AcquisitionNumber": 1 + n % 2, "ImageType": ["ORIGINAL", "PRIMARY"]}

    _is(load_image(_series(tmp_path / "a", change=number)), SLICES)


def test_copies_of_a_slice_count_once(tmp_path):
    folder = _series(tmp_path / "a")
    (folder / "copy.dcm").write_bytes((folder / "002.dcm").read_bytes())
    _is(load_image(folder), SLICES)


def test_frames_that_are_times(tmp_path):
    path = _save(
        tmp_path / "a.dcm",
        SLICES,
        FrameIncrementPointer=0x00181063,
        PixelSpacing=[1, 1],
        SliceThickness=1,
    )
    _refused(path, "differ in time")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_utf_8(tmp_path):
    _is(load_image(_series(Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff")))), SLICES)


# -- mixed series ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "several orientations"),
        ({"PixelSpacing": [3.0, 0.8]}, "several pixel spacings"),
        ({"ImagePositionPatient": [20, -6, 8]}, "shifted against each other"),
        ({"lacks": ("ImagePositionPatient",)}, "does not give the position of 1 of its 5 slices"),
        ({"Rows": 3, "Columns": 14}, r"several sizes \(4 of 6 × 7, 1 of 14 × 3 pixels"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "holds colours"),
        ({"ImagePositionPatient": [0, 0]}, "holds 2 numbers as ImagePositionPatient"),
        ({"PixelData": bytes(10)}, "cannot be read"),
        ({"lacks": ("PixelData",)}, "no voxels|cannot be read"),
    ],
)
def test_one_slice_that_is_another(tmp_path, change, words):
    folder = _series(tmp_path / "a", change=lambda n: change if n == 4 else {})
    _refused(folder, words)


def test_a_slope_that_is_no_number(tmp_path):
    folder = _series(tmp_path / "a", RescaleSlope="12345.5", RescaleIntercept=0)
    file = folder / "002.dcm"
    file.write_bytes(file.read_bytes().replace(b"12345.5", b"1234x.5"))
    _refused(folder, "holds no numbers as RescaleSlope")


def test_objects_without_an_image_do_not_count(tmp_path):
    """RTSTRUCT files lie beside the slices of a CT."""
    folder = _series(tmp_path / "a")
    lacks, structures = ("Rows", "Columns", "PixelData"), "1.2.840.10008.5.1.4.1.1.481.3"
    _save(folder / "rs.dcm", SLICES[0], structures, lacks=lacks, SeriesInstanceUID="1.2.9")
    (folder / "DICOMDIR.txt").write_text("no DICOM")
    _is(load_image(folder), SLICES)


@pytest.mark.parametrize("length", [140, 200, 600])
def test_a_slice_that_is_cut_short_is_not_left_out(tmp_path, length):
    folder = _series(tmp_path / "a")
    file = folder / "004.dcm"
    assert len(file.read_bytes()) > length
    file.write_bytes(file.read_bytes()[:length])
    _refused(folder, r"004\.dcm")


def test_compressed_voxels_of_another_size(tmp_path):
    folder = _compressed(tmp_path / "a", [1] * 5, "JPEG")
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.Rows = 60000
        data.save_as(file)
    _refused(folder, "they have 64 × 72 pixels, its header says 60000 × 72")


# -- gaps, tilt, and what is not stated -----------------------------------------------------------
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_gap_is_filled_and_told(tmp_path, enhanced):
    heights = [0, 2, 4, 8, 10]
    if enhanced:
        path = _enhanced(tmp_path / "a.dcm", SLICES, heights)
    else:
        path = _series(tmp_path / "a", SLICES, heights)
    image = load_image(path)
    between = SLICES[2:4].mean(axis=0)[None]
    _is(image, np.concatenate([SLICES[:3], between, SLICES[3:]]))
    assert "slices missing or unevenly spaced (from 2 to 4 mm apart); 1 of 6" in image.warnings[0]


def test_two_thicknesses_keep_every_slice_at_its_place(tmp_path):
    slices = np.arange(7)[:, None, None] * np.ones((1, 7, 6)) + RNG.random((1, 7, 6))
    heights = [0, 1, 2, 3, 5, 7, 9]
    image = load_image(_series(tmp_path / "a", (slices * 1000).astype(np.uint16), heights))
    assert image.grid.shape == (6, 7, 10) and np.allclose(image.grid.affine, _affine(1.0))
    for n, height in enumerate(heights):
        assert np.allclose(image.data[..., height], (slices[n] * 1000).astype(int).T, atol=0.01)


def test_rounded_positions_are_even(tmp_path):
    """0.625 mm, written with one digit."""
    heights = [0.0, 0.6, 1.3, 1.9, 2.5]
    image = load_image(_series(tmp_path / "a", heights=heights))
    _is(image, SLICES, _affine(0.625))
    assert "not quite even (off by up to 0.05 mm)" in image.warnings[0]


def test_a_segmentation_that_leaves_slices_out(tmp_path):
    def segment(n):
        return {"SegmentIdentificationSequence": [_item(ReferencedSegmentNumber=1)]}

    slices = (SLICES > 400).astype(np.uint8)
    path = _enhanced(tmp_path / "a.dcm", slices, [0, 2, 4, 8, 10], more=segment)
    _refused(path, "segmentation that leaves slices out")
    path = _enhanced(tmp_path / "b.dcm", slices, [0, 2, 4, 6, 8], more=segment)
    assert np.array_equal(load_image(path, "labels").data, slices.transpose(2, 1, 0))


def test_the_parts_of_one_object_belong_together(tmp_path):
    (tmp_path / "a").mkdir()
    for n, part in enumerate((slice(0, 2), slice(2, 5))):
        _enhanced(
            tmp_path / "a" / f"{n}.dcm",
            SLICES[part],
            range(0, 10, 2)[part],
            number=n,
            ConcatenationUID="1.2.3.5",
        )
    _is(load_image(tmp_path / "a" / "0.dcm"), SLICES)
    _is(load_image(tmp_path / "a"), SLICES)


def test_scattered_slices_are_refused(tmp_path):
    _refused(_series(tmp_path / "a", heights=[0, 1, 2, 100, 300]), "too many are missing")


def test_a_tilted_gantry_in_one_file(tmp_path):
    def shifted(n):
        position = _item(ImagePositionPatient=[-5, -6 + 0.3 * n, 2.0 * n])
        return {"PlanePositionSequence": [position]}

    image = load_image(_enhanced(tmp_path / "a.dcm", SLICES, range(5), more=shifted))
    expected = _affine()
    expected[1, 2] = -0.3
    _is(image, SLICES, expected)
    assert "tilted gantry" in image.warnings[0]


def test_no_pixel_spacing(tmp_path):
    _refused(_series(tmp_path / "a", lacks=("PixelSpacing",)), "does not state the size of its pix")
    folder = _series(tmp_path / "b", lacks=("PixelSpacing",), ImagerPixelSpacing=[0.5, 0.25])
    image = load_image(folder)
    _is(image, SLICES, _affine(2.0, 0.25, 0.5))
    assert "0.25 × 0.5 mm are taken from its ImagerPixelSpacing" in image.warnings[0]
    _refused(_save(tmp_path / "c.dcm", SLICES), "does not state the size of its pixels")
    shared = {"PlaneOrientationSequence": [_item(ImageOrientationPatient=ROWS)]}
    path = _enhanced(tmp_path / "d.dcm", SLICES, range(5), shared=shared)
    _refused(path, "does not state the size of its pixels")


@pytest.mark.parametrize("spacing", [[0, 1], [-1, 1], [1, 1, 1]])
def test_wrong_pixel_spacing(tmp_path, spacing):
    _refused(_series(tmp_path / "a", PixelSpacing=spacing), "pixel spacing|as PixelSpacing")


def test_no_positions(tmp_path):
    lacks = ("ImagePositionPatient", "ImageOrientationPatient")
    _refused(_series(tmp_path / "a", lacks=lacks), "neither the positions of its slices nor")
    image = load_image(_series(tmp_path / "b", lacks=lacks, SpacingBetweenSlices=3))
    expected = np.diag([-0.8, -1.5, 3, 1])
    _is(image, SLICES, expected)
    assert "does not state its orientation" in image.warnings[0]
    assert "in the order of their numbers, 3 mm apart" in image.warnings[1]
    path = _save(tmp_path / "c.dcm", SLICES, PixelSpacing=[1.5, 0.8], SliceThickness=3)
    assert np.allclose(load_image(path).grid.affine, expected) and len(load_image(path).warnings)


# -- other kinds of objects -----------------------------------------------------------------------
@pytest.mark.parametrize("offsets", [[0, 2, 4, 6, 8], [30, 32, 34, 36, 38]])
def test_dose(tmp_path, offsets):
    path = _save(
        tmp_path / "a.dcm",
        SLICES.astype(np.uint32) * 70000,
        DOSE,
        Modality="RTDOSE",
        ImagePositionPatient=[-5, -6, 30],
        ImageOrientationPatient=ROWS,
        PixelSpacing=[1.5, 0.8],
        GridFrameOffsetVector=offsets,
        FrameIncrementPointer=0x3004000C,
        DoseGridScaling=1e-7,
    )
    expected = _affine()
    expected[2, 3] = 30
    _is(load_image(path), SLICES * 7e-3, expected)


def test_nuclear_medicine(tmp_path):
    order = [0, 2, 4, 1, 3]
    detector = _item(ImagePositionPatient=[-5, -6, 8.0], ImageOrientationPatient=ROWS)
    path = _save(
        tmp_path / "a.dcm",
        SLICES[::-1][order],
        NM,
        Modality="NM",
        PixelSpacing=[1.5, 0.8],
        SpacingBetweenSlices=-2,
        FrameIncrementPointer=0x00540080,
        SliceVector=[n + 1 for n in order],
        DetectorInformationSequence=[detector],
    )
    _is(load_image(path), SLICES)


def test_files_without_the_mark(tmp_path):
    for file in _series(tmp_path / "a", syntax="1.2.840.10008.1.2").iterdir():
        content = file.read_bytes()
        file.write_bytes(content[content.index(b"\x08\x00\x16\x00") :])  # the first group
    _is(load_image(tmp_path / "a"), SLICES)


@pytest.mark.parametrize(
    "values",
    [{"Rows": 60000, "Columns": 60000}, {"NumberOfFrames": 2**31 - 1}, {"NumberOfFrames": -1}],
)
def test_headers_that_promise_too_much(tmp_path, values):
    path = _enhanced(tmp_path / "a.dcm", SLICES, range(5), **values)
    if "NumberOfFrames" in values:
        data = pydicom.dcmread(path)
        data.NumberOfFrames = values["NumberOfFrames"]
        data.save_as(path)
    _refused(path, "promises|frames of 16 bits")
