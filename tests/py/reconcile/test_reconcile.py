"""Our books against Stripe's: what differs is found, what agrees or is only on its way is not."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from glue.embedded import embedded_bin_dir
from glue.reconcile import MANY, WindowTooLarge
from glue.stripe_gateway import StripeUnavailable
from tests.py.deploy.tools import run
from tests.py.mirror.world import PRICE, Booking, World
from tests.py.reconcile.scenes import (
    HOUR,
    PAGES,
    Time,
    found,
    history,
    orphan,
    reconcile,
    watched,
)


def test_a_whole_history_agrees(here: World) -> None:
    history(here)
    asked = len(here.control.requests(method="POST"))

    report = reconcile(here)

    assert found(report) == []
    assert (report.pending, report.settled, report.unsettled) == (0, 0, 0)
    assert (report.payment_intents, report.charges, report.refunds) == (13, 10, 4)
    assert len(here.control.requests(method="POST")) == asked, "nothing was changed at Stripe"
    assert here.sql.execute("select * from booking.check_invariants()").fetchall() == []


def test_a_payment_that_nobody_here_knows_is_found_where_the_account_is_ours_alone(here: World) -> None:
    known = here.captured()
    unknown = orphan(here, {})
    here.pay(unknown)
    assert found(reconcile(here)) == [("missing_here", unknown, None, f"requires_capture {PRICE} eur")]
    assert known.intent != unknown


def test_planted_differences_of_every_kind_are_found_and_nothing_else(here: World) -> None:
    history(here)
    missing_here = orphan(here, {"payment_id": str(uuid4()), "booking_id": str(uuid4())})
    paid_once = here.captured()
    not_at_stripe, other_price, more_captured, refunded, canceled, captured = (
        here.book(), here.book(), here.captured(), here.captured(), here.authorized(), here.authorized(),
    )  # fmt: skip
    here.prepare(not_at_stripe)
    here.record(not_at_stripe, "pi_never_made")
    dearer = here.create_intent(other_price)
    here.deliver()
    # from here on, nobody tells us
    second = orphan(here, {"payment_id": str(paid_once.payment_id)})
    here.pay(second)
    here.customer.v1.payment_intents.update(dearer, {"amount": PRICE + 100})
    here.sql.execute(
        "set session_replication_role = replica;"
        f"update booking.payments set amount_captured = {PRICE - 1} where id = '{more_captured.payment_id}';"
        "set session_replication_role = origin"
    )
    here.customer.v1.refunds.create({"payment_intent": refunded.intent, "amount": 1200})
    here.customer.v1.payment_intents.cancel(canceled.intent)
    here.customer.v1.payment_intents.capture(captured.intent)

    report = reconcile(here)

    assert sorted(found(report), key=str) == sorted(
        [
            ("missing_here", missing_here, None, "requires_payment_method 5000 eur"),
            ("missing_here", second, None, "requires_capture 5000 eur"),
            ("missing_at_stripe", "pi_never_made", "pending 5000 eur", None),
            ("amount", dearer, "5000", "5100"),
            ("captured", more_captured.intent, "4999", "5000"),
            ("refunded", refunded.intent, "0", "1200"),
            ("status", canceled.intent, "authorized", "canceled"),
            ("captured", captured.intent, "0", "5000"),
            ("status", captured.intent, "authorized", "succeeded"),
        ],
        key=str,
    )
    assert report.pending == 0
    whose = {row["stripe_id"]: row["payment_id"] for row in report.differences}
    assert whose[refunded.intent] == refunded.payment_id
    assert whose[missing_here] is None
    assert here.alerts().count("reconciliation_difference") == 1


def test_what_was_resent_differs_no_more(here: World) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 1200})
    assert [kind for kind, *_ in found(reconcile(here))] == ["refunded"]

    here.deliver()

    assert found(reconcile(here)) == []


# -- the edges of the window -------------------------------------------------------------------------------


def test_a_payment_that_stretches_over_the_edges_of_windows_differs_in_none(here: World) -> None:
    """Made on one day, paid on the next, refunded on the third, all by Stripe's clock."""
    day = timedelta(days=1)
    began = datetime.now(UTC)
    booking = here.book(hours=200)
    intent = here.create_intent(booking)
    here.control.advance(days=1)
    here.pay(intent)
    here.deliver()
    here.mirror.run(here.confirm(booking))
    here.control.advance(days=1)
    here.customer.v1.refunds.create({"payment_intent": intent, "amount": 700})
    here.deliver()

    reports = [reconcile(here, start=began + n * day - HOUR, end=began + n * day + HOUR) for n in range(3)]

    assert [found(report) for report in reports] == [[], [], []]
    assert [(r.payment_intents, r.charges, r.refunds) for r in reports] == [(1, 1, 1)] * 3, (
        "each was completed"
    )

    here.customer.v1.refunds.create({"payment_intent": intent, "amount": 300})
    assert [
        found(reconcile(here, start=began + n * day - HOUR, end=began + n * day + HOUR)) for n in range(3)
    ] == [[("refunded", intent, "700", "1000")]] * 3


