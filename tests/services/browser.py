"""A real Chromium without a screen, and somebody who sits at it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import expect, sync_playwright

from services.environment import clean_environment
from services.observation import Observation

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from playwright.sync_api import BrowserContext, FrameLocator, StorageState, ViewportSize

__all__ = ["Browser", "Visitor"]

WINDOW: ViewportSize = {"width": 1280, "height": 800}
OPTIONS = (
    "--disable-gpu",
    # Nothing but loopback: no name is resolved, no other address connected to, no proxy of the environment used.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-quic",
)
# Airflow's pages take their time on a busy machine.
PATIENCE_MILLISECONDS = 300_000


class Browser:
    """
    A Chromium that reaches nothing but 127.0.0.1. A context manager.

    While it is open, Playwright keeps an event loop running in this thread: asynchronous tests, ``asyncio.run()`` and
    ``dag.test()`` must wait until it is closed.

    :param program: path of Chromium or Chrome.
    :param directory: becomes its home; must exist.
    :param screenshots: folder of the pictures that are taken of it; made if missing.
    """

    def __init__(self, program: Path, directory: Path, *, screenshots: Path) -> None:
        self.net_log = directory / "net-log.json"
        self._program = program
        self._environment: dict[str, str | float | bool] = {**clean_environment(HOME=str(directory))}
        self._screenshots = screenshots

    def visit(self, url: str, *, dark: bool = False, state: StorageState | None = None) -> Visitor:
        """
        Open a window with cookies and storage of its own.

        :param url: of an Airflow, its path included.
        :param dark: whether the system prefers dark pages.
        :param state: cookies and storage to open with, saved from another window.
        """
        context = self._chromium.new_context(
            viewport=WINDOW,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
            storage_state=state,
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        return Visitor(context, url, screenshots=self._screenshots)

    def __enter__(self) -> Self:
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        with ExitStack() as stack:
            playwright = stack.enter_context(sync_playwright())
            self._chromium = playwright.chromium.launch(
                executable_path=self._program,
                args=[*OPTIONS, f"--log-net-log={self.net_log}"],
                env=self._environment,
            )
            stack.callback(self._chromium.close)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()


class Visitor:
    """
    Somebody at a window of their own, whom Airflow does not know before they sign in.

    :param context: the window.
    :param url: of the Airflow that they visit.
    :param screenshots: folder of the pictures that are taken of the window.
    """

    def __init__(self, context: BrowserContext, url: str, *, screenshots: Path) -> None:
        self.url = url
        self.observation = Observation()
        self.observation.watch(context)
        self.page = context.new_page()
        self._screenshots = screenshots

    def sign_in(self, username: str, password: str) -> None:
        """Fill in the form of the auth manager."""
        self.open("/auth/login/")
        self.page.locator("input[name=username]").fill(username)
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("[type=submit]").click()
        self.page.wait_for_url(f"{self.url}/")

    def state(self) -> StorageState:
        """Return the cookies and the storage of the window."""
        return self.page.context.storage_state()

    def open(self, path: str) -> None:
        """
        Go to a page of Airflow.

        :param path: below the URL of this Airflow, with a leading slash.
        """
        self.page.goto(self.url + path)

    def plugin(self, name: str) -> FrameLocator:
        """Return the frame in which Airflow shows a page of a plugin, by the name of its tab or menu item."""
        return self.page.frame_locator(f'iframe[title="{name}"]')

    def choose_appearance(self, appearance: Literal["Light Mode", "Dark Mode", "Follow System Setting"]) -> None:
        """Choose what Airflow's user menu offers."""
        self.page.get_by_role("button", name="User").click()
        self.page.get_by_role("menuitem", name="Appearance").click()
        self.page.get_by_role("menuitemradio", name=appearance).click()

    def screenshot(self, name: str) -> Path:
        """
        Take a picture of the window when it has loaded everything.

        :param name: of the PNG file, without its suffix.
        """
        self.page.wait_for_load_state("networkidle")
        file = self._screenshots / f"{name}.png"
        self.page.screenshot(path=file, animations="disabled")
        return file

    def leave(self) -> None:
        """Close the window."""
        self.page.context.close()
