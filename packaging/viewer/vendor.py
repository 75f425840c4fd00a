"""Fetch NiiVue from npm, check it by its hash, and put it into the package with its licences.

Run from the root of the repository: python packaging/viewer/vendor.py

For a new version change VERSION, FILE_SHA256 and pinned.txt, and run the script; it prints the hash
that it found where they differ. niivue.js is the file of the package, byte for byte. NOTICES.txt
lists the licences of the libraries inside it: those that its `dist/metafile-esm.json` names, and
those that numcodecs compiles into WebAssembly.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NIIVUE, VERSION = "@niivue/niivue", "0.69.0"
FILE = "package/dist/niivue.umd.js"
FILE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
HERE = Path(__file__).parent
# What npm must deliver, with the sha512. The libraries lie inside NiiVue's file; only their
# licences are taken.
PINNED = dict(line.split() for line in (HERE / "pinned.txt").read_text().splitlines())
STATIC = HERE.parents[1] / "src" / "sacbnet" / "reporting" / "viewer" / "static"
RULE = "\n\n" + "-" * 80 + "\n"


def fetch(name: str, folder: Path) -> Path:
    """Let npm fetch one package, and check that it is the one that was pinned."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm was not found; install Node.js")
    run = subprocess.run(
        [npm, "pack", name, "--json", "--silent"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    (facts,) = json.loads(run.stdout)
    file = folder / facts["filename"]
    found = hashlib.sha512(file.read_bytes()).hexdigest()
    if found != PINNED[name]:
        sys.exit(f"{name} has the sha512 {found}; {PINNED[name]} was expected")
    return file


def licence(archive: tarfile.TarFile) -> str:
    """The text of the licence in a package of npm."""
    for member in archive.getmembers():
        name = Path(member.name)
        if name.parent == Path("package") and name.stem.lower() == "license":
            file = archive.extractfile(member)
            assert file is not None
            return file.read().decode("utf-8").strip()
    raise SystemExit("a package has no file LICENSE")


def main() -> None:
    """Write niivue.js, NOTICES.txt and niivue.json."""
    STATIC.mkdir(parents=True, exist_ok=True)
    notices = [(HERE / "notices.txt").read_text(encoding="utf-8").strip()]
    with tempfile.TemporaryDirectory() as temporary:
        for name in PINNED:
            with tarfile.open(fetch(name, Path(temporary))) as archive:
                if name.startswith(f"{NIIVUE}@"):
                    script = archive.extractfile(FILE)
                    assert script is not None
                    data = script.read()
                else:
                    notices.append(f"{name}\n\n{licence(archive)}")
    found = hashlib.sha256(data).hexdigest()
    if found != FILE_SHA256:
        sys.exit(f"{FILE} has the sha256 {found}; {FILE_SHA256} was expected")
    (STATIC / "niivue.js").write_bytes(data)
    (STATIC / "NOTICES.txt").write_text(RULE.join(notices) + "\n", encoding="utf-8")
    facts = {
        "package": NIIVUE,
        "version": VERSION,
        "file": FILE.removeprefix("package/"),
        "bytes": len(data),
        "sha256": found,
        "sha512_of_package": PINNED[f"{NIIVUE}@{VERSION}"],
        "licence": "BSD-2-Clause",
    }
    (STATIC / "niivue.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{STATIC / 'niivue.js'}: {len(data)} bytes, sha256 {found}")


if __name__ == "__main__":
    main()
