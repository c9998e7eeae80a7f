"""The demo with each agent in a process of its own, and the page in this one.

Run it with `python demo_local.py`. Models join if the settings name any: see `.env.example`.
"""

from agency import LocalSpace
from agents.calculator import Calculator
from agents.guide import Guide
from agents.host import Host
from agents.models import add_models, read_settings
from apps.gradio_app import demo, gradio_user

if __name__ == "__main__":
    read_settings()
    space = LocalSpace()
    space.add(Host, "Host", approver=Host.approver_in_settings())
    space.add(Calculator, "Calculator")
    space.add(Guide, "Guide")
    add_models(space)

    # The person at the page
    space.add(gradio_user)

    demo.launch()
