"""Booking a slot with FastAPI and SQLAlchemy's asyncio extension on asyncpg, as their documents teach it."""

import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import BigInteger, DateTime, ForeignKey, String, Text, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

SECRET = os.environ["JWT_SECRET"]
TIMEOUT = timedelta(minutes=30)
LIVE = ("pending", "confirmed")

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1),
    pool_size=int(os.environ["POOL_SIZE"]),
    max_overflow=0,
)
Sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {str: Text, datetime: DateTime(timezone=True), dict[str, Any]: JSONB}


class Session(Base):
    __tablename__ = "sessions"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    expert_id: Mapped[str]
    title: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))


class Slot(Base):
    __tablename__ = "slots"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id"))
    expert_id: Mapped[str]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    capacity: Mapped[int]
    seats_taken: Mapped[int]
    session: Mapped[Session] = relationship()


class Booking(Base):
    __tablename__ = "bookings"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    slot_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID]
    student_id: Mapped[str]
    expert_id: Mapped[str]
    payment_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    status: Mapped[str] = mapped_column(default="pending")
    currency: Mapped[str] = mapped_column(String(3))
    amount: Mapped[int] = mapped_column(BigInteger)
    scheduled_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class CreateBooking(Camel):
    slot_id: uuid.UUID
    session_id: uuid.UUID | None = None


class BookingCreated(Camel):
    booking_id: uuid.UUID
    status: str
    payment_id: uuid.UUID
    expert_id: str
    amount: int
    currency: str
    scheduled_at: datetime
    expires_at: datetime


async def student(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    try:
        claims = jwt.decode(
            credentials.credentials, SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]}
        )
    except jwt.PyJWTError as error:
        raise HTTPException(401, "invalid_token") from error
    if claims.get("role") != "student":
        raise HTTPException(403, "forbidden")
    return claims["sub"]


async def database() -> AsyncIterator[AsyncSession]:
    async with Sessions() as session:
        yield session


app = FastAPI()


@app.post("/api/bookings/create", status_code=201)
async def create_booking(
    body: CreateBooking,
    student_id: Annotated[str, Depends(student)],
    session: Annotated[AsyncSession, Depends(database)],
) -> BookingCreated:
    try:
        async with session.begin():
            slot = await session.scalar(
                select(Slot)
                .where(Slot.id == body.slot_id)
                .options(joinedload(Slot.session, innerjoin=True))
                .with_for_update(of=Slot, key_share=True)
            )
            if slot is None:
                raise HTTPException(404, "slot_not_found")
            if body.session_id is not None and body.session_id != slot.session_id:
                raise HTTPException(400, "session_mismatch")
            now = datetime.now(UTC)
            if slot.starts_at <= now or slot.seats_taken >= slot.capacity:
                raise HTTPException(409, "slot_unavailable")
            slot.seats_taken += 1
            booking = Booking(
                slot_id=slot.id,
                session_id=slot.session_id,
                student_id=student_id,
                expert_id=slot.expert_id,
                currency=slot.session.currency,
                amount=slot.session.amount,
                scheduled_at=slot.starts_at,
                ends_at=slot.ends_at,
                created_at=now,
                updated_at=now,
            )
            session.add(booking)
    except IntegrityError as error:
        raise HTTPException(409, "duplicate_booking") from error
    return BookingCreated(
        booking_id=booking.id,
        status=booking.status,
        payment_id=booking.payment_id,
        expert_id=booking.expert_id,
        amount=booking.amount,
        currency=booking.currency,
        scheduled_at=booking.scheduled_at,
        expires_at=now + TIMEOUT,
    )
