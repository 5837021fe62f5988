"""The tables of ../../tables.sql."""

import uuid

from django.db import models


class Session(models.Model):
    id = models.UUIDField(primary_key=True)
    expert_id = models.TextField()
    title = models.TextField()
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)

    class Meta:
        managed = False
        db_table = "sessions"


class Slot(models.Model):
    id = models.UUIDField(primary_key=True)
    session = models.ForeignKey(Session, on_delete=models.PROTECT)
    expert_id = models.TextField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    capacity = models.IntegerField()
    seats_taken = models.IntegerField(default=0)

    class Meta:
        managed = False
        db_table = "slots"


class Booking(models.Model):
    class Status(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        DECLINED = "declined"
        CANCELLED = "cancelled"
        COMPLETED = "completed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, db_constraint=False)
    session = models.ForeignKey(Session, on_delete=models.PROTECT, db_constraint=False)
    student_id = models.TextField()
    expert_id = models.TextField()
    payment_id = models.UUIDField(default=uuid.uuid4)
    status = models.TextField(choices=Status.choices, default=Status.PENDING)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()
    scheduled_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    details = models.JSONField(default=dict)
    cancelled_by = models.TextField(null=True)
    cancellation_reason = models.TextField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        managed = False
        db_table = "bookings"
