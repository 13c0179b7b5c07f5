"""Print pages to PDF with an installed browser."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
SECONDS = 120  # time limit for printing a page


def browser() -> str:
    for name in CHROMIUMS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("--pdf needs Chromium or Chrome, which was not found; print the pages from another browser")


def print_pages(program: str, pages) -> None:
    command = [program, "--headless", "--disable-gpu", "--no-pdf-header-footer"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium's sandbox does not run as root
    with tempfile.TemporaryDirectory() as profile:
        for page in map(Path.resolve, map(Path, pages)):
            target = page.with_suffix(".pdf")
            target.unlink(missing_ok=True)
            options = [f"--user-data-dir={profile}", f"--print-to-pdf={target}", page.as_uri()]
            try:
                done = subprocess.run([*command, *options], capture_output=True, timeout=SECONDS, check=False)
            except subprocess.TimeoutExpired:
                raise OSError(f"{page}: {Path(program).name} did not print it in {SECONDS} seconds") from None
            if done.returncode or not target.exists():
                raise OSError(f"{page}: {Path(program).name} did not print it (exit status {done.returncode})")
