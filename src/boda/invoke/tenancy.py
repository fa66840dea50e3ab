"""Calls of functions with tenant isolation need a tenant, calls of others must have none."""

from __future__ import annotations

from boda.core.errors import AwsError


def wrong_tenancy(isolated: bool) -> AwsError:
    """Return the error for a missing tenant, or for one that the function does not accept."""
    if isolated:
        words = (
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in "
            "your request and try again."
        )
    else:
        words = (
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID "
            "from your request and try again."
        )
    return AwsError("InvalidParameterValueException", words, 400, Type="User")
