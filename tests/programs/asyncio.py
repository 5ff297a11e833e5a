import asyncio
async def m():
    p = await asyncio.create_subprocess_exec('true'); print(await p.wait())
asyncio.run(m())
