"""The agents of the demo: copy them, change them, put them into a space of your own."""
