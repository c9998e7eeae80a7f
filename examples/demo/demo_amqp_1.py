"""The demo in two applications on one AMQP server: this one has the page and the operating system.

Run `python demo_amqp_1.py` and, in another terminal or on another host, `python demo_amqp_2.py`, in
any order. The AMQP_... settings say where the server is: see `.env.example`.
"""

from agency import AMQPSpace
from agents.host import Host
from agents.models import read_settings
from apps.gradio_app import demo, gradio_user

if __name__ == "__main__":
    read_settings()
    space = AMQPSpace()
    space.add(Host, "Host", approver=Host.approver_in_settings())

    # The person at the page
    space.add(gradio_user)

    demo.launch()
