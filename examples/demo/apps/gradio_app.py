"""The Gradio page: a person's place in a space.

    from apps.gradio_app import demo, gradio_user

    space.add(gradio_user)
    demo.launch()

`gradio_user` is an ordinary agent: what the person types is sent as its messages, and every message
that reaches it is shown. `demo` is the page. Below: `apps.user` is the agent, `apps.screen` holds
what is shown, `apps.server` serves it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from agency import MissingExtra
from apps.screen import Screen
from apps.user import GradioUser

try:
    import gradio
    from fastapi import FastAPI
    from gradio.components.chatbot import ExampleMessage

    from apps.server import ADDRESS, PageServer
except ImportError as error:
    raise MissingExtra("the demo's page needs Gradio: pip install 'agency-space[demo]'") from error

__all__ = ["GradioUser", "Page", "demo", "gradio_user"]

PORT: Final = 8080
PORT_VARIABLE: Final = "WEB_APP_PORT"

ADDRESS_VARIABLE: Final = "WEB_APP_ADDRESS"

_HEADING: Final = "<h1>Agency</h1><p>People, models and programs in one space</p>"

_WELCOME: Final = """\
### You are in a space

Everyone in the list is here with you: programs, language models, people, as equal members. Each has \
actions, and may use those of the others, wherever they run.

What you type is said to everyone. A press on an action in the list begins a command for one of them:

