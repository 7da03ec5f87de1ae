"""The decisions, as plain functions over values: no await, clock, chance or I/O."""
