"""Invoices as PDF: what they look like (`pdf`, `fonts`), and who makes them when (`renderer`)."""
