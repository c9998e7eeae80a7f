"""An agent that computes, and what others can learn and get from it.

Run it: `python examples/calculator.py`.
"""

import json

from agency import ActionError, Agent, InvalidArguments, NativeSpace, action


class Calculator(Agent):
    @action
    def add(self, a: float, b: float) -> float:
        """Add two numbers.

        Args:
            a: The first number
            b: The second number

        Returns:
            The sum
        """
        return a + b

    @action
    def divide(self, a: float, b: float) -> float:
        """Divide one number by another."""
        return a / b


if __name__ == "__main__":
    with NativeSpace() as space:
        space.add(Calculator, "calculator")
        calculator = space.join().proxy("calculator")

        print("help:", json.dumps(calculator.help(action_name="add"), indent=2))
        print("1 + 2 =", calculator.add(a=1, b=2))
        try:
            calculator.divide(a=1, b=0)
        except ActionError as error:
            print("1 / 0:", error.message)
        try:
            calculator.add(a=1, b="two")
        except InvalidArguments as error:
            print("1 + two:", error.message)
