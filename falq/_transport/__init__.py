"""What carries calls: a boundary of three verbs, and aiohttp behind it."""
