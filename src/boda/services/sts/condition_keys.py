"""The condition keys of STS. Pure.

Source: Service Authorization Reference, "Condition keys for AWS Security Token Service".
"""

from __future__ import annotations

_SUPPLIED = """
    sts:ExternalId sts:RoleSessionName sts:TransitiveTagKeys
"""
_NEVER_PRESENT = """
    sts:AWSServiceName sts:DurationSeconds sts:IdentityTokenAudience sts:RequestContext/
    sts:RequestContextProviders sts:SigningAlgorithm sts:SourceIdentity sts:TaskPolicyArn
    accounts.google.com:aud accounts.google.com:oaud accounts.google.com:sub
    cognito-identity.amazonaws.com:amr cognito-identity.amazonaws.com:aud
    cognito-identity.amazonaws.com:sub graph.facebook.com:app_id graph.facebook.com:id
    www.amazon.com:app_id www.amazon.com:user_id
    saml:aud saml:cn saml:commonName saml:doc saml:eduorghomepageuri
    saml:eduorgidentityauthnpolicyuri saml:eduorglegalname saml:eduorgsuperioruri
    saml:eduorgwhitepagesuri saml:edupersonaffiliation saml:edupersonassurance
    saml:edupersonentitlement saml:edupersonnickname saml:edupersonorgdn saml:edupersonorgunitdn
    saml:edupersonprimaryaffiliation saml:edupersonprimaryorgunitdn saml:edupersonprincipalname
    saml:edupersonscopedaffiliation saml:edupersontargetedid saml:givenName saml:iss saml:mail
    saml:name saml:namequalifier saml:organizationStatus saml:primaryGroupSID saml:sub
    saml:sub_type saml:surname saml:uid saml:x500UniqueIdentifier
"""
"""No identity provider is federated here, and requests that would supply the others are refused by
name."""

CONDITION_KEYS = (_SUPPLIED + _NEVER_PRESENT).split()
