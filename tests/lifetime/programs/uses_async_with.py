import asyncio

from common import make_space, populate


async def main() -> None:
    async with make_space() as space:
        await asyncio.to_thread(populate, space)
        print(await space.join("async").proxy("Given").greet.arequest(), flush=True)


asyncio.run(main())
print("end of main", flush=True)
