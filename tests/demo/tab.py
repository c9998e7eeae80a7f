"""The demo's page in one tab of a real browser, as a person uses it."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Locator, Page, Request, expect

from tests.demo.terminal_program import PATIENCE, TerminalProgram

__all__ = ["Tab", "address_of"]

PATIENCE_MILLISECONDS: Final = PATIENCE * 1000

expect.set_options(timeout=PATIENCE_MILLISECONDS)


def address_of(program: TerminalProgram) -> str:
    """Wait until the program serves its page; returns where."""
    program.expect("The page is at ")
    return program.expect(" (Ctrl-C ends it)")


class Tab:
    """The page in one tab, as a person uses it; it notes what the browser asks other hosts for."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.foreign: list[str] = []
        """What was asked of other hosts, other than what the page's own rules stopped."""
        page.on("request", lambda asked: self._note(asked.url, address))
        page.on("requestfailed", self._take_back)
        page.goto(address)
        expect(self.box).to_be_visible()

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.foreign.append(url)

    def _take_back(self, asked: Request) -> None:
        if asked.failure == "csp":
            self.foreign.remove(asked.url)

    @property
    def box(self) -> Locator:
        return self.page.locator("#box textarea")

    @property
    def chat(self) -> Locator:
        return self.page.locator("#chat")

    def type(self, text: str) -> None:
        """Type, press Enter, and see it in the conversation."""
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.page.locator("[data-testid=user]").last).to_contain_text(text)

    def answers(self, sender: str) -> Locator:
        """The messages of one sender, oldest first."""
        heading = self.page.locator(".sender", has_text=sender)
        return self.page.locator("[data-testid=bot]", has=heading)

    @property
    def present(self) -> Locator:
        """The list of who is there, beside the conversation."""
        return self.page.locator("#present")

    @property
    def question(self) -> Locator:
        """What the person is asked to approve."""
        return self.page.locator("#question .asked")

    def press(self, button: str) -> None:
        """Answer the question: Approve or Deny."""
        self.question.get_by_role("button", name=button).click(timeout=PATIENCE_MILLISECONDS)
