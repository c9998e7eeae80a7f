import asyncio
import threading

import agency
from common import make_space, tell


class Late(agency.Agent):
    @agency.action
    async def use_a_thread(self) -> None:
        await asyncio.to_thread(tell, "asyncio has threads after the end of main")


space = make_space()
space.add(Late("Late"))
me = space.join()
at_the_end_of_main = threading._register_atexit  # type: ignore[attr-defined]  # noqa: SLF001
at_the_end_of_main(lambda: me.send({"to": "Late", "action": {"name": "use_a_thread"}}))
