"""Calculator: the smallest useful agent, and one that others may use without asking.

Above: a space that it is added to. Below: nothing but `agency`.
"""

from agency import Agent, action

Number = int | float


class Calculator(Agent):
    """Computes with two numbers at a time. What fails, such as a division by zero, is an error."""

    @action
    def add(self, a: Number, b: Number) -> Number:
        """Add two numbers.

        Args:
            a: The first number
            b: The second number

        Returns:
            The sum
        """
        return a + b

    @action
    def subtract(self, a: Number, b: Number) -> Number:
        """Subtract the second number from the first.

        Args:
            a: The number to subtract from
            b: The number to subtract

        Returns:
            The difference
        """
        return a - b

    @action
    def multiply(self, a: Number, b: Number) -> Number:
        """Multiply two numbers.

        Args:
            a: The first number
            b: The second number

        Returns:
            The product
        """
        return a * b

    @action
    def divide(self, a: Number, b: Number) -> float:
        """Divide the first number by the second.

        Args:
            a: The dividend
            b: The divisor

        Returns:
            The quotient
        """
        return a / b
