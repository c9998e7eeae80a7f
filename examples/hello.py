"""Three members of one space greet each other. Run it: `python examples/hello.py`.

Swap `NativeSpace` for `LocalSpace`, and the agents live in processes of their own.
"""

from agency import Agent, NativeSpace, action, current_message


class Greeter(Agent):
    @action
    def say(self, content: str) -> None:
        """Say something to this agent."""
        message = current_message()
        assert message is not None  # it is there in every action
        self.send(
            {
                "to": message["from"],
                "action": {
                    "name": "say",
                    "args": {"content": f"Hello {message['from']}, I am {self.id}."},
                },
            }
        )


if __name__ == "__main__":
    with NativeSpace() as space:
        space.add(Greeter, "Ann")
        space.add(Greeter, "Bob")

        me = space.join("Charlie")  # a member without a class of its own
        me.send({"to": "*", "action": {"name": "say", "args": {"content": "Who is there?"}}})
        for _ in range(2):
            answer = me.receive()
            print(f"{answer['from']} says: {answer['action']['args']['content']}")
