"""The runtime interface client, under the names that AWS's has.

Monitoring tools reach into it: they wrap ``awslambdaric.bootstrap.handle_event_request`` and the
methods of ``LambdaRuntimeClient``. So these are what really runs: the bootstrap calls them by their
names for each invocation, and what was put in their place is called instead.
"""
