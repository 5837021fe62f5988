"""The Flask shim around the stored functions and what it needs; no business rule lives here."""

__version__ = "0.1.0"
