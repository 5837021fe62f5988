"""POST /api/bookings/create: lock the slot's row, look, write."""

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from django_rest.models import Booking, Slot

TIMEOUT = timedelta(minutes=30)


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT


class CreateBooking(serializers.Serializer):
    slotId = serializers.UUIDField(source="slot_id")
    sessionId = serializers.UUIDField(source="session_id", required=False)


class BookingCreated(serializers.Serializer):
    bookingId = serializers.UUIDField(source="id")
    status = serializers.CharField()
    paymentId = serializers.UUIDField(source="payment_id")
    expertId = serializers.CharField(source="expert_id")
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    scheduledAt = serializers.DateTimeField(source="scheduled_at")
    expiresAt = serializers.SerializerMethodField()

    def get_expiresAt(self, booking):
        return booking.created_at + TIMEOUT


class CreateBookingView(APIView):
    def post(self, request):
        body = CreateBooking(data=request.data)
        body.is_valid(raise_exception=True)
        booking = book(request.user.id, **body.validated_data)
        return Response(BookingCreated(booking).data, status=status.HTTP_201_CREATED)


def book(student_id, slot_id, session_id=None):
    try:
        with transaction.atomic():
            slots = Slot.objects.select_for_update(of=("self",), no_key=True).select_related("session")
            slot = slots.filter(pk=slot_id).first()
            if slot is None:
                raise NotFound("slot_not_found")
            if session_id is not None and session_id != slot.session_id:
                raise ValidationError("session_mismatch")
            if slot.starts_at <= timezone.now() or slot.seats_taken >= slot.capacity:
                raise Conflict("slot_unavailable")
            slot.seats_taken += 1
            slot.save(update_fields=["seats_taken"])
            return Booking.objects.create(
                slot=slot,
                session=slot.session,
                student_id=student_id,
                expert_id=slot.expert_id,
                currency=slot.session.currency,
                amount=slot.session.amount,
                scheduled_at=slot.starts_at,
                ends_at=slot.ends_at,
            )
    except IntegrityError as error:
        raise Conflict("duplicate_booking") from error
