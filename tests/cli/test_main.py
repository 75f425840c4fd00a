"""Help, versions, wrong command lines, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import sacbnet as package

VERBS = {
    "register": (
        "--fixed",
        "--moving-labels",
        "--weights",
        "--preset",
        "--refine",
        "Files in the result folder",
    ),
    "apply": ("--onto", "--points", "Examples"),
    "info": ("FILE",),
    "demo": ("--seed",),
    "convert-checkpoint": ("--licence",),
}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sacbnet.cli.main import main\n"
        "sys.argv = ['sacbnet', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'safetensors', 'pydicom'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], ["register", "--help"], ["--version"]):
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(sacbnet, verb) -> None:
    done = sacbnet(verb, "--help")
    assert done.code == 0 and done.err == ""
    for word in VERBS[verb]:
        assert word.lower() in done.out.lower()
    assert sacbnet(verb, "-h").out == done.out


def test_help_lists_the_verbs(sacbnet) -> None:
    done = sacbnet("--help")
    assert done.code == 0 and all(verb in done.out for verb in VERBS)
    assert sacbnet() == done  # without arguments, too


def test_version(sacbnet) -> None:
    done = sacbnet("--version")
    assert (done.code, done.out, done.err) == (0, f"sacbnet {package.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["regster"], "No such command"),
        (["register"], "--fixed"),
        (["register", "--fixed=a", "--moving=b", "--out=c", "--refine=-1"], "--refine"),
        (["register", "--fixed=a", "--moving=b", "--out=c", "--refine=many"], "--refine"),
        (["register", "--fixed=a", "--moving=b", "--out=c", "--affine=similarity"], "--affine"),
        (["register", "--fixed=a", "--moving=b", "--out=c", "--speed=9"], "--speed"),
        (
            ["apply", "a", "--onto=fixed", "--out=b"],
            "0 of --image, --labels and --points were given; give one",
        ),
        (["apply", "a", "--onto=fixed", "--out=b", "--image=c", "--points=d"], "2 of --image"),
        (
            ["apply", "a", "--onto=fixed", "--out=b", "--points=d", "--reference=e"],
            "points need none",
        ),
        (["apply", "a", "--onto=left", "--out=b", "--image=c"], "--onto"),
        (["info"], "file"),
        (["demo", "--seed=x"], "--seed"),
        (["convert-checkpoint", "a"], "out"),
    ],
)
def test_a_wrong_command_line(sacbnet, arguments, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = sacbnet(*arguments)
    assert done.code == 2 and words in done.sentence() and "--help" in done.sentence()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["sacbnet.registration.displacement.refine", "sacbnet.registration.result.save_affine"]
)
def test_interrupted(register, tmp_path, monkeypatch, place) -> None:
    """Ctrl-C while it works, and while it writes."""
    monkeypatch.setattr(place, lambda *a, **k: signal.raise_signal(signal.SIGINT))
    # a shell's background jobs ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = register()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.code == 130 and done.sentence() == "interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory"),
    ],
)
def test_memory(register, tmp_path, monkeypatch, error) -> None:
    def full(*_, **__) -> None:
        raise error

    monkeypatch.setattr("sacbnet.registration.initial.align", full)
    done = register()
    assert done.code == 1 and "memory is not enough" in done.sentence()
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_shown_as_a_bug(register, tmp_path, monkeypatch) -> None:
    def broken(*_, **__) -> None:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr("sacbnet.registration.initial.align", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        register()
    assert list(tmp_path.iterdir()) == []
