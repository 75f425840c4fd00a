import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.environment import VERSION
from sacbnet.errors import OutputError, WeightsError
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.convert import UNKNOWN_LICENCE, convert_checkpoint
from sacbnet.networks.weights.load import describe_weights, load_weights, save_weights, weights_hash

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


@pytest.fixture
def small():
    torch.manual_seed(0)
    return SACBNet(SACBNetConfig(base_channels=1, clusters=(2, 3, 4, 5)))


def equal_states(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_round_trip(small, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small, {**FACTS, "note": "ü"})
    model, info = load_weights(path)
    assert equal_states(model, small)
    assert model.config == small.config
    assert not model.training and all(p.requires_grad for p in model.parameters())
    assert info.spacing_mm == 1.0 and info.more == {"note": "ü"}
    assert info.architecture == "sacbnet" and info.options == small.config
    assert info.sacbnet_version == VERSION and info.format_version == 1
    assert (info.licence, info.trained_on, info.source, info.intensity) == (
        "CC0", "nothing", "a test", "[0, 1]",
    )  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]  # no temporary file left
    image = torch.rand(1, 1, 32, 16, 16)
    assert torch.equal(model(image, image), small.eval()(image, image))


def test_description_needs_no_torch(small, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small, FACTS)
    code = (
        "import json, sys; from sacbnet.networks.weights.load import describe_weights\n"
        "print(json.dumps(describe_weights(sys.argv[1]).to_json()))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["parameters"] == sum(p.numel() for p in small.parameters())
    assert told["options"]["clusters"] == [2, 3, 4, 5]
    assert told["sha256"] == weights_hash(path) and len(told["sha256"]) == 64
    assert told["licence"] == "CC0"


def test_missing_facts_are_named(small, tmp_path):
    with pytest.raises(WeightsError, match="licence, intensity"):
        save_weights(
            tmp_path / "w",
            small,
            {k: v for k, v in FACTS.items() if k not in ("licence", "intensity")},
        )


def test_a_failed_write_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, small, FACTS)
    before = weights_hash(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="No space left"):
        save_weights(path, small, {**FACTS, "source": "another"})
    assert weights_hash(path) == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError):
        save_weights(tmp_path / "no" / "folder", small, FACTS)


def test_they_are_as_readable_as_any_new_file(small, tmp_path):
    save_weights(tmp_path / "w", small, FACTS)
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "w").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_they_need_no_readers_of_images():
    code = (
        "import sys; sys.modules['nibabel'] = sys.modules['SimpleITK'] = None\n"
        "import sacbnet.networks.weights.load"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def damaged(kind, path, model):
    save_weights(path, model, FACTS)
    data = path.read_bytes()
    metadata = describe_weights(path).to_metadata()
    state = dict(model.state_dict())
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(data[:-100])
    elif kind == "no safetensors":
        path.write_bytes(b"\x80\x02}q\x00" * 100)
    elif kind == "foreign":
        save_file(state, path, {"architecture": "nnunet"})
    elif kind == "bare":
        save_file(state, path)
    elif kind == "newer":
        save_file(state, path, {**metadata, "format_version": "99"})
    elif kind == "no config":
        save_file(state, path, {**metadata, "config": "{"})
    elif kind == "deep config":
        save_file(state, path, {**metadata, "config": "[" * 100_000})
    elif kind == "large config":
        options = '{"depths": [100000, 100000, 100000, 100000]}'
        save_file(state, path, {**metadata, "architecture": "transmorph", "config": options})
    elif kind == "lacks":
        save_file({k: v for k, v in state.items() if k != "sacb3.kernel"}, path, metadata)
    elif kind == "unknown":
        save_file({**state, "grid": torch.zeros(1)}, path, metadata)
    elif kind == "wrong shapes":
        save_file({**state, "sacb3.kernel": torch.zeros(2, 2, 27)}, path, metadata)
    elif kind == "NaN":
        save_file(
            {**state, "sacb3.kernel": torch.full_like(state["sacb3.kernel"], torch.nan)},
            path,
            metadata,
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "do not exist"),
        ("empty", "intact"),
        ("truncated", "intact"),
        ("no safetensors", "intact"),
        ("foreign", "nnunet"),
        ("bare", "no architecture"),
        ("newer", "99"),
        ("no config", "configuration"),
        ("deep config", "no usable configuration"),
        ("large config", "depths is .* 4096 in all"),
        ("lacks", "lacks sacb3.kernel"),
        ("unknown", "unknown grid"),
        ("wrong shapes", r"sacb3.kernel \(2, 2, 27\)"),
        ("NaN", "sacb3.kernel"),
    ],
)
def test_files_that_cannot_be_used(kind, message, small, tmp_path):
    path = tmp_path / "w.safetensors"
    damaged(kind, path, small)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


