"""The kernel benchmark: that it times the same network twice, and writes the rows it promises."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from sacbnet.config.sacbnet import LEVELS, SACBNetConfig
from sacbnet.losses import gradient_loss, ncc_loss
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.ops.adaptive_conv import adaptive_conv
from sacbnet.ops.kmeans import kmeans
from sacbnet.ops.matching import match
from sacbnet.spatial.warp import compose, warp

FOLDER = Path(__file__).parents[2] / "speed"
KEYS = (
    "name shape clusters pass ours_s naive_s conv_s ours_bytes naive_bytes roofline_s"
    " precision device threads"
)


@pytest.fixture(scope="module")
def scripts():
    """Import a script by name, as `python speed/kernels.py` does; then put the path back."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))


def test_the_published_formulation_is_the_same_network(scripts):
    naive, cases = scripts("naive"), scripts("cases")
    moving, fixed = cases.Setting(torch.device("cpu")).pair((32, 32, 32))
    torch.manual_seed(1)
    model = SACBNet(SACBNetConfig(clusters=(3, 4, 5, 7))).eval()
    found = {}
    for level in LEVELS:  # batches are [fixed, moving]
        model.get_submodule(f"sacb{level}.cluster").register_forward_hook(
            lambda _module, _inputs, out, level=level: found.update({level: out})
        )
    asked = []

    def given(descriptors, level, image):
        asked.append((level, image, *descriptors.shape))
        n = ("fixed", "moving").index(image)
        return found[level].labels[n], found[level].centres[n]

    with torch.inference_mode():
        ours = model(moving, fixed)
        theirs = naive.NaiveSACBNet.like(model, given)(moving, fixed)
    assert asked[:2] == [(5, "fixed", 8, 64), (5, "moving", 8, 64)]
    assert asked[6:] == [(2, "fixed", 4096, 16), (2, "moving", 4096, 16)]
    assert float(ours.abs().max()) > 0.1
    assert float((ours - theirs).abs().max()) < 1e-3


def test_the_published_kernels_are_the_same_functions(scripts):
    naive, setting = scripts("naive"), scripts("cases").Setting(torch.device("cpu"))
    size = (9, 8, 7)
    z, other, u = (
        setting.features(1, 4, size),
        setting.smooth(1, 4, size),
        setting.displacement(size),
    )
    labels = torch.arange(9 * 8 * 7).view(1, *size) % 3
    taps, kernel, bias = torch.rand(1, 3, 27), torch.randn(5, 4, 27), torch.randn(1, 3, 5)
    torch.testing.assert_close(
        naive.adaptive_conv(z, labels[0], taps[0], kernel, bias[0]),
        adaptive_conv(z, labels, taps, kernel, bias),
        rtol=1e-4,
        atol=1e-4,
    )
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(naive.match(other, z), match(other, z), **close)
    torch.testing.assert_close(naive.warp(z, u), warp(z, u), **close)
    torch.testing.assert_close(naive.compose(u, u / 2), compose(u, u / 2), **close)
    moving, fixed = setting.pair((16, 16, 16))
    torch.testing.assert_close(
        naive.ncc_loss(moving, fixed), ncc_loss(moving, fixed), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(naive.gradient_loss(u), gradient_loss(u), **close)


def test_the_published_clustering_is_lloyds(scripts):
    naive, setting = scripts("naive"), scripts("cases").Setting(torch.device("cpu"))
    x = setting.smooth(1, 3, (8, 8, 8)).flatten(2)[0].T.contiguous()
    seeds = torch.tensor([3, 100, 400])
    labels, centres, rounds = naive.kmeans(x, 3, seeds=seeds)
    ours = kmeans(x[None], 3, seeds=seeds[None], max_rounds=10_000)
    assert rounds > 2
    assert bool((labels == ours.labels[0]).all())
    torch.testing.assert_close(centres, ours.centres[0])


def test_a_quick_run_writes_every_row(scripts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        scripts("kernels"), "QUICK", scripts("timing").Effort(repeats=0, once_s=0.2, most_s=60)
    )
    target, plot = tmp_path / "rows.json", tmp_path / "rows.png"
    arguments = ["--quick", "--sizes", "32x32x32", "--clusters", "2", "--json", str(target)]
    pytest.importorskip("matplotlib")
    assert scripts("kernels").main([*arguments, "--plot", str(plot)]) == 0
    rows = json.loads(target.read_text())
    assert {row["name"] for row in rows} == set(scripts("cases").NAMES)
    assert (
        len(rows)
        == len({(r["name"], str(r["shape"]), r["clusters"], r["pass"]) for r in rows})
        == 38
    )
    for row in rows:
        assert list(row) == KEYS.split()
        assert row["ours_s"] > 0
        assert row["naive_s"] > 0
        assert row["roofline_s"] > 0
        assert (row["conv_s"] is None) == (
            row["name"] not in ("adaptive_conv", "mixed_conv", "block")
        )
        clustered = row["name"] in ("adaptive_conv", "mixed_conv", "kmeans", "network")
        assert (row["clusters"] is not None) == clustered
        assert row["pass"] in ("forward", "forward+backward", "training step")
        assert (row["precision"], row["device"]) == ("float32", "cpu")
    assert plot.stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows) + 1


def test_what_would_take_too_long_is_left_out(scripts):
    timing, kernels, cases, roofline = (
        scripts(n) for n in ("timing", "kernels", "cases", "roofline")
    )
    setting = cases.Setting(torch.device("cpu"))
    bench = kernels.Bench(
        setting, roofline.Peak(1e10, 1e11), timing.Effort(repeats=1, most_s=1.0, most_bytes=1e9)
    )
    case = cases.make("match", (64, 64, 64), 5, None, False, setting)
    bench.forecast.learn(bench.key(case, "naive"), case.voxels / 4, 1, timing.Measure(0.5, 100))
    row = bench.run(case)
    assert row["naive_s"] is None
    assert row["ours_s"] > 0
    assert "match 1×64×4×4×4, forward: naive left out, expected to take 2 s" in bench.left_out


def test_memory_is_that_of_the_call(scripts):
    timing = scripts("timing")
    meter = timing.Meter(torch.device("cpu"))
    held = meter.run(lambda: torch.ones(20_000_000), watch_memory=True).bytes
    if held is None:
        pytest.skip("resident memory cannot be watched here")
    assert 7e7 < held < 1.2e8
