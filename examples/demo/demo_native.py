"""The demo with every agent in this process. Run it: `python demo_native.py`."""

from agency import NativeSpace
from agents.calculator import Calculator
from agents.guide import Guide
from agents.host import Host
from apps.gradio_app import demo, gradio_user

space = NativeSpace()
space.add(Host("Host"))
space.add(Calculator("Calculator"))
space.add(Guide("Guide"))

# The person at the page
space.add(gradio_user)

demo.launch()
