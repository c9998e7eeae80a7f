"""The demo with each agent in a process of its own, and the page in this one.

Run it with `python demo_local.py`.
"""

from agency import LocalSpace
from agents.calculator import Calculator
from agents.guide import Guide
from agents.host import Host
from apps.gradio_app import demo, gradio_user

if __name__ == "__main__":
    space = LocalSpace()
    space.add(Host, "Host")
    space.add(Calculator, "Calculator")
    space.add(Guide, "Guide")

    # The person at the page
    space.add(gradio_user)

    demo.launch()
