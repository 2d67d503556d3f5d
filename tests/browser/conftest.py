"""JupyterLab and Chromium, started for real; these tests have a command of their own, make test-browser."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
PICTURES = Path(__file__).parent / "pictures"


def pytest_configure() -> None:
    """Say in a sentence what is missing."""
    if not find_spec("playwright"):
        raise pytest.UsageError("The browser tests need Playwright: run 'make install', or pip install '.[browser]'.")
    if not CHROMIUM:
        raise pytest.UsageError("The browser tests need Chromium: run 'apt-get install chromium', or install Chrome.")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:  # noqa: F821
    """JupyterLab, with folders of its own."""
    from serving import Server

    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:  # noqa: F821
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:  # noqa: F821
    """A page of a browser that remembers nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def lab(page: "Page", server: "Server") -> Iterator["Lab"]:  # noqa: F821
    """JupyterLab in a page; a picture of its last state is kept."""
    from driving import Lab

    PICTURES.mkdir(exist_ok=True)
    yield Lab(page, server, PICTURES)
    server.end_kernels()
