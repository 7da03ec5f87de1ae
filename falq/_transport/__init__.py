"""What carries calls: a boundary of four verbs, and aiohttp behind it."""
