"""The page in the other spaces: agents in processes of their own, and in another application."""

from __future__ import annotations

import time
import uuid

import pytest
from playwright.sync_api import Browser, expect

from tests.broker import BrokerAddress
from tests.demo.conftest import Programs
from tests.demo.tab import Tab, address_of
from tests.demo.terminal_program import DEMO, PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

LONG = '/Host.shell_command command:"echo has begun >&2; sleep 600"'


def test_agents_in_processes_of_their_own_talk_with_the_person(
    programs: Programs, browser: Browser
) -> None:
    program = programs.start(str(DEMO / "demo_local.py"), WEB_APP_PORT="0")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(program))
        tab.type("Hello, world!")
        expect(tab.answers("Guide").last).to_contain_text("I am a small program")
        tab.type("Who is here?")
        expect(tab.answers("Guide").filter(has_text="Calculator can add").last).to_be_visible()
        tab.type("/Calculator.divide a:1 b:0")
        expect(tab.answers("Calculator").last).to_contain_text("ZeroDivisionError")
        tab.type('/Host.list_files directory_path:"/"')
        program.expect("Allow this? [y/N] ")
        program.type("y\n")
        expect(tab.answers("Host").last).to_contain_text("etc/")
        tab.type("/*.help")
        expect(tab.answers("Host").last).to_contain_text("/Host.shell_command command:string")
        program.press_ctrl_c()
        assert program.wait() == 130
        expect(tab.page.locator("body.ended")).to_be_visible()
    assert "Traceback" not in program.output


@pytest.mark.parametrize("name", ["demo_native.py", "demo_local.py"])
def test_ctrl_c_ends_the_demo_with_a_command_running_and_a_question_in_the_page(
    programs: Programs, browser: Browser, name: str
) -> None:
    program = programs.start(str(DEMO / name), WEB_APP_PORT="0", HOST_APPROVER="User")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(program))
        tab.type('/Host.list_files directory_path:"/"')
        tab.press("Approve")
        expect(tab.answers("Host").last).to_contain_text("etc/")
        tab.type('/Host.list_files directory_path:"/etc"')
        tab.press("Deny")
        expect(tab.answers("Host").last.locator(".error")).to_contain_text("not permitted")
        tab.type(LONG)
        tab.type('/Host.read_file file_path:"/etc/hosts"')
        expect(tab.question).to_contain_text("1 more after this")
        tab.press("Approve")
        expect(tab.answers("You approved").last).to_contain_text("sleep 600")
        expect(tab.question.locator("pre")).to_contain_text("/Host.read_file")
        began = time.monotonic()
        program.press_ctrl_c()
        assert program.wait() == 130
        assert time.monotonic() - began < 8, "it did not wait for the command"
    assert program.output.endswith("^C")


@pytest.mark.broker
def test_two_applications_on_one_broker_hold_a_conversation_with_a_person(
    programs: Programs, browser: Browser, broker: BrokerAddress
) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"demo-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    settings = {"AMQP_URL": broker.url(vhost), "HOST_APPROVER": "User", "WEB_APP_PORT": "0"}

    page = programs.start(str(DEMO / "demo_amqp_1.py"), **settings)
    with Programs() as first, browser.new_context() as context:
        others = first.start(str(DEMO / "demo_amqp_2.py"), **settings)
        others.expect("Guide is in the space")
        tab = Tab(context.new_page(), address_of(page))
        for agent in ["Calculator", "Guide", "Host"]:
            expect(tab.present.get_by_role("heading", name=agent)).to_be_visible()
        tab.type("Hello, world!")
        expect(tab.answers("Guide").last).to_contain_text("I am a small program")
        tab.type("/Calculator.multiply a:6 b:7")
        expect(tab.answers("Calculator").last).to_contain_text("42")
        tab.type("/*.help")
        expect(tab.answers("Calculator").last).to_contain_text("/Calculator.add a:number b:number")
        tab.type('/Host.list_files directory_path:"/"')
        tab.press("Approve")
        expect(tab.answers("Host").last).to_contain_text("etc/")

        others.press_ctrl_c()
        assert others.wait() == 130
        expect(tab.present.get_by_role("heading", name="Guide")).to_have_count(0)
        again = programs.start(str(DEMO / "demo_amqp_2.py"), **settings)
        again.expect("Guide is in the space")
        expect(tab.present.get_by_role("heading", name="Guide")).to_be_visible()
        tab.type("Hello again!")
        expect(tab.answers("Guide")).to_have_count(2)
    page.press_ctrl_c()
    began = time.monotonic()
    assert page.wait() == 130
    assert time.monotonic() - began < PATIENCE
