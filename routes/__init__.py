"""The HTTP addresses: one blueprint per noun, one file each."""

from routes import auth, files, health, pages, rooms, todos

__all__ = ["blueprints", "health"]

blueprints = (pages.bp, auth.bp, todos.bp, rooms.bp, files.bp)
