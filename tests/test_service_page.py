"""The service on the page docs/how-to/service.md answers, and tells what is wrong."""

from __future__ import annotations

import gzip
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "service.md"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The service with no network and one step, as the page's weights are large."""
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    pytest.importorskip("python_multipart")
    from fastapi.testclient import TestClient

    name, code = re.search(
        r"\*\*`([^`\n]+)`\*\*\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S
    ).groups()
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    chosen = 'weights="brain", preset="fast"'
    assert chosen in code
    path = tmp_path / name
    path.write_text(code.replace(chosen, 'weights="none", affine="none", refine=1'), "utf-8")
    spec = importlib.util.spec_from_file_location("service", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "service", module)
    spec.loader.exec_module(module)
    return TestClient(module.app)


def test_the_service_gives_the_transform_of_register(client, files, tmp_path):
    import sacbnet
    from sacbnet.io.transforms import load_displacement

    sent = {
        side: Path(files[key]).read_bytes()
        for side, key in (("fixed", "fixed"), ("moving", "aligned"))
    }
    answer = client.post("/register", files=sent)
    assert answer.status_code == 200
    (tmp_path / "got.nii.gz").write_bytes(answer.content)
    assert gzip.decompress(answer.content)
    ours = sacbnet.register(
        fixed=files["fixed"], moving=files["aligned"], weights="none", affine="none", refine=1
    )
    np.testing.assert_array_equal(
        load_displacement(tmp_path / "got.nii.gz").displacement_mm, ours.transform.displacement_mm
    )


def test_a_damaged_image_is_told(client, files):
    sent = {"fixed": Path(files["fixed"]).read_bytes(), "moving": b"no image"}
    answer = client.post("/register", files=sent)
    assert answer.status_code == 422 and "moving.nii.gz" in answer.json()["detail"]