def test_clocks_that_differ_make_no_difference(here: World) -> None:
    """By ours in the window, by Stripe's after it: it is asked for by its id."""
    end = datetime.now(UTC) + timedelta(minutes=1)
    here.control.advance(seconds=120)
    here.captured()

    report = reconcile(here, start=end - HOUR, end=end)

    assert found(report) == []
    assert (report.payment_intents, report.charges) == (1, 1)


def test_a_window_with_nothing_in_it_has_no_difference(here: World) -> None:
    history(here)
    report = reconcile(here, start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC))
    assert found(report) == []
    assert (report.payment_intents, report.charges, report.refunds) == (0, 0, 0)


# -- what moves meanwhile ----------------------------------------------------------------------------------


def test_what_moves_while_it_is_looked_at_is_asked_for_again(here: World) -> None:
    captured, refunded, held = here.authorized(), here.captured(), here.book()
    intent = here.create_intent(held)
    here.deliver()
    gateway = watched(here)

    def move(kind: str) -> None:
        if kind == "charge":  # the PaymentIntents have been seen
            here.mirror.run(here.confirm(captured))
            here.pay(intent)
            here.deliver()
        elif kind == "refund":
            here.mirror.run(here.cancel(refunded))
            here.deliver()

    gateway.before_page = move

    report = reconcile(here, gateway)

    assert found(report) == []
    assert report.pending == 0
    assert here.payment(captured)["status"] == "captured"
    assert here.payment(refunded)["status"] == "refunded"


def test_what_moves_after_the_last_look_is_not_judged(here: World) -> None:
    """It was asked for, since it differed; then it moved on, and there is no time left."""
    booking = here.captured(hours=10)
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 100})
    gateway = watched(here)
    looks: list[str] = []
    gateway.before_look = looks.append
    reading = gateway.retrieve_whole

    def then_moves(pi_id: str, *, deadline: float = 30.0) -> list[dict[str, object]]:
        objects = reading(pi_id, deadline=deadline)
        here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 50})
        here.deliver()
        return objects

    gateway.retrieve_whole = then_moves  # type: ignore[method-assign]

    report = reconcile(here, gateway, patience=0)

    assert looks == [booking.intent]
    assert found(report) == []
    assert report.pending == 1


def test_events_on_their_way_have_time_to_arrive(here: World) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 1200})
    time = Time(on_wait=here.deliver)

    report = reconcile(here, time=time, patience=5)

    assert found(report) == []
    assert time.waits == 1


def test_a_difference_that_stays_is_waited_for_once_over(here: World) -> None:
    booking = here.captured()
    here.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": 1200})
    time = Time()

    report = reconcile(here, time=time, patience=5)

    assert [kind for kind, *_ in found(report)] == ["refunded"]
    assert time.now == pytest.approx(5)


def test_many_differences_are_not_waited_for(here: World) -> None:
    for _ in range(MANY + 1):
        orphan(here, {"payment_id": str(uuid4())})
    time = Time()

    report = reconcile(here, time=time, patience=5)

    assert len(report.differences) == MANY + 1
    assert time.waits == 0


def test_what_the_outbox_will_do_is_no_difference(here: World) -> None:
    """A capture was carried out, nobody heard of it, and only the lists answer."""
    booking = here.authorized()
    command = here.confirm(booking)
    here.customer.v1.payment_intents.capture(booking.intent)
    here.sql.execute("update booking.stripe_commands set attempts = 1 where id = %s", (command,))
    here.control.fault("503", times=100, path_regex=rf"^/v1/payment_intents/{booking.intent}$")

    report = reconcile(here)

    assert found(report) == []
    assert (report.settled, report.unsettled, report.pending) == (0, 1, 2)


