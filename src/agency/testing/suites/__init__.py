"""The tests of the conformance kit, one class per topic; the two classes that authors derive from join them.

Each test is one sentence, written once for every kind of space. Above: `agency.testing`. Below:
`agency.testing.kit`.
"""

from agency.testing.suites.access import AccessConformance
from agency.testing.suites.actions import ActionConformance, HandlingConformance
from agency.testing.suites.answers import AnswerConformance
from agency.testing.suites.applications import ApplicationsConformance
from agency.testing.suites.asking import AskConformance
from agency.testing.suites.callbacks import CallbackConformance
from agency.testing.suites.control import HaltConformance, WatchConformance
from agency.testing.suites.guests import GuestConformance
from agency.testing.suites.help import HelpConformance
from agency.testing.suites.membership import IdConformance, JoinConformance, LeaveConformance
from agency.testing.suites.messages import MessageConformance
from agency.testing.suites.reach import ReachConformance
from agency.testing.suites.streams import StreamConformance

__all__ = ["SharedSpaceConformance", "SpaceConformance"]


class SpaceConformance(
    JoinConformance,
    LeaveConformance,
    IdConformance,
    ActionConformance,
    HandlingConformance,
    AccessConformance,
    CallbackConformance,
    HelpConformance,
    MessageConformance,
    AnswerConformance,
    ReachConformance,
    AskConformance,
    StreamConformance,
    GuestConformance,
    WatchConformance,
    HaltConformance,
):
    """What every kind of space promises.

    Derive a test class from it and say in `make_space` how to make one.
    """


class SharedSpaceConformance(ApplicationsConformance):
    """What a space promises besides that several applications can enter.

    Derive a test class from it and say in `make_application` how another application enters the space of this test.
    """
