"""A function with tenant isolation is called for a tenant, any other one for none."""

from __future__ import annotations

from boda.core.errors import AwsError


def wrong_tenancy(isolated: bool) -> AwsError:
    """A call without a tenant where one is asked for, or with one where none is."""
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
