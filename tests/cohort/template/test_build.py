"""A template of small images: unbiased, continued after a stop, with every image registered."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sacbnet.cohort.members import Member
from sacbnet.cohort.template import TemplateOptions, build_template
from sacbnet.cohort.template import rounds as rounds_module
from sacbnet.cohort.template.subjects import by_subject
from sacbnet.config.registration import Options
from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import load_displacement
from sacbnet.spatial.grid import Grid

OPTIONS = Options(weights="none", preset="fast", refine=4, affine="affine")
HOW = TemplateOptions(rounds=1, affine_rounds=1)
SIZES = (0.88, 1.0, 1.12)  # of the long axis of each body


def body(size, shift, number):
    """An ellipsoid with structure inside, which is wider by `size`; noise of its own."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-25, -27, -23)
    grid = Grid((26, 28, 24), affine)
    p = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)) - shift
    p = p / (size, 1, 1)
    data = 60.0 * (np.linalg.norm(p / (17, 19, 15), axis=-1) < 1)
    rng = np.random.default_rng(0)  # the same structure in each body
    for _ in range(30):
        centre, radius, height = rng.uniform(-11, 11, 3), rng.uniform(2.5, 5), rng.uniform(-35, 35)
        data += height * np.exp(-np.sum((p - centre) ** 2, axis=-1) / (2 * radius**2)) * (data > 0)
    data += np.random.default_rng(1 + number).normal(0, 2, grid.shape)
    return Image(np.clip(data, 0, None).astype(np.float32), grid)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    made = []
    for n, size in enumerate(SIZES):
        image = body(size, (2.0 * n, -1.0 * n, 0), n)
        path = folder / f"{'abc'[n]}.nii.gz"
        save_image(path, image.data, image)
        more = folder / f"{'abc'[n]}_t2.nii.gz"
        save_image(more, 200 - image.data, image)
        made.append(Member(name="abc"[n], image=path, contrasts={"t2": more}, subject="x"))
    return tuple(made)


@pytest.fixture(scope="module")
def built(members, tmp_path_factory):
    out = tmp_path_factory.mktemp("template")
    told = []
    made = build_template(members, OPTIONS, out, how=HOW, progress=lambda *now: told.append(now))
    return out, made, told


def test_the_size_of_the_template_is_the_mean_of_the_sizes(built, members):
    out, made, _ = built
    stretch = []
    for member in members:
        field = load_displacement(out / "subjects" / member.name / "transform.nii.gz")
        points = field.grid.centre + np.random.default_rng(0).uniform(-10, 10, (300, 3))
        fitted = np.linalg.lstsq(np.c_[points, np.ones(300)], field(points), rcond=None)[0]
        stretch.append(fitted[0, 0])  # along the axis in which the bodies differ
    # each is as much larger than the template as its size says, and their mean is 1
    # up to what the affine alignment itself errs between a blurred mean and a sharp image; a
    # template in the shape of the first image would have the mean 1.14
    mean = np.exp(np.mean(np.log(stretch)))
    assert mean == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(stretch / mean, SIZES / np.prod(SIZES) ** (1 / 3), atol=0.03)
    assert [row.status for row in made.cohort.outcomes] == ["done"] * 3


def test_the_template_is_sharper_than_the_first_mean_and_accounts_for_its_rounds(built):
    out, made, told = built
    assert [r.kind for r in made.rounds] == ["centre", "affine", "deformation"]
    assert all(r.images == 3 for r in made.rounds)
    assert made.rounds[-1].sharpness > made.rounds[0].sharpness
    account = json.loads((out / "template.json").read_text(encoding="utf-8"))
    assert len(account["rounds"]) == 3 and account["template"]["rounds"] == 1
    assert [x for _, x in told] == sorted(x for _, x in told) and told[-1][1] < 1
    assert any(what == "round 1 of 2: b" for what, _ in told)
    image = load_image(made.path)
    assert image.data.max() > 60 and abs(image.data[0, 0, 0]) < 8


def test_contrasts_go_through_the_same_maps(built):
    out, made, _ = built
    one, other = load_image(made.path), load_image(out / "template_t2.nii.gz")
    inside = one.data > 20
    assert np.corrcoef(one.data[inside], other.data[inside])[0, 1] < -0.95


def test_the_same_command_does_nothing_again_and_goes_on_after_a_stop(
    built, members, monkeypatch, tmp_path
):
    out, made, _ = built
    calls = []
    true = rounds_module.run_round
    monkeypatch.setattr(
        "sacbnet.cohort.template.build.run_round", lambda s, n: (calls.append(n), true(s, n))
    )
    before = made.path.read_bytes()
    again = build_template(members, OPTIONS, out, how=HOW)
    assert calls == [] and again.cohort.count("skipped") == 3 and again.rounds == made.rounds

    def stop(what, fraction):
        if what == "round 2 of 2: c":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_template(members, OPTIONS, tmp_path, how=HOW, progress=stop)
    assert calls == [0, 1, 2]
    seen = []
    build_template(members, OPTIONS, tmp_path, how=HOW, progress=lambda w, _: seen.append(w))
    assert calls == [0, 1, 2, 2] and "round 2 of 2: a" not in seen and "round 2 of 2: c" in seen
    assert (tmp_path / "template.nii.gz").read_bytes() == before
    assert not (tmp_path / "rounds" / "2").exists()  # the fields of a round that is over


def test_other_options_or_images_are_refused(built, members):
    out, _, _ = built
    with pytest.raises(OutputError, match="holds a template of other rounds; choose another --out"):
        build_template(members, OPTIONS, out, how=replace(HOW, rounds=2))
    with pytest.raises(OutputError, match="template of other images"):
        build_template(members[:2], OPTIONS, out, how=HOW)


def test_an_image_that_cannot_be_read_is_left_out(members, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(members[0].image.read_bytes()[:300])
    group = [*members[:2], Member(name="bad", image=bad)]
    options = replace(OPTIONS, refine=0)
    made = build_template(group, options, tmp_path / "out", how=TemplateOptions(0, 1))
    assert [row.status for row in made.cohort.outcomes] == ["done", "done", "failed"]
    assert made.rounds[-1].images == 2
    with pytest.raises(InputError, match="1 of 2 images can be read; 2 at least"):
        build_template(group[1:], options, tmp_path / "other", how=HOW)


def test_a_symmetric_template_is_even(members, tmp_path):
    how = TemplateOptions(0, 1, symmetric=True)
    made = build_template(members[:2], replace(OPTIONS, refine=0), tmp_path, how=how)
    data = load_image(made.path).data
    np.testing.assert_array_equal(data, data[::-1])


def test_images_of_subjects(members, tmp_path):
    more = Member(name="d", image=members[0].image, subject="y")
    groups = by_subject([*members, more], tmp_path)
    assert {name: [m.name for m in g] for name, g in groups.items()} == {
        "x": ["a", "b", "c"],
        "y": ["d"],
    }
    with pytest.raises(InputError, match="does not say whose image e is"):
        by_subject([Member(name="e", image=members[0].image)], tmp_path)
    with pytest.raises(InputError, match="one image of each of its 2 subjects"):
        by_subject([members[0], more], tmp_path)


def test_impossible_rounds_are_refused():
    with pytest.raises(InputError, match="0 or more were expected"):
        TemplateOptions(rounds=-1)
    with pytest.raises(InputError, match="the spacing is 0"):
        TemplateOptions(spacing=0)
    with pytest.raises(InputError, match="sharpen is 2; 0 to 1"):
        TemplateOptions(sharpen=2)