@pytest.mark.parametrize(
    "facts",
    [
        {"spacing_mm": "null"},
        {"spacing_mm": "[[1], 2]"},
        {"spacing_mm": "[" * 100_000},
        {"spacing_mm": "9" * 400},
        {"steps": "9" * 5000, "baseline": "[" * 100_000, "recipe": "[]", "affine": "sheared"},
    ],
)
def test_facts_that_cannot_be_read_count_as_unknown(small, tmp_path, facts):
    save_weights(tmp_path / "w.safetensors", small, FACTS)
    metadata = describe_weights(tmp_path / "w.safetensors").to_metadata() | facts
    save_file(dict(small.state_dict()), tmp_path / "v.safetensors", metadata)
    info = load_weights(tmp_path / "v.safetensors")[1]
    if "spacing_mm" in facts:
        assert info.spacing_mm is None
    else:
        assert (info.steps, info.baseline, info.recipe, info.affine) == (None, {}, None, None)


# -- conversion ------------------------------------------------------------------------------------
def official_state(model):
    """The published names, written down independently of the table under test."""
    state = model.state_dict()
    names = {f"encoder.level1.{n}.0": f"encoder.conv0.{n}.conv" for n in range(3)}
    names |= {
        f"encoder.level{s + 1}.{n}.0": f"encoder.conv{s}.{n}.conv"
        for s in range(1, 5)
        for n in (1, 2)
    }
    names |= {f"refine.{n}.0": f"conv1.{n + 1}.conv" for n in range(2)}
    names |= {
        "head.0.0": "conv1_out.1.conv",
        "head.1.0": "conv1_out.2.conv",
        "head.2": "conv1_out.3.conv",
    }
    for s in range(2, 6):
        names |= {f"sacb{s}.project.0": f"sacb_proj{s}.proj_in.conv"}
        for n in (0, 2, 4):
            names |= {f"sacb{s}.to_taps.{n}": f"sacb_proj{s}.get_kernel.{n}"}
            names |= {f"sacb{s}.to_bias.{n}": f"sacb_proj{s}.get_bias.{n}"}
    out = {f"sacb_proj{s}.w": state[f"sacb{s}.kernel"] for s in range(2, 6)}
    for ours, theirs in names.items():
        out |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    grids = {f"transformer.{n}.grid": torch.zeros(1, 3, 2 * n + 1, 2, 2) for n in range(4)}
    assert len(out) == len(state)
    return out | grids


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(1)
    return SACBNet()


@pytest.mark.parametrize("form", ["whole", "bare", "module", "score"])
def test_conversion(form, published, tmp_path):
    state = official_state(published)
    content = {
        "whole": {"state_dict": state},
        "bare": state,
        "module": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        "score": {
            "epoch": 3,
            "state_dict": state,
            "best_dsc": np.float64(0.7),
            "optimizer": {"state": {}},
        },
    }[form]
    torch.save(content, tmp_path / "a.pth.tar")
    convert_checkpoint(tmp_path / "a.pth.tar", tmp_path / "a.safetensors", trained_on="IXI")
    model, info = load_weights(tmp_path / "a.safetensors")
    assert equal_states(model, published)
    assert info.licence == UNKNOWN_LICENCE == "unknown: the publisher states no licence"
    assert info.trained_on == "IXI" and info.spacing_mm is None


def test_conversion_takes_licence_and_config(published, tmp_path):
    torch.save(official_state(published), tmp_path / "a.pth")
    config = SACBNetConfig(clusters=(5, 5, 5, 5))
    convert_checkpoint(tmp_path / "a.pth", tmp_path / "b", config=config, licence="by letter")
    model, info = load_weights(tmp_path / "b")
    assert model.config == config
    assert info.licence == "by letter"


def evil():
    raise AssertionError("executed")


class Evil:
    def __reduce__(self):
        return evil, ()


def test_conversion_refuses_and_names(published, tmp_path):
    state = official_state(published)
    source, target = tmp_path / "a.pth", tmp_path / "b"
    cases = {
        "sacb2.kernel": {k: v for k, v in state.items() if k != "sacb_proj2.w"},
        "decoder.weight": {**state, "decoder.weight": torch.zeros(1)},
        "wrong shapes": {**state, "sacb_proj2.w": torch.zeros(1)},
        "no state dict": {"state_dict": 3},
        "cannot be read": {"state_dict": state, "x": Evil()},
    }
    for message, content in cases.items():
        torch.save(content, source)
        with pytest.raises(WeightsError, match=message):
            convert_checkpoint(source, target)
    source.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="cannot be read"):
        convert_checkpoint(source, target)
    with pytest.raises(WeightsError, match="does not exist"):
        convert_checkpoint(tmp_path / "none.pth", target)
    assert not target.exists()
