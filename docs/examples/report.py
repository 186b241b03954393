# docs/examples/report.py
import asyncio

from twofold import cached


@cached(timeout="1h")
async def count_words(text: str) -> int:
    await asyncio.sleep(0.1)  # stands for what is slow: a query, a download
    return len(text.split())


async def main() -> None:
    counts = await asyncio.gather(*[count_words("to be or not to be") for _ in range(100)])
    info = count_words.cache_info()
    print(f"{counts[0]} words, asked {len(counts)} times, computed {info.computed}")


if __name__ == "__main__":
    asyncio.run(main())
