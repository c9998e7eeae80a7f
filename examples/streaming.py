"""An action that answers in parts, as language models do. Run it: `python examples/streaming.py`."""

from collections.abc import Iterator
from itertools import islice

from agency import Agent, NativeSpace, action


class Storyteller(Agent):
    @action
    def tell(self, about: str) -> Iterator[str]:
        """Tell a story, word by word."""
        try:
            yield from f"Once upon a time there was {about} that had no end".split()
            while True:
                yield "and"
        finally:
            print("\n(the storyteller stops)")


if __name__ == "__main__":
    with NativeSpace() as space:
        space.add(Storyteller, "storyteller")
        story = space.join().proxy("storyteller").tell.stream(about="a story")
        for word in islice(story, 15):
            print(word, end=" ", flush=True)
        # Leaving the stream tells the storyteller to stop; so does the end of the space.
