"""A session over a link that is known in advance: how far the policy is from an oracle, without a clock or a socket.

``traces`` says what the link does, ``world`` moves bytes over it, ``device`` answers requests by the rules of the
session, ``oracle`` knows the trace, and ``contest`` lets all of them answer the same requests.
"""
