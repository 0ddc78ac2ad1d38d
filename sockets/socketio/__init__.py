"""Socket.IO (docs/frontends/brolostack.md): libraries know the protocol, we know what it is about.

`endpoint` takes requests, `engine` carries packets, `client` is one client as the hub knows it,
`dialect` reads and words packets, `rooms` says what the events do.
"""
