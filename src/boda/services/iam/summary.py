"""The account as a whole: counts of its entities, and lists of those that boda lacks.

Source of the quotas: IAM User Guide, "IAM and AWS STS quotas".
"""

from __future__ import annotations

from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules
from boda.services.iam.access import IamOperations, listing, on_account

_QUOTAS = {
    "AccessKeysPerUserQuota": rules.KEYS_PER_USER,
    "AssumeRolePolicySizeQuota": rules.TRUST_SIZE,
    "AttachedPoliciesPerGroupQuota": rules.ATTACHED_LIMIT,
    "AttachedPoliciesPerRoleQuota": rules.ATTACHED_LIMIT,
    "AttachedPoliciesPerUserQuota": rules.ATTACHED_LIMIT,
    "GroupPolicySizeQuota": rules.INLINE_SIZE["group"],
    "GroupsPerUserQuota": rules.GROUPS_PER_USER,
    "GroupsQuota": 300,
    "InstanceProfilesQuota": 1_000,
    "PoliciesQuota": 1_500,
    "PolicySizeQuota": rules.MANAGED_SIZE,
    "PolicyVersionsInUseQuota": 10_000,
    "RolePolicySizeQuota": rules.INLINE_SIZE["role"],
    "RolesQuota": 1_000,
    "ServerCertificatesQuota": 20,
    "SigningCertificatesPerUserQuota": 2,
    "UserPolicySizeQuota": rules.INLINE_SIZE["user"],
    "UsersQuota": 5_000,
    "VersionsPerPolicyQuota": rules.VERSIONS_PER_POLICY,
}
_ABSENT = dict.fromkeys(
    (
        *("AccountMFAEnabled", "AccountPasswordPresent", "AccountSigningCertificatesPresent"),
        *("InstanceProfiles", "MFADevices", "MFADevicesInUse", "Providers", "ServerCertificates"),
    ),
    0,
)
"""An account of boda has none of these."""
_NONE: tuple[str, ...] = ()


class Summary(IamOperations):
    @operation("GetAccountSummary", authorize=on_account("GetAccountSummary"))
    async def get_account_summary(self, ctx: Context) -> dict[str, Any]:
        store = self.store
        own = [policy for policy in store.policies.values() if policy.account == store.account]
        counted = {
            "AccountAccessKeysPresent": int(bool(store.keys_of(store.account))),
            "GlobalEndpointTokenVersion": 1,
            "Groups": len(store.groups),
            "Policies": len(own),
            "PolicyVersionsInUse": sum(len(policy.versions) for policy in own),
            "Roles": len(store.roles),
            "Users": len(store.users),
        }
        return {"SummaryMap": {**_QUOTAS, **_ABSENT, **counted}}

    @operation("ListAccountAliases", authorize=on_account("ListAccountAliases"), paged=PAGED)
    async def list_account_aliases(self, ctx: Context) -> Listing:
        return RowList(_NONE, str)

    @operation(
        "ListInstanceProfiles",
        authorize=listing("instance-profile", "ListInstanceProfiles"),
        paged=PAGED,
    )
    async def list_instance_profiles(self, ctx: Context, *, path_prefix: str = "/") -> Listing:
        return RowList(_NONE, str)

    @operation("ListOpenIDConnectProviders", authorize=on_account("ListOpenIDConnectProviders"))
    async def list_open_id_connect_providers(self, ctx: Context) -> dict[str, Any]:
        return {"OpenIDConnectProviderList": []}
