"""HTTP for functions: requests as events, functions' results as answers. Pure, without I/O.

One module for each form: ``payload_1`` (REST APIs, and HTTP APIs on request), ``payload_2`` (HTTP
APIs, function URLs), ``load_balancer``. They share no code where AWS's front ends differ: absent
and null members, the bodies that count as text, and the results that are refused.
"""
