"""The durable log: what was meant, what was sent and what came of it."""
