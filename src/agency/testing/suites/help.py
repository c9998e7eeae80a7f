"""Help: what agents say of their actions."""

from __future__ import annotations

from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator
from agency.testing.documented import Documented, Reticent
from agency.testing.kit import Conformance, ask, proves, tell

__all__ = ["HelpConformance"]


class HelpConformance(Conformance):
    """The object that `help` returns."""

    @proves("help-1", "help-7")
    def test_the_documented_example_yields_the_documented_object(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Documented, "agent")
        assert ask(guest, "agent", "help", action_name="shell_command") == {
            "shell_command": {
                "description": "Execute a shell command",
                "args": {"command": {"type": "string", "description": "The command to execute"}},
                "returns": {"type": "string", "description": "The output of the command"},
            }
        }

    @proves("help-2")
    def test_help_lists_the_actions_that_can_be_called(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        assert sorted(ask(guest, "agent", "help")) == [
            "annotated",
            "overridden",
            "renamed",
            "shell_command",
            "terse",
            "typed in the docstring",
            "wordy",
        ]

    @proves("help-3")
    def test_what_is_not_known_is_left_out(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        assert ask(guest, "agent", "help", action_name="terse") == {"terse": {"args": {}}}
        assert ask(guest, "agent", "help", action_name="renamed") == {
            "renamed": {"description": "Have another name.", "args": {"x": {}}}
        }

    @proves("help-4", "help-5")
    def test_the_signature_wins_over_the_docstring(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        shown = ask(guest, "agent", "help", action_name="typed in the docstring")
        assert shown["typed in the docstring"] == {
            "description": "Document types.",
            "args": {
                "a": {"type": "string", "description": "Documented as a number"},
                "b": {"type": "number", "description": "Documented only"},
            },
            "returns": {"type": "string", "description": "Documented only"},
        }

    @proves("help-5")
    def test_any_annotation_is_described(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        args = ask(guest, "agent", "help", action_name="annotated")["annotated"]["args"]
        assert args["optional"]["type"] == ["string", "null"]
        assert args["either"]["type"] == ["integer", "null"]
        assert args["union"]["type"] == ["integer", "string"]
        assert args["numbers"] == {"type": "array", "items": {"type": "integer"}}
        assert args["colour"]["type"] == "string"
        assert args["colour"]["enum"] == ["red", "blue"]
        assert args["word"] == {"type": "string", "enum": ["yes", "no"]}
        assert args["when"]["type"] == "string"
        assert args["point"]["type"] == "object"
        assert sorted(args["point"]["properties"]) == ["x", "y"]
        assert args["table"]["type"] == "object"
        assert args["ratio"] == {"type": "number"}
        assert args["flag"] == {"type": "boolean"}
        assert args["anything"] == {}

    @proves("help-5", "action-8")
    def test_annotated_arguments_are_converted(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        seen = ask(
            guest,
            "agent",
            "annotated",
            optional=None,
            either=None,
            union="x",
            numbers=[1],
            colour="blue",
            word="yes",
            when="2026-01-02T03:04:05",
            point={"x": 1},
        )
        assert seen == ["NoneType", "NoneType", "str", "list", "Colour", "str", "datetime", "Point"]

    @proves("help-6")
    def test_given_help_replaces_the_whole_object(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        assert ask(guest, "agent", "help", action_name="overridden") == {
            "overridden": {
                "You": "can define",
                "any": {"structure": ["you", "want", "here."]},
            }
        }

    @proves("help-7", "help-8")
    def test_help_on_an_unknown_action_is_empty(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        assert ask(guest, "agent", "help", action_name="missing") == {}
        assert list(ask(guest, "agent", "help", action_name="wordy")) == ["wordy"]

    @proves("help-9")
    def test_a_full_json_schema_is_available(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        shown = ask(guest, "agent", "help", action_name="annotated", format="json_schema")
        parameters = shown["annotated"]["parameters"]
        assert parameters["type"] == "object"
        assert parameters["additionalProperties"] is False
        assert parameters["required"] == [
            "optional",
            "either",
            "union",
            "numbers",
            "colour",
            "word",
            "when",
            "point",
        ]
        properties = parameters["properties"]
        assert properties["ratio"] == {"type": "number", "default": 1.5}
        assert properties["flag"] == {"type": "boolean", "default": True}
        assert properties["word"]["enum"] == ["yes", "no"]
        assert properties["when"]["format"] == "date-time"
        assert {"type": "null"} in properties["optional"]["anyOf"]

    @proves("help-10")
    def test_help_may_be_overridden(self, space: Space, guest: Guest) -> None:
        space.add(Reticent, "agent")
        assert ask(guest, "agent", "help") == {"sing": {"args": {}}}
        assert ask(guest, "agent", "hidden") == "found"

    @proves("help-11", "help-2")
    def test_everybody_answers_a_broadcast_for_themselves(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "a")
        space.add(Documented, "b")
        space.add(Reticent("c"))
        tell(guest, "*", "help", id="who is there")
        answers = [guest.receive(timeout=LIMIT) for _ in range(3)]
        ids = {answer["action"]["args"]["original_message_id"] for answer in answers}
        assert ids == {"who is there"}
        shown = {answer["from"]: answer["action"]["args"]["data"] for answer in answers}
        assert {agent_id: ask(guest, agent_id, "help") for agent_id in "abc"} == shown

    @proves("help-12", "help-4")
    def test_descriptions_are_joined_to_one_text(self, space: Space, guest: Guest) -> None:
        space.add(Documented, "agent")
        assert ask(guest, "agent", "help", action_name="wordy")["wordy"] == {
            "description": "Say it shortly. Then say it at length, over several lines.",
            "args": {"a": {"type": "integer", "description": "Described over two lines"}},
        }
