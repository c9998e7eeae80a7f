"""Make the picture of the demo's page again.

    python screenshot.py [file.png]

Starts demo_native.py on a free port, talks to it in Chromium, and stores what the page shows, in
`docs/images/demo.png` unless told otherwise. Needs Chromium and the package `playwright`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parents[1] / "docs" / "images" / "demo.png"

CONVERSATION = [  # what is typed, and what is seen then
    ("Who is here?", "Host can shell_command"),
    ("/Calculator.divide a:355 b:113", "3.14159"),
    ("/Calculator.divide a:1 b:0", "ZeroDivisionError"),
]
ASKED = '/Host.shell_command command:"df --human-readable"'


def converse(page: Page, address: str) -> None:
    page.goto(address)
    box = page.locator("#box textarea")
    for typed, seen in CONVERSATION:
        box.fill(typed)
        box.press("Enter")
        page.locator("[data-testid=bot]", has_text=seen).last.wait_for()
    page.locator("#present", has_text="Calculator").wait_for()
    box.fill(ASKED)
    box.press("Enter")
    page.locator("#question .approve").click(trial=True)  # waits until it can be pressed


def main(picture: Path) -> None:
    browser = next(
        filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
    )
    if browser is None:
        raise SystemExit("Chromium is missing; scripts/system-packages chromium brings it")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, HERE / "demo_native.py"],
        env={**os.environ, "WEB_APP_PORT": "0", "HOST_APPROVER": "User"},
        cwd="/",  # the picture shows where Host works
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert demo.stdout is not None
            address = demo.stdout.readline().split("The page is at ")[1].split()[0]
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
                )
                page = chromium.new_page(viewport={"width": 1200, "height": 940})
                converse(page, address)
                page.screenshot(path=picture)
                chromium.close()
        finally:
            demo.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
