"""The outbox: events between the commit that made them and the post office.

Law of this file: an event is written in the transaction of its object, and its row goes only
after the post office has taken it (or refused it for good). A crash in between posts it again at
the next start: at least once, never zero times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from boda.core.arn import bucket_arn
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.principal import service_principal
from boda.core.tasks import Tasks
from boda.delivery.contract import EventSource, PostOffice
from boda.gateway.calling.operation import Context
from boda.runtime import trace
from boda.services.s3 import rows
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.notifications import events
from boda.services.s3.rows import OutboxMessage
from boda.services.s3.sequence import Sequence as Numbers
from boda.storage.rows import Rows, Tx

_log = logging.getLogger(__name__)

_BATCH = 200
_RETRY_FIRST_S = 1.0
_RETRY_LAST_S = 60.0
S3_HOST = "s3.amazonaws.com"


class Outbox:
    """Posts events once their commit stands.

    numbers: the sequence, shared with all writes. What cannot be posted now is retried in the
    background after 1, 2, 4 … 60 seconds.
    """

    def __init__(
        self, rows: Rows, post: PostOffice, clock: Clock, ids: Ids, numbers: Numbers
    ) -> None:
        self._rows = rows
        self._post = post
        self._clock = clock
        self._ids = ids
        self._numbers = numbers
        self._posted: list[int] = []
        self._waiting: set[int] = set()
        self._have_posted = asyncio.Event()
        self._have_waiting = asyncio.Event()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Post what an earlier run left, in the background."""
        self._waiting = set(await self._rows.read(rows.message_ids))
        if self._waiting:
            self._have_waiting.set()
        self._tasks.spawn(self._forget(), "forgetting posted events")
        self._tasks.spawn(self._retry(), "posting events again")

    async def stop(self) -> None:
        await self._tasks.cancel()
        await self._forget_posted()

    def put(
        self, tx: Tx, bucket: Bucket, happening: events.Happening, ctx: Context
    ) -> list[OutboxMessage]:
        """On the writer thread, within the object's transaction: write down who is to know."""
        written = []
        trace_id = ctx.headers.get(trace.HEADER, "")
        for target, event in events.messages(happening, bucket, ctx, self._ids):
            message = OutboxMessage(
                self._numbers.next(),
                target,
                event,
                bucket.name,
                bucket.account,
                bucket.region,
                trace_id,
            )
            rows.insert_message(tx, message)
            written.append(message)
        if written:
            # A deletion leaves no row whose number a restart could find, so it is kept here.
            rows.set_last_number(tx, written[-1].id)
        return written

    async def post(self, messages: Sequence[OutboxMessage]) -> None:
        """After the commit: hand the messages over. Never raises because of one."""
        if len(messages) == 1:
            await self._post_one(messages[0])
        elif messages:
            await asyncio.gather(*(self._post_one(message) for message in messages))

    async def _post_one(self, message: OutboxMessage) -> None:
        source = EventSource(
            service_principal(S3_HOST, message.account),
            bucket_arn(message.bucket),
            message.account,
            message.region,
            message.trace_id,
        )
        try:
            await self._post.deliver(message.target, message.event, source)
        except AwsError as error:
            if error.fault == "server" or error.status == 429:
                self._keep(message)
                return
            # The target is gone or no longer lets us in: S3 drops such events too.
            _log.warning(
                "an event of bucket %s for %s was dropped: %s",
                message.bucket,
                message.target,
                error,
            )
        except Exception:
            _log.exception("an event of bucket %s is kept for a retry", message.bucket)
            self._keep(message)
            return
        except asyncio.CancelledError:
            self._keep(message)
            raise
        self._posted.append(message.id)
        self._have_posted.set()

    def _keep(self, message: OutboxMessage) -> None:
        self._waiting.add(message.id)
        self._have_waiting.set()

    async def _forget(self) -> None:
        """Remove the rows of posted messages, many in one write."""
        while True:
            await self._have_posted.wait()
            self._have_posted.clear()
            await self._forget_posted()

    async def _forget_posted(self) -> None:
        while self._posted:
            batch, self._posted = self._posted[:_BATCH], self._posted[_BATCH:]
            try:
                await self._rows.write(partial(rows.drop_messages, ids=batch))
            except Exception:
                # They are posted again at the next start, which "at least once" allows.
                _log.exception("the rows of posted events could not be removed")

    async def _retry(self) -> None:
        wait_s = _RETRY_FIRST_S
        while True:
            await self._have_waiting.wait()
            self._have_waiting.clear()
            await self._post_waiting()
            if self._waiting:
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, _RETRY_LAST_S)
                self._have_waiting.set()
            else:
                wait_s = _RETRY_FIRST_S

    async def _post_waiting(self) -> None:
        """One round over everything that waits, oldest first."""
        waiting = sorted(self._waiting)
        for index in range(0, len(waiting), _BATCH):
            batch = waiting[index : index + _BATCH]
            try:
                messages = await self._rows.read(partial(rows.messages_of, ids=batch))
            except Exception:
                _log.exception("waiting events could not be read")
                return
            self._waiting.difference_update(batch)
            for message in messages:
                await self._post_one(message)
