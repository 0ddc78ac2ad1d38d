"""The HTTP addresses: one blueprint per noun, one file each.

A new noun takes: its model in models.py with `LISTED`, `SEARCHED`, `load`, `owned_by` and
`to_dict`; a migration (`flask db migrate`); a file here, of which todos.py is the one to copy; its
blueprint in the tuple below; and, to be told live, its topic in sockets/widget.py `TABLES`.
`health` is not in the tuple because socket processes answer it too.
"""

from routes import (
    auth,
    files,
    health,
    members,
    notifications,
    pages,
    passwords,
    rooms,
    sessions,
    todos,
    users,
)

__all__ = ["blueprints", "health"]

blueprints = (
    pages.bp,
    auth.bp,
    sessions.bp,
    passwords.bp,
    users.bp,
    todos.bp,
    rooms.bp,
    members.bp,
    files.bp,
    notifications.bp,
)
