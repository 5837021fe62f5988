"""Bearer tokens of HS256, without a table of users."""

from dataclasses import dataclass

import jwt
from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed


@dataclass(frozen=True)
class Student:
    id: str
    is_authenticated: bool = True


class BearerAuthentication(BaseAuthentication):
    def authenticate(self, request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = jwt.decode(
                token, settings.SECRET_KEY, algorithms=["HS256"], options={"require": ["exp", "sub"]}
            )
        except jwt.PyJWTError as error:
            raise AuthenticationFailed from error
        if claims.get("role") != "student":
            raise AuthenticationFailed
        return Student(claims["sub"]), None

    def authenticate_header(self, _request):
        return "Bearer"
