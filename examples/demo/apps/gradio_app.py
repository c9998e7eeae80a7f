"""The Gradio page: a person's place in a space.

    from apps.gradio_app import demo, gradio_user

    space.add(gradio_user)
    demo.launch()

`gradio_user` is an ordinary agent: what the person types is sent as its messages, and every message
that reaches it is shown. `demo` is the page. Below: `apps.conversation` holds what is shown,
`apps.rendering` says how it looks, `apps.server` serves it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from agency import AgencyError, Agent, MissingExtra, action
from agency.slash import parse_command
from apps.conversation import Conversation
from apps.rendering import Shown, received, typed, wrong

try:
    import gradio
    from fastapi import FastAPI

    from apps.server import PageServer
except ImportError as error:
    raise MissingExtra("the demo's page needs Gradio: pip install 'agency-space[demo]'") from error

__all__ = ["GradioUser", "Page", "demo", "gradio_user"]

PORT: Final = 8080
PORT_VARIABLE: Final = "WEB_APP_PORT"

_MAX_SENT: Final = 1000  # of the person's messages that are remembered for their answers

_HEADING: Final = "<h1>Agency</h1><p>People, models and programs in one space</p>"

_WELCOME: Final = """\
### Nothing has been said yet

Type `/*.help` to ask every agent here what it can do, or just say something to everyone.

An action is invoked like this: `/agent_id.action_name arg1:"value 1" arg2:2`
"""


class GradioUser(Agent):
    """The person at the page, as an agent. Shows every message that reaches it."""

    def __init__(self, id: str, conversation: Conversation) -> None:
        super().__init__(id, receive_own_broadcasts=False)
        self._conversation = conversation
        self._numbers = itertools.count(1)
        self._sent: dict[str, dict[str, Any]] = {}  # by id; guarded by _lock
        self._lock = threading.Lock()

    @action
    def say(self, content: str) -> None:
        """Say something to the person at the page.

        Args:
            content: What to say, as Markdown
        """

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Nothing besides being shown, as every message is."""

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Nothing besides being shown, as every message is."""

    def before_action(self, message: dict[str, Any]) -> None:
        """Show the message, whatever it invokes."""
        answered = (message["action"].get("args") or {}).get("original_message_id")
        with self._lock:
            cause = self._sent.get(answered) if isinstance(answered, str) else None
        self._conversation.add(received(message, cause))

    def type(self, text: str) -> bool:
        """Do what the person typed, and show it. Returns False if it was wrong; that is shown, too."""
        text = text.strip()
        if not text:
            return True
        self._conversation.add(typed(text))
        try:
            self._send_command(parse_command(text))
        except (AgencyError, ValueError) as error:
            self._conversation.add(wrong(error, text))
            return False
        return True

    def _send_command(self, message: dict[str, Any]) -> None:
        message["id"] = f"{self.id} {next(self._numbers)}"
        with self._lock:
            self._sent[message["id"]] = message
            if len(self._sent) > _MAX_SENT:
                del self._sent[next(iter(self._sent))]
        self.send(message)


class Page:
    """The page in which a person talks with the agents of a space."""

    def __init__(self, user: GradioUser, conversation: Conversation) -> None:
        self._user = user
        self._conversation = conversation

    def launch(self, *, server_port: int | None = None) -> None:
        """Serve the page at http://localhost:8080 until Ctrl-C, which is let through.

        Args:
            server_port: another port; by default the one in WEB_APP_PORT, or 8080. 0 takes any
                that is free.

        Raises:
            SystemExit: the port cannot be had; the text says what to do.
        """
        port = _port_from_environment() if server_port is None else server_port
        self._conversation.begin()
        try:
            PageServer(self._application()).serve(
                port, when_ready=_announce, when_ending=self._conversation.end
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
            chat = gradio.Chatbot(
                elem_id="chat",
                show_label=False,
                scale=1,
                buttons=[],
                latex_delimiters=[],
                placeholder=_WELCOME,
                group_consecutive_messages=False,
                feedback_options=None,
                allow_tags=False,
            )
            box = gradio.Textbox(
                elem_id="box",
                show_label=False,
                placeholder="Say something to everyone, or type /*.help",
                autofocus=True,
                submit_btn=True,
                max_lines=8,
            )
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
            page.load(
                self._follow,
                None,
                chat,
                concurrency_limit=None,
                show_progress="hidden",
                api_visibility="private",
            )
        return page

    def _enter(self, text: str) -> Any:
        """Take what was typed in one tab; a mistake goes back into the box, to be corrected."""
        return gradio.skip() if self._user.type(text) else text

    async def _follow(self) -> AsyncIterator[list[Shown]]:
        """What one open tab shows, for as long as it is open."""
        async for latest in self._conversation.follow():
            yield latest


def _port_from_environment() -> int:
    text = os.environ.get(PORT_VARIABLE, str(PORT))
    if not text.isdecimal() or int(text) > 65535:
        raise SystemExit(f"{PORT_VARIABLE} is a port number, not {text!r}")
    return int(text)


def _announce(address: str) -> None:
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)


_conversation = Conversation()

gradio_user = GradioUser("User", _conversation)
"""The person at the page: add it to a space."""

demo = Page(gradio_user, _conversation)
"""The page: launch it."""
