"""Where the cache lies."""

from __future__ import annotations

import sys

from sacbnet.files import cache_folder


def test_the_cache_folder_is_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SACBNET_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here" / "sacbnet" and cache_folder().is_dir()
    monkeypatch.delenv("SACBNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "there" / "sacbnet" and cache_folder().is_dir()


def test_without_a_cache_folder_a_temporary_one_serves(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SACBNET_CACHE", str(tmp_path / "file"))
    folder = cache_folder()
    assert folder.is_dir() and folder == cache_folder() and tmp_path not in folder.parents


def test_a_user_without_a_home_folder(monkeypatch):
    def unknown(*_, **__):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SACBNET_CACHE", raising=False)
    monkeypatch.setattr("sacbnet.files.cache.user_cache_path", unknown)
    assert cache_folder().is_dir()