# -- commands of which nobody knows what came of them --------------------------------------------------------


def lose_answer(here: World, path: str) -> None:
    here.control.fault("apply_then_drop", times=6, method="POST", path_regex=path)


@pytest.mark.parametrize("what", ["capture", "cancel", "refund"])
def test_a_command_whose_answer_was_lost_is_settled_by_asking(here: World, what: str) -> None:
    if what == "refund":
        booking = here.captured(hours=10)
        command = here.cancel(booking)
    else:
        booking = here.authorized()
        command = here.confirm(booking, "confirm" if what == "capture" else "decline")
    lose_answer(here, {"capture": r"/capture$", "cancel": r"/cancel$", "refund": r"/refunds$"}[what])
    assert here.mirror.run(command) == "pending"
    here.sql.execute("update booking.stripe_commands set run_at = now() + interval '2 hours'")
    sent = len(here.control.requests(method="POST"))

    report = reconcile(here)

    assert (report.settled, report.unsettled, report.pending) == (1, 0, 0)
    assert found(report) == []
    assert (here.command(command)["status"], here.command(command)["outcome"]) == ("done", "applied")
    expected = {
        "capture": ("captured", 0),
        "cancel": ("cancelled", 0),
        "refund": ("partially_refunded", 2500),
    }
    payment = here.payment(booking)
    assert (payment["status"], payment["amount_refunded"]) == expected[what]
    assert len(here.control.requests(method="POST")) == sent, "nothing was sent again"


def test_a_command_whose_worker_died_is_settled_by_asking(here: World) -> None:
    booking = here.authorized()
    command = here.confirm(booking)
    here.db.one(
        "select * from booking.claim_stripe_command(p_command_id => %(id)s, p_worker => 'dead')",
        {"id": command},
    )
    here.customer.v1.payment_intents.capture(booking.intent)
    assert reconcile(here).settled == 0, "while its lease lasts, it is in hand"
    here.lapse_leases()

    report = reconcile(here)

    assert (report.settled, found(report)) == (1, [])
    assert here.payment(booking)["status"] == "captured"


def test_a_command_that_never_arrived_is_put_back_as_it_was(here: World) -> None:
    booking = here.authorized()
    command = here.confirm(booking)
    here.control.fault("drop", times=6, method="POST", path_regex=r"/capture$")
    assert here.mirror.run(command) == "pending"
    here.sql.execute("update booking.stripe_commands set run_at = now() + interval '1 hour'")
    names = ("status", "attempts", "key_generation")
    before = here.command(command)

    report = reconcile(here)

    assert (report.settled, report.unsettled) == (0, 1)
    assert found(report) == []
    after = here.command(command)
    assert [after[name] for name in names] == [before[name] for name in names]
    assert abs(after["run_at"] - before["run_at"]) < timedelta(seconds=30)
    here.due()
    here.drain()
    assert here.payment(booking)["status"] == "captured"
    here.assert_books_equal()


def test_each_command_is_looked_at_once(here: World) -> None:
    bookings = [here.authorized() for _ in range(3)]
    here.control.fault("drop", times=100, method="POST", path_regex=r"/capture$")
    for booking in bookings:
        here.mirror.run(here.confirm(booking))
    here.due()

    assert reconcile(here).unsettled == 3


# -- after a disaster ----------------------------------------------------------------------------------------


