"""Tells the stories of an evening: ``python -m examples.pizza_shop``."""

from __future__ import annotations

import asyncio
import inspect

from examples.pizza_shop.stories import STORIES, evening, title


async def main() -> None:
    for story in STORIES:
        print(f"# {title(story)}\n# {inspect.getdoc(story)}")
        async with evening() as e:
            await story(e)
            print(*e.shop.diary, "", sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
