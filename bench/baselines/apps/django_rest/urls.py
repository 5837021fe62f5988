from django.urls import path

from django_rest.views import CreateBookingView

urlpatterns = [path("api/bookings/create", CreateBookingView.as_view())]