`/agent_id.action_name arg1:"value 1" arg2:2`
"""

_EXAMPLES: Final[list[ExampleMessage]] = [
    {"text": "Who is here?", "display_text": "Ask everyone: who is here?"},
    {"text": "/*.help", "display_text": "Have everyone say what they can do"},
]
"""What makes sense in any space. A press puts it into the box, as it does with the actions."""

_COMPOSE: Final = """
element.addEventListener("click", event => {
  const button = event.target.closest("[data-command]");
  const box = document.querySelector("#box textarea");
  if (!button || !box) return;
  const command = button.dataset.command;
  const gap = /:(""|\\[\\]|\\{\\}|)(?= |$)/.exec(command);
  const place = gap ? gap.index + (gap[1] ? 2 : 1) : command.length;
  box.value = command;
  box.dispatchEvent(new Event("input", {bubbles: true}));
  box.focus();
  box.setSelectionRange(place, place);
});
"""
"""A press of a button at the side puts its command into the box, ready for its first value."""

_FOCUS: Final = "() => document.querySelector('#box textarea').focus()"

_ANSWER: Final = """
element.addEventListener("click", event => {
  const button = event.target.closest("[data-nonce]");
  if (button) trigger("click", {nonce: button.dataset.nonce, verdict: button.dataset.verdict});
});
"""

_WAIT: Final = """
async () => {
  document.body.classList.add("ended");
  for (let there = false; !there; ) {
    await new Promise(resolve => setTimeout(resolve, 1000));
    there = await fetch(location.href).then(answer => answer.ok, () => false);
  }
  location.reload();
}
"""
"""The program has ended: the page says so, and goes on as soon as it runs again."""


class Page:
    """The page in which a person talks with the agents of a space."""

    def __init__(self, user: GradioUser, screen: Screen) -> None:
        self._user = user
        self._screen = screen

    def launch(self, *, server_port: int | None = None) -> None:
        """Serve the page at http://localhost:8080 until Ctrl-C, which is let through.

        Args:
            server_port: another port; by default the one in WEB_APP_PORT, or 8080. 0 takes any
                that is free.

        In a container, WEB_APP_ADDRESS=0.0.0.0 lets the machine around it have the page; it is
        answered as `localhost` only, wherever it listens.

        Raises:
            SystemExit: the port cannot be had; the text says what to do.
        """
        port = _port_from_environment() if server_port is None else server_port
        self._screen.begin()
        try:
            PageServer(self._application()).serve(
                port,
                address=os.environ.get(ADDRESS_VARIABLE) or ADDRESS,
                when_ready=_announce,
                when_ending=self._screen.end,
            )
        except OSError as error:
            raise SystemExit(
                f"The page cannot have port {port}: {error.strerror}.\n"
                f"Another program may use it. Choose another port: {PORT_VARIABLE}=8081"
            ) from None

    def _application(self) -> FastAPI:
        style = Path(__file__).with_name("gradio_app.css").read_text(encoding="utf-8")
        application = FastAPI(openapi_url=None)
        gradio.mount_gradio_app(
            application,
            self._layout(),
            path="/",
            footer_links=[],
            css=style,
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            max_file_size=0,
        )
        return application

    def _layout(self) -> gradio.Blocks:
        page = gradio.Blocks(title="Agency", fill_height=True, analytics_enabled=False)
        with page:
            gradio.HTML(_HEADING, elem_id="heading")
            with gradio.Row(elem_id="body", equal_height=False):
                with gradio.Column(elem_id="talk", scale=4):
                    chat = gradio.Chatbot(
                        elem_id="chat",
                        show_label=False,
                        scale=1,
                        buttons=[],
                        latex_delimiters=[],
                        placeholder=_WELCOME,
                        examples=_EXAMPLES,
                        group_consecutive_messages=False,
                        feedback_options=None,
                        allow_tags=False,
                    )
                    question = gradio.HTML(
                        elem_id="question", js_on_load=_ANSWER, apply_default_css=False
                    )
                    box = gradio.Textbox(
                        elem_id="box",
                        show_label=False,
                        placeholder="Say something to everyone, or type /*.help",
                        autofocus=True,
                        submit_btn=True,
                        max_lines=8,
                    )
                present = gradio.HTML(
                    elem_id="present", js_on_load=_COMPOSE, apply_default_css=False
                )
            chat.example_select(
                _example, None, box, show_progress="hidden", api_visibility="private"
            ).then(None, None, None, js=_FOCUS, api_visibility="private")
            # The browser empties the box by itself, so that nobody's next words are in the way.
            entered = gradio.Textbox(visible="hidden")
            box.submit(
                None,
                box,
                [entered, box],
                js="text => [text, '']",
                trigger_mode="multiple",
                api_visibility="private",
            ).then(
                self._enter,
                entered,
                box,
                trigger_mode="multiple",
                concurrency_limit=1,  # in the order in which it was typed
                show_progress="hidden",
                api_visibility="private",
            )
            question.click(
                self._press, None, None, show_progress="hidden", api_visibility="private"
            )
            following = page.load(
                self._follow,
                None,
                [chat, present, question],
                concurrency_limit=None,
                show_progress="hidden",
                api_visibility="private",
            )
            following.then(None, None, None, js=_WAIT, api_visibility="private")
        return page

    def _enter(self, text: str) -> Any:
        """Take what was typed in one tab; a mistake goes back into the box, to be corrected."""
        return gradio.skip() if self._user.type(text) else text

    def _press(self, event: gradio.EventData) -> None:
        """Take the answer to a question: which one, and which button was pressed."""
        pressed = event._data  # noqa: SLF001  # Gradio's way to it
        if isinstance(pressed, dict) and isinstance(pressed.get("nonce"), str):
            self._user.press(pressed["nonce"], approved=pressed.get("verdict") == "approve")

    async def _follow(self) -> AsyncIterator[list[Any]]:
        """What one open tab shows, for as long as it is open."""
        self._user.look()
        before: tuple[Any, ...] = (None, None, None)
        async for view in self._screen.follow():
            parts = (view.conversation, view.present, view.question)
            yield [
                gradio.skip() if new is old else (list(new) if isinstance(new, tuple) else new)
                for new, old in zip(parts, before, strict=True)
            ]
            before = parts


def _example(event: gradio.SelectData) -> str:
    return str(event.value["text"])


def _port_from_environment() -> int:
    text = os.environ.get(PORT_VARIABLE) or str(PORT)
    if not text.isdecimal() or int(text) > 65535:
        raise SystemExit(f"{PORT_VARIABLE} is a port number, not {text!r}")
    return int(text)


def _announce(address: str) -> None:
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)


_screen = Screen()

gradio_user = GradioUser("User", _screen)
"""The person at the page: add it to a space."""

demo = Page(gradio_user, _screen)
"""The page: launch it."""
