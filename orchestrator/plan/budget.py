"""How long the money lasts: affordable seconds, reserves, worst-case cost. Pure arithmetic in dollars and seconds.

Every amount is rounded against the user: costs up, affordable time down.
"""

from __future__ import annotations

import msgspec

HOUR_S = 3600.0


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every bound of a run, fixed when it is planned and journalled with it, so that a replay decides the same."""

    launch_grace_s: float = 600.0  # a create call that failed may still bear an instance for so long
    missing_grace_s: float = 30.0  # an instance must be unlisted for so long before it counts as gone
    timer_granularity_s: float = 60.0  # the instance's own timer may fire so much late
    save_reserve_s: float = 180.0  # kept for the box to checkpoint and end
    stop_patience_s: float = 180.0  # a box that was asked to stop and has not ended by then is ended
    pull_reserve_s: float = 180.0  # kept for bringing the adapter home
    teardown_reserve_s: float = 120.0  # kept for the destroy call and its retries
    start_s: float = 420.0  # usual boot, upload and start of an attempt
    duration_margin: float = 1.2  # an offer counts as enough when even so many times its expected duration fits
    useful_s: float = 300.0  # an attempt that can train for less than this is not begun
    unreachable_s: float = 900.0  # an instance that does not answer for so long is given up
    poll_s: float = 10.0  # between two readings of a healthy box
    stop_poll_s: float = 15.0  # the same, once the box was asked to stop
    look_s: float = 60.0  # between two looks at the cloud's own list while all is well
    fuse_s: float = 2400.0  # an instance's first timer; set to its whole life once its rate has been read back
    unread_rate_factor: float = 3.0  # a rate that was not read back yet may be so many times the offer's
    round_s: float = 60.0  # before an offer that has failed is tried again
    retry_s: float = 5.0  # first wait after a failed call; doubles up to retry_cap_s
    retry_cap_s: float = 60.0
    teardown_give_up_s: float = 3600.0  # after so long without proof the command ends with exit 6
    rate_tolerance: float = 0.02  # a read-back rate may exceed the offer's by this share
    max_attempts: int = 12  # attempts of one run
    max_tries_per_offer: int = 3  # failed attempts on one offer
    max_resubmits: int = 3  # times in a row that a lost job is started again on the same box without getting further
    max_uploads: int = 5
    max_pulls: int = 6
    checkpoint_pull_s: float = 300.0  # at most one checkpoint is pulled home in so long

    @property
    def closing_s(self) -> float:
        """Seconds between the soft deadline and the instance's end."""
        return self.save_reserve_s + self.pull_reserve_s + self.teardown_reserve_s


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money of one run: what may be spent and what is."""

    cap_usd: float | None  # None: no cap was given, and nothing may cost anything
    spent_usd: float = 0.0  # worst case, closed attempts
    running_usd: float = 0.0  # worst case so far, the open attempt

    @property
    def left_usd(self) -> float:
        """What may still be committed."""
        return 0.0 if self.cap_usd is None else max(0.0, self.cap_usd - self.spent_usd - self.running_usd)


def usd(rate_usd_per_hour: float, seconds: float) -> float:
    """Cost of ``seconds`` at an hourly rate, in dollars."""
    return rate_usd_per_hour * max(0.0, seconds) / HOUR_S


def affordable_s(left_usd: float, rate_usd_per_hour: float, policy: Policy) -> float:
    """Seconds an instance may live so that even its worst case stays within ``left_usd``.

    The worst case is the read-back rate (up to the tolerance above the offer's) until the instance's own timer has
    fired one granularity late. Infinite for a free offer.
    """
    if rate_usd_per_hour <= 0.0:
        return float("inf")
    worst_rate = rate_usd_per_hour * (1.0 + policy.rate_tolerance)
    return max(0.0, left_usd / worst_rate * HOUR_S - policy.timer_granularity_s)


def reserve_usd(rate_usd_per_hour: float, policy: Policy) -> float:
    """What is kept back for saving, pulling and teardown at this rate."""
    return usd(rate_usd_per_hour * (1.0 + policy.rate_tolerance), policy.closing_s + policy.timer_granularity_s)
