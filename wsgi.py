"""What gunicorn loads: `wsgi:web`, `wsgi:socket`, or `wsgi:app` for both in one process.

The Procfile says how. Building an app starts nothing: threads and connections come with the first
request that needs them.
"""

import gc

import sockets
from app import create_app
from config import Settings, require_secret

require_secret(Settings())
web = create_app(serve="web")
socket = create_app(serve="socket")
app = create_app(serve="app")
sockets.close_on_sigterm(socket, app)

# What is built by now stays: each full collection would look at all of it, for a fifth of a second.
gc.collect()
gc.freeze()
# Cycles are few: to look for them after each 700 new objects takes a tenth of a merge (bench/).
gc.set_threshold(50_000, 20, 20)
