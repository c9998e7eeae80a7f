"""The demo in two applications on one AMQP server: this one has the programs and the models.

See `demo_amqp_1.py`, the other one. This one serves until Ctrl-C.
"""

from agency import AMQPSpace
from agents.calculator import Calculator
from agents.guide import Guide
from agents.models import add_models, read_settings

if __name__ == "__main__":
    read_settings()
    space = AMQPSpace()
    space.add(Calculator, "Calculator")
    space.add(Guide, "Guide")
    for agent_id in ["Calculator", "Guide", *add_models(space)]:
        print(f"{agent_id} is in the space", flush=True)
