"""The folder of a process is its own and ends with it."""

import subprocess
import sys
from pathlib import Path

CODE = "from sacbnet.files import temporary_folder as f; print(f()); assert f() == f()"


def test_it_ends_with_the_process():
    done = [
        subprocess.run([sys.executable, "-c", CODE + more], capture_output=True, text=True)
        for more in ("", "; assert f().stat().st_mode & 0o077 == 0")
    ]
    folders = {Path(one.stdout.strip()) for one in done}
    assert all(one.returncode == 0 for one in done), done
    assert len(folders) == 2 and not any(folder.exists() for folder in folders)
