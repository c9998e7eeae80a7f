"""The demo with every agent in this process. Run it: `python demo_native.py`.

Models join if the settings name any: see `.env.example`.
"""

from agency import NativeSpace
from agents.calculator import Calculator
from agents.guide import Guide
from agents.host import Host
from agents.models import add_models, read_settings
from apps.gradio_app import demo, gradio_user

read_settings()
space = NativeSpace()
space.add(Host("Host", approver=Host.approver_in_settings()))
space.add(Calculator("Calculator"))
space.add(Guide("Guide"))
add_models(space)

# The person at the page
space.add(gradio_user)

demo.launch()
