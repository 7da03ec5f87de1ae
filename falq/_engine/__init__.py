"""The only async machinery: slots, lanes, the poller, the driver, and who owns them."""
