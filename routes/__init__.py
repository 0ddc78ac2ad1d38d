"""The HTTP addresses: one blueprint per noun, one file each.

docs/add-a-noun.md adds one.
`everywhere` are those that socket processes answer too.
"""

from routes import (
    api_docs,
    auth,
    categories,
    changes,
    channel_members,
    channels,
    collections,
    comments,
    context_rules,
    events,
    files,
    health,
    jobs,
    members,
    notifications,
    pages,
    passwords,
    posts,
    rooms,
    sessions,
    tables,
    todos,
    users,
)

__all__ = ["blueprints", "everywhere"]

everywhere = (health.bp, events.bp)
blueprints = (
    pages.bp,
    auth.bp,
    sessions.bp,
    passwords.bp,
    users.bp,
    todos.bp,
    posts.bp,
    posts.search,
    comments.bp,
    categories.bp,
    context_rules.bp,
    collections.bp,
    collections.items,
    channels.bp,
    channel_members.bp,
    channel_members.joins,
    changes.bp,
    tables.bp,
    rooms.bp,
    members.bp,
    files.bp,
    notifications.bp,
    jobs.bp,
    api_docs.bp,
)
