"""Booking a slot with Django and Django REST framework, as their documents teach it."""