def test_a_database_restored_to_an_earlier_moment_finds_the_orphans(
    here: World, empty_db_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = here.captured()
    unpaid = here.book()
    here.prepare(unpaid)
    folder = tmp_path_factory.mktemp("backup")
    programs = embedded_bin_dir()
    run(str(programs / "pg_dump"), "-Fc", "-f", str(folder / "dump"), f"--dbname={here.url}")

    # what is lost
    here.mirror.run(here.cancel(before))
    here.deliver()
    orphaned = here.captured()
    made = here.create_intent(unpaid)
    here.pay(made)
    here.deliver()

    # pg_restore of 18 sets a parameter that 15 does not know, and says so
    run(str(programs / "pg_restore"), f"--dbname={empty_db_url}", str(folder / "dump"), check=False)
    db = here.new_db(url=empty_db_url)
    report = reconcile(here, db=db, patience=0)

    assert sorted(found(report), key=str) == sorted(
        [
            ("refunded", before.intent, "0", "5000"),
            ("missing_here", orphaned.intent, None, "succeeded 5000 eur"),
            ("status", made, "pending", "requires_capture"),
        ],
        key=str,
    )
    with psycopg.connect(empty_db_url) as conn:
        row = conn.execute("select count(*) from booking.bookings").fetchone()
        assert row == (2,), "the booking of the orphan is lost"


# -- several runs, and none --------------------------------------------------------------------------------


def test_two_runs_at_once_do_not_mix(here: World) -> None:
    began = datetime.now(UTC)
    early = orphan(here, {"payment_id": str(uuid4())})
    here.control.advance(days=1)
    late = orphan(here, {"payment_id": str(uuid4())})
    both = threading.Barrier(2, timeout=120)
    reports: dict[int, list[str]] = {}

    def one(day: int) -> None:
        gateway = watched(here)
        gateway.before_page = lambda kind: both.wait()
        start = began + timedelta(days=day) - HOUR
        report = reconcile(here, gateway, start=start, end=start + 2 * HOUR)
        reports[day] = [stripe_id for _, stripe_id, *_ in found(report)]

    threads = [threading.Thread(target=one, args=(day,)) for day in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert reports == {0: [early], 1: [late]}


def test_stripe_away_ends_the_run_without_a_verdict(here: World) -> None:
    here.captured()
    here.control.fault("503", times=100, path_regex=PAGES)

    with pytest.raises(StripeUnavailable):
        reconcile(here)

    rows = here.sql.execute("select status::text, differences from booking.reconciliation_runs").fetchall()
    assert rows == [{"status": "running", "differences": None}]
    assert here.alerts() == []


def test_a_run_keeps_to_its_budget(here: World) -> None:
    here.captured()
    gateway = watched(here)
    time = Time()
    gateway.before_page = lambda kind: time.sleep(10)

    with pytest.raises(WindowTooLarge):
        reconcile(here, gateway, time=time, budget=15)


def test_pages_follow_each_other_to_the_end(here: World) -> None:
    wanted = {orphan(here, {}) for _ in range(250)}

    report = reconcile(here)

    assert report.payment_intents == 250
    rows = here.sql.execute("select stripe_id from booking.reconciliation_items").fetchall()
    assert {row["stripe_id"] for row in rows} == wanted
    lists = here.control.requests(method="GET", path=r"^/v1/payment_intents$")
    assert len(lists) == 3


def test_progress_is_told_by_phase(here: World) -> None:
    for _ in range(120):
        orphan(here, {})
    told: list[tuple[str, float]] = []

    reconcile(here, progress=lambda phase, share: told.append((phase, share)))

    for phase in ("payment_intent", "charge", "refund", "doubtful"):
        shares = [share for name, share in told if name == phase]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert all(0 <= share <= 1 for share in shares)


def test_nothing_personal_leaves_the_gateway(here: World) -> None:
    booking: Booking = here.captured()
    [charge] = next(iter(here.gateway.pages("charge", datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR)))
    assert set(charge) == {
        "id", "object", "status", "currency", "created", "payment_intent", "amount", "amount_captured",
        "amount_refunded", "captured", "refunded", "metadata",
    }  # fmt: skip
    assert charge["metadata"] == {"payment_id": str(booking.payment_id)}
    whole = here.gateway.retrieve_whole(booking.intent)
    assert "client_secret" not in whole[0]
    assert set(whole[0]["latest_charge"]) == set(charge)


def test_a_paymentintent_that_is_not_there_is_nothing(here: World) -> None:
    assert here.gateway.retrieve_whole("pi_never_made") == []


# -- orders ----------------------------------------------------------------------------------------------


def order(here: World, *, paid: bool = True) -> tuple[str, str]:
    """A purchase through Checkout: the order's id and its PaymentIntent."""
    number = len(here.sql.execute("select from booking.orders").fetchall())
    product = f"product-{number}"
    here.db.scalar(
        "select booking.create_product(p_product_id => %(p)s, p_name => 'A course', p_amount => 1900,"
        " p_currency => 'eur')",
        {"p": product},
    )
    begun = here.db.one(
        "select * from booking.begin_checkout(p_user_id => 'ann', p_product_id => %(p)s,"
        " p_idempotency_key => %(p)s, p_request_id => 'r')",
        {"p": product},
    )
    assert begun is not None
    session = here.gateway.create_checkout_session(begun, name="A course", success_url="https://shop.test/ok")
    here.db.one(
        "select booking.finish_checkout(p_order_id => %(o)s, p_request_id => 'r',"
        " p_stripe_session_id => %(s)s, p_url => %(u)s)",
        {"o": begun["order_id"], "s": session["id"], "u": session["url"]},
    )
    if paid:
        here.control.pay_session(session["id"])
    found = here.customer.v1.checkout.sessions.retrieve(session["id"])
    return str(begun["order_id"]), str(found.payment_intent)


def test_orders_of_checkout_are_ours_and_agree(here: World) -> None:
    order(here)
    order(here, paid=False)
    here.deliver()
    report = reconcile(here)
    assert found(report) == []
    assert (report.payment_intents, report.charges) == (1, 1)


def test_an_order_that_was_paid_without_our_knowing_differs(here: World) -> None:
    _, intent = order(here)
    report = reconcile(here)
    assert found(report) == [("captured", intent, "0", "1900"), ("status", intent, "pending", "succeeded")]
    assert report.differences[0]["payment_id"] is None

    here.deliver()
    assert found(reconcile(here)) == []
    here.customer.v1.refunds.create({"payment_intent": intent})
    here.deliver()
    assert found(reconcile(here)) == [], "refunds of orders are not compared"


def test_an_order_that_we_do_not_know_is_missing_here(here: World) -> None:
    _, intent = order(here)
    here.sql.execute("set session_replication_role = replica")
    here.sql.execute("delete from booking.orders")
    assert found(reconcile(here)) == [("missing_here", intent, None, "succeeded 1900 eur")]


def test_a_busy_gateway_leaves_commands_as_they_were(here: World) -> None:
    command = here.confirm(here.authorized())
    here.control.fault("drop", times=6, method="POST", path_regex=r"/capture$")
    here.mirror.run(command)
    before = here.command(command)
    gateway = here.new_gateway(max_concurrent=1)
    with gateway._call(1):
        assert here.new_mirror(gateway).settle_unknown() == (0, 1)
    after = here.command(command)
    assert (after["status"], after["attempts"], after["run_at"]) == ("pending", 1, before["run_at"])


# -- classes and refund requests -------------------------------------------------------------------------


def seat(here: World, student: str, slot: object) -> tuple[UUID, str]:
    """A student holds a seat in a class: the booking and its PaymentIntent."""
    held = here.db.one(
        "select * from booking.prepare_class_payment(p_user_id => %(u)s, p_class_id => %(s)s)",
        {"u": student, "s": slot},
    )
    assert held is not None
    intent = here.gateway.create_payment_intent(held)
    here.db.one(
        "select * from booking.record_payment_intent(p_payment_id => %(p)s,"
        " p_stripe_payment_intent_id => %(i)s)",
        {"p": held["payment_id"], "i": intent["id"]},
    )
    return held["booking_id"], str(intent["id"])


def test_classes_and_refund_requests_agree(here: World) -> None:
    session = here.db.scalar("select booking.create_session('eva', 'A class', 5000, 'eur')")
    slot = here.db.scalar(
        "select booking.publish_slot(p_expert_id => 'eva', p_session_id => %(s)s,"
        " p_starts_at => now() + interval '50 hours', p_ends_at => now() + interval '51 hours',"
        " p_capacity => 2, p_confirmation => 'instant')",
        {"s": session},
    )
    paid, paying = seat(here, "ann", slot)
    here.pay(paying)
    here.deliver()
    _, lapsed = seat(here, "ben", slot)
    here.sql.execute("select booking.cleanup_expired_bookings(p_timeout => '0')")
    here.pay(lapsed)  # seated again
    here.deliver()
    here.drain()
    request = here.db.scalar(
        "select booking.request_refund(p_student_id => 'ann', p_booking_id => %(b)s, p_amount => 700)",
        {"b": paid},
    )
    here.db.one(
        "select * from booking.decide_refund_request(p_admin_id => 'ada', p_request_id => %(r)s,"
        " p_decision => 'approve')",
        {"r": request},
    )
    assert found(reconcile(here)) == [], "approved, and not sent yet"
    here.drain()

    report = reconcile(here)

    assert found(report) == []
    assert (report.payment_intents, report.refunds, report.pending) == (2, 1, 0)
    statuses = here.sql.execute("select status::text from booking.payments order by created_at").fetchall()
    assert [row["status"] for row in statuses] == ["partially_refunded", "captured"]
