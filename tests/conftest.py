"""Fixtures that every test may use, and the settings of Hypothesis."""

import contextlib
import gc
import itertools
import os
import shutil
import signal
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported; small products need no threads

import numpy as np
import pytest
from hypothesis import settings

gc.set_threshold(20_000)  # pytest keeps ten thousand tests in memory, which each collection would traverse

# Each run draws 10 new examples of each property and keeps the failing ones for the next run. CI draws the same in
# every run, so that a failure belongs to the change. --hypothesis-profile=thorough draws 250.
settings.register_profile("local", deadline=None, max_examples=10)
settings.register_profile("ci", deadline=None, max_examples=10, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=250, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


@pytest.fixture
def rng():
    """A random generator, the same for every test."""
    return np.random.default_rng(2017)


@pytest.fixture(scope="session")
def repeating_model():
    """A LanguageModel over the letters a … z, trained to repeat: "r" follows "qwertyqwe". Do not change it."""
    from repeated_letters import STORED

    from minitransformer import LanguageModel

    return LanguageModel.load(STORED)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, an independent oracle. Tests that use it are skipped if it is not installed."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy would fight for the same cores
    return torch


@pytest.fixture(scope="session")
def smollm2_path():
    """The file of SmolLM2: $MINITRANSFORMER_SMOLLM2, or the file of `minitransformer fetch smollm2`; otherwise skip."""
    from minitransformer.interop.fetching import MODELS, cache_folder

    path = Path(os.environ.get("MINITRANSFORMER_SMOLLM2") or cache_folder() / MODELS["smollm2"].file_name)
    if not path.is_file():
        pytest.skip("SmolLM2 is not here: minitransformer fetch smollm2, or set MINITRANSFORMER_SMOLLM2 to its path")
    return path


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A folder with a small sound file of each kind that is read. Leave it as it is."""
    for extra in ("safetensors", "gguf", "jinja2", "tokenizers"):
        pytest.importorskip(extra)
    from sound_files import save_sound_files

    folder = tmp_path_factory.mktemp("sound")
    save_sound_files(folder)
    return folder


@pytest.fixture(scope="session")
def browser():
    """Chromium, driven by selenium. Tests that use it are skipped if one of them is not installed."""
    selenium = pytest.importorskip("selenium")
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("needs chromium and chromedriver")
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.wait import WebDriverWait

    class Chromium(selenium.webdriver.Chrome):
        def get(self, url):
            super().get(url)  # which may return before styles and scripts are loaded, if the machine is busy
            is_loaded = "return document.readyState === 'complete'"
            WebDriverWait(self, 60).until(lambda driver: driver.execute_script(is_loaded))

    options = selenium.webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chromium(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


def pytest_configure(config):
    """Allow a warning, limit threads, and handle Ctrl-C, which a background process ignores and which tests send."""
    config.addinivalue_line("filterwarnings", "default::minitransformer.module.EditedTextbook")  # imports NumPy
    with contextlib.suppress(ImportError):  # a plugin, such as pytest-randomly, may have imported NumPy before
        from threadpoolctl import threadpool_limits

        threadpool_limits(int(os.environ["OPENBLAS_NUM_THREADS"]), user_api="blas")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart():
    """Compare all twins now, because a test may plant a mistake in the textbook before the first call."""
    from minitransformer import fast

    for name in fast.__all__:
        getattr(fast, name).agrees()


def pytest_collection_modifyitems(items):
    """Mark the tests that compare with PyTorch, and the slow ones: of a real model, and rows of tables (`one_in`)."""
    rows = defaultdict(itertools.count)
    for item in items:
        share = None if item.get_closest_marker("slow") else item.get_closest_marker("one_in")
        if share and next(rows[item.nodeid.partition("[")[0]]) % share.args[0]:
            item.add_marker("slow")
        for fixture, mark in (("torch", "parity"), ("smollm2_path", "slow")):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
