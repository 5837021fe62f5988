"""Commands of `pgbooking` that have a module of their own; cli.py puts them together."""
