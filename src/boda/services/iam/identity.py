"""Who is who, from memory: the gateway's directory, and credentials for sessions and functions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from boda.core.arn import build, session_arn
from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.core.policy import Policy, Question, decide, principal_keys, time_keys
from boda.core.principal import Kind, Principal, root_of, service_principal
from boda.gateway.signing.identity import Credential, Permissions
from boda.services.iam.entities import (
    AccessKey,
    Document,
    Group,
    Role,
    Session,
    Tags,
    User,
    session_token,
)
from boda.services.iam.store import IamStore

_LINGER_S = 3_600.0
"""How long expired credentials are still known, so that their user reads "expired"."""
_SWEEP_EVERY = 256

_NOTHING = Policy({}, ())


class Identity:
    """The directory of one account (gateway.signing.identity.Directory), and more for those above.

    ``load`` first; then everything but the ``async`` methods answers from memory.
    """

    def __init__(self, store: IamStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._issued: dict[str, Session] = {}
        self._issues = 0
        self._seen = store.generation
        self._credentials: dict[str, Credential] = {}
        self._permissions: dict[tuple[str, str, str], Permissions] = {}
        self._root: AccessKey | None = None

    @property
    def account(self) -> str:
        return self._store.account

    @property
    def generation(self) -> int:
        return self._store.generation

    async def load(self) -> None:
        """Read the rows; forget sessions that have ended."""
        await self._store.load()
        self._seen = -1
        await self._forget_ended()

    # The root user

    async def ensure_root(
        self, access_key_id: str | None = None, secret: str | None = None
    ) -> Credential:
        """The root user's key pair, made at the first start.

        access_key_id, secret: make this pair the root user's, whatever was before.
        """
        owned = [key for key in self._store.keys_of(self.account) if key.active]
        if access_key_id and secret:
            wanted = AccessKey(self.account, access_key_id, self.account, secret, self._clock.now())
            held = self._store.keys.get(access_key_id)
            if held is None or (held.owner, held.secret) != (wanted.owner, wanted.secret):
                await self._store.save(wanted)
            self._root = self._store.keys[access_key_id]
        elif owned:
            self._root = min(owned, key=lambda key: key.created_at)
        else:
            self._root = self.new_key(self.account)
            await self._store.save(self._root)
        return self.root_credential()

    def root_credential(self) -> Credential:
        """The key pair of ``ensure_root``."""
        if self._root is None:
            raise LookupError("ensure_root has not run")
        return Credential(
            self._root.access_key_id,
            self._root.secret,
            root_of(self.account, self._root.access_key_id),
        )

    def new_key(self, owner: str) -> AccessKey:
        """A fresh key pair, not yet saved."""
        access_key_id = "AKIA" + self._ids.base32(16)
        return AccessKey(
            self.account, access_key_id, owner, self._secret(), float(int(self._clock.now()))
        )

    def _secret(self) -> str:
        return base64.b64encode(self._ids.bytes(30)).decode()

    # The gateway's directory

    def credential(self, access_key_id: str) -> Credential | None:
        self._refresh()
        found = self._credentials.get(access_key_id)
        if found is None:
            found = self._credential(access_key_id)
            if found is not None:
                self._credentials[access_key_id] = found
        return found

    def permissions(self, principal: Principal) -> Permissions:
        self._refresh()
        key = (principal.policy_source, principal.unique_id, principal.access_key_id)
        found = self._permissions.get(key)
        if found is None:
            found = self._permissions_of(principal)
            if len(self._permissions) > 4_096:
                self._permissions.clear()
            self._permissions[key] = found
        return found

    def _refresh(self) -> None:
        if self._seen != self._store.generation:
            self._seen = self._store.generation
            self._credentials.clear()
            self._permissions.clear()

    def _credential(self, access_key_id: str) -> Credential | None:
        key = self._store.keys.get(access_key_id)
        if key is not None:
            if key.owner == self.account:
                principal = root_of(self.account, access_key_id)
            else:
                user = self._user_by_id(key.owner)
                if user is None:
                    return None
                principal = self._principal("user", user.arn, user.unique_id, user, access_key_id)
            return Credential(access_key_id, key.secret, principal, active=key.active)
        session = self.session(access_key_id)
        if session is None:
            return None
        source = self._source(session.policy_source, session.unique_id, session.arn)
        if source is None and session.policy_source != root_of(self.account).arn:
            # The role or user is gone; another one of the same name is somebody else.
            return None
        principal = self._principal(
            session.kind,
            session.arn,
            session.unique_id,
            source,
            access_key_id,
            session.tags,
            session.issued_at,
            session.function_arn,
        )
        return Credential(
            access_key_id, session.secret, principal, session.token, session.expires_at
        )

    def _principal(
        self,
        kind: Kind,
        arn: str,
        unique_id: str,
        source: User | Role | None,
        access_key_id: str,
        tags: Tags = (),
        issued_at: int | None = None,
        function_arn: str = "",
    ) -> Principal:
        own = {key.lower() for key, _ in tags}
        inherited = source.tags if source is not None else ()
        merged = (*(tag for tag in inherited if tag[0].lower() not in own), *tags)
        policy_source = source.arn if source is not None else root_of(self.account).arn
        return Principal(
            kind,
            self.account,
            arn,
            unique_id,
            policy_source,
            access_key_id,
            merged,
            issued_at,
            function_arn,
        )

    def _user_by_id(self, unique_id: str) -> User | None:
        found = self._store.owners.get(unique_id)
        return found if isinstance(found, User) else None

    def _source(self, policy_source: str, unique_id: str, arn: str) -> User | Role | None:
        """The user or role behind a principal, unless it has been replaced by a namesake."""
        found = self._store.actors.get(policy_source)
        if found is None:
            return None
        federated = isinstance(found, User) and ":federated-user/" in arn
        if not federated and unique_id.partition(":")[0] != found.unique_id:
            return None
        return found

    def _permissions_of(self, principal: Principal) -> Permissions:
        session: tuple[Policy, ...] = ()
        held = self.session(principal.access_key_id)
        if held is not None:
            named = (self._store.policies.get(arn) for arn in held.policy_arns)
            session = (
                *(document.policy for document in held.policies),
                *(found.default.document.policy for found in named if found is not None),
            )
            if not session and (held.policies or held.policy_arns):
                session = (_NOTHING,)
        source = self._source(principal.policy_source, principal.unique_id, principal.arn)
        if source is None:
            return Permissions(session=session)
        boundary = None
        if source.boundary:
            policy = self._store.policies.get(source.boundary)
            boundary = policy.default.document.policy if policy is not None else _NOTHING
        return Permissions(self._identity_policies(source), boundary, session)

    def _identity_policies(self, source: User | Role) -> tuple[Policy, ...]:
        holders: list[User | Role | Group] = [source]
        if isinstance(source, User):
            holders += self._store.groups_of(source)
        found: list[Policy] = []
        for holder in holders:
            found += (document.policy for document in holder.inline.values())
            for arn in holder.attached:
                policy = self._store.policies.get(arn)
                if policy is not None:
                    found.append(policy.default.document.policy)
        return tuple(found)

    # Names of principals in policies

    def unique_id(self, arn: str) -> str | None:
        found = self._store.actors.get(arn)
        return found.unique_id if found is not None else None

    def role_id(self, name: str) -> str | None:
        found = self._store.roles.get(name)
        return found.unique_id if found is not None else None

    def arn_of(self, unique_id: str) -> str | None:
        found = self._store.owners.get(unique_id)
        return found.arn if found is not None else None

    # Roles, for those who act in their name

    def role(self, arn: str) -> Role | None:
        found = self._store.actors.get(arn)
        return found if isinstance(found, Role) else None

    def role_tags(self, arn: str) -> Mapping[str, str]:
        role = self.role(arn)
        return dict(role.tags) if role is not None else {}

    def role_trusts(
        self, role_arn: str, service: str, context: Mapping[str, str] | None = None
    ) -> bool:
        """Does the role exist, and does it let the service (``lambda.amazonaws.com``) assume it?

        context: condition keys by lower-case names, such as ``aws:sourcearn``.
        """
        role = self.role(role_arn)
        if role is None:
            return False
        principal = service_principal(service, self.account)
        keys = {
            **time_keys(self._clock.now()),
            **{f"aws:resourcetag/{key.lower()}": value for key, value in role.tags},
            "aws:resourceaccount": self.account,
            "aws:sourceaccount": self.account,
            **(context or {}),
            **principal_keys(principal),
        }
        question = Question(principal, "sts:AssumeRole", role_arn, keys)
        return decide(question, resource=role.trust).allowed

    def issue_role_credentials(
        self, role_arn: str, session_name: str, duration_s: float, *, function_arn: str = ""
    ) -> Credential:
        """Short-lived credentials of a role, in memory only. Raises LookupError: no such role.

        function_arn: the function that they are for, without a qualifier.
        Whoever calls this has asked ``role_trusts`` before.
        """
        role = self.role(role_arn)
        if role is None:
            raise LookupError(f"there is no role {role_arn}")
        session = self._session(
            "assumed-role",
            self._session_arn(role, session_name),
            f"{role.unique_id}:{session_name}",
            role.arn,
            duration_s,
            function_arn=function_arn,
        )
        self._issues += 1
        if self._issues % _SWEEP_EVERY == 0:
            self._forget_issued()
        self._issued[session.access_key_id] = session
        credential = self.credential(session.access_key_id)
        assert credential is not None
        return credential

    def revoke(self, access_key_id: str) -> None:
        """End credentials of ``issue_role_credentials`` before their time."""
        self._issued.pop(access_key_id, None)
        self._credentials.pop(access_key_id, None)

    def principal_of_role(self, role_arn: str, session_name: str) -> Principal | None:
        """The principal a service acts as when it uses a role, without any credentials."""
        role = self.role(role_arn)
        if role is None:
            return None
        return self._principal(
            "assumed-role",
            self._session_arn(role, session_name),
            f"{role.unique_id}:{session_name}",
            role,
            "",
            issued_at=int(self._clock.now()),
        )

    def _session_arn(self, role: Role, session_name: str) -> str:
        return session_arn(self.account, role.name, session_name)

    # Sessions, for STS

    def session(self, access_key_id: str) -> Session | None:
        """The session behind short-lived credentials."""
        if not access_key_id:
            return None
        return self._issued.get(access_key_id) or self._store.sessions.get(access_key_id)

    def account_of_key(self, access_key_id: str) -> str | None:
        known = access_key_id in self._store.keys or self.session(access_key_id) is not None
        return self.account if known else None

    def has_policy(self, arn: str) -> bool:
        return arn in self._store.policies

    async def open_role_session(
        self,
        role_arn: str,
        session_name: str,
        duration_s: float,
        *,
        policies: Sequence[str] = (),
        policy_arns: Sequence[str] = (),
        tags: Tags = (),
        transitive: Sequence[str] = (),
    ) -> Credential:
        """Credentials of a role that survive a restart. Raises LookupError: no such role."""
        role = self.role(role_arn)
        if role is None:
            raise LookupError(f"there is no role {role_arn}")
        return await self._open(
            self._session(
                "assumed-role",
                self._session_arn(role, session_name),
                f"{role.unique_id}:{session_name}",
                role.arn,
                duration_s,
                policies,
                policy_arns,
                tags,
                transitive,
            )
        )

    async def open_user_session(self, principal: Principal, duration_s: float) -> Credential:
        """Credentials of the user (or the root user) for a while."""
        return await self._open(
            self._session(
                principal.kind,
                principal.arn,
                principal.unique_id,
                principal.policy_source,
                duration_s,
            )
        )

    async def open_federated_session(
        self,
        principal: Principal,
        name: str,
        duration_s: float,
        *,
        policies: Sequence[str] = (),
        policy_arns: Sequence[str] = (),
        tags: Tags = (),
    ) -> Credential:
        """Credentials of a federated user: what the user may do, within the session policies.

        Without session policies they may do nothing that a resource policy does not allow.
        """
        return await self._open(
            self._session(
                principal.kind,
                build("sts", "", self.account, f"federated-user/{name}"),
                f"{self.account}:{name}",
                principal.policy_source,
                duration_s,
                policies or ([] if policy_arns else [_DENY_BY_SILENCE]),
                policy_arns,
                tags,
            )
        )

    def _session(
        self,
        kind: Kind,
        arn: str,
        unique_id: str,
        policy_source: str,
        duration_s: float,
        policies: Sequence[str] = (),
        policy_arns: Sequence[str] = (),
        tags: Tags = (),
        transitive: Sequence[str] = (),
        function_arn: str = "",
    ) -> Session:
        now = self._clock.now()
        return Session(
            self.account,
            "ASIA" + self._ids.base32(16),
            self._secret(),
            session_token(int(now), self._ids.bytes(120)),
            kind,
            arn,
            unique_id,
            policy_source,
            float(int(now + duration_s)),
            tuple(Document.read(text) for text in policies),
            tuple(policy_arns),
            tags,
            tuple(transitive),
            function_arn,
        )

    async def _open(self, session: Session) -> Credential:
        await self._store.save(session, remove=self._ended())
        found = self.credential(session.access_key_id)
        if found is None:
            raise LookupError(f"{session.policy_source} is gone")
        return found

    def _ended(self) -> list[Session]:
        limit = self._clock.now() - _LINGER_S
        ended = [found for found in self._store.sessions.values() if found.expires_at < limit]
        for session in ended:
            self._credentials.pop(session.access_key_id, None)
        return ended

    async def _forget_ended(self) -> None:
        ended = self._ended()
        if ended:
            await self._store.save(remove=ended)

    def _forget_issued(self) -> None:
        limit = self._clock.now() - _LINGER_S
        ended = [found for found in self._issued.values() if found.expires_at < limit]
        for session in ended:
            self.revoke(session.access_key_id)


# A session policy that says nothing about anything anybody can ask for.
_DENY_BY_SILENCE = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"none:None","Resource":"*"}]}'
)
