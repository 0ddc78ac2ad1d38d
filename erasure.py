"""Deleting an account: what is its user's alone goes, what was said to others stays without a name.

The row stays, empty: messages point to it, and a frame that is on its way finds it. A table that
points to users has its place here; a test looks for those that have none.
"""

from typing import Any

from sqlalchemy import delete, func, select, update

import channels
from auth import end_sessions, note
from bus import SESSIONS_ENDED
from events import as_text, chunks, forget_topics, record_removal, record_withdrawal
from files import delete_uploads, end_share, tell_reader
from models import (
    Collection,
    Comment,
    CrdtChannel,
    CrdtMember,
    CrdtPeer,
    DeletedChannel,
    File,
    FileShare,
    Folder,
    Job,
    Member,
    Message,
    Notification,
    OneTimeToken,
    Post,
    PushSubscription,
    Receipt,
    Retained,
    Room,
    Session,
    StoredEvent,
    Todo,
    Upload,
    User,
    db,
    lock_row,
    now,
    rows_of,
)
from passwords import dummy_hash

ERASED = "Deleted user"
OWN: tuple[Any, ...] = (  # in the order in which they point to each other
    OneTimeToken,
    Session,
    Todo,
    Notification,
    PushSubscription,
    Job,
)


def erase(user: User, by: str) -> None:
    """Delete the account; the bytes of its files go after the commit."""
    note("deleted", user, by)
    end_sessions(user, "the account was deleted")
    forget_name(user)
    leave_rooms(user)
    forget_channels(user)
    forget_events(user)
    forget_drafts(user)
    forget_collections(user)
    for table in OWN:
        db.session.execute(delete(table).where(table.user_id == user.id))
    forget_files(user)
    user.email = user.username = None
    user.name, user.role, user.password_hash = ERASED, "user", dummy_hash()
    user.is_active, user.deleted_at = False, now()


def forget_name(user: User) -> None:
    """Take the name out of what rooms and readers were told, which is told again to who resumes.

    The present name: what was told before the user took it stays.
    """
    spoke = select(Message.room_id).where(Message.user_id == user.id)
    sat = select(Member.room_id).where(Member.user_id == user.id)
    topics = [Room.topic_of(room_id) for room_id in db.session.scalars(spoke.union(sat))]
    topics += [Post.topic_of(None), Comment.topic_of(None)]
    ways = (("userId", "userName"), ("userId", "name"), ("id", "name"))  # in messages, of members
    for id_key, name_key in ways:
        was, now_is = (
            as_text({id_key: user.id, name_key: name})[1:-1] for name in (user.name, ERASED)
        )
        for chunk in chunks(topics):
            there = StoredEvent.topic.in_(chunk) & StoredEvent.data.contains(was, autoescape=True)
            changed = func.replace(StoredEvent.data, was, now_is)
            db.session.execute(update(StoredEvent).where(there).values(data=changed))


def forget_files(user: User) -> None:
    """Take out files, folders and what was being uploaded, and leave what others shared.

    Readers hear that the files are gone, their owner nothing: those names are to be forgotten.
    """
    lock_row(user, "role")  # an upload that ends at this moment comes before, or is refused
    delete_uploads(select(Upload).where(Upload.user_id == user.id))
    shared = select(File).join(FileShare).where(FileShare.user_id == user.id)
    for file in rows_of(shared.order_by(File.user_id)):
        if file.lock():
            end_share(file, user)
    files = rows_of(select(File).where(File.user_id == user.id))
    for file in files:
        for share in file.shares:
            tell_reader(file, share.user, is_gone=True)
    for chunk in chunks([file.id for file in files]):
        File.delete_all(chunk)
    folders = select(Folder).where(Folder.user_id == user.id)
    for folder in rows_of(folders.order_by(Folder.path.desc())):
        db.session.delete(folder)
        db.session.flush()  # the deepest first


def leave_rooms(user: User) -> None:
    """Give up all seats but those in direct rooms, which are named after both."""
    seats = select(Member).where(Member.user_id == user.id).order_by(Member.room_id)
    for member in rows_of(seats):
        room = db.session.get(Room, member.room_id)
        if room.kind == "direct":
            continue
        if room.kind == "private" and not rows_of(room.others(user.id).limit(1)):
            room.delete(user)
            record_removal(room, user, "deleted")
            continue
        member.is_muted = member.is_banned = False  # nobody is left whom a seat would bind
        record_removal(room, user, "left", room.remove(member))


def forget_channels(user: User) -> None:
    """Delete the sync channels of `user`, also those that are shared, and leave those of others."""
    own = select(CrdtChannel).where(CrdtChannel.owner_id == user.id)
    for channel in rows_of(own.order_by(CrdtChannel.name)):  # all lock them in this order
        channels.delete(channel)
    kept = update(DeletedChannel).where(DeletedChannel.owner_id == user.id)
    db.session.execute(kept.values(owner_id=None))
    for member in rows_of(select(CrdtMember).where(CrdtMember.user_id == user.id)):
        channels.remove_member(member)
    guest = update(CrdtPeer).where(CrdtPeer.user_id == user.id)
    db.session.execute(guest.values(user_id=None))


def forget_drafts(user: User) -> None:
    """Delete what nobody else has read; posts and comments stay, as messages do."""
    for draft in rows_of(select(Post).where(Post.author_id == user.id, Post.published.is_(False))):
        draft.delete()
    db.session.flush()


def forget_collections(user: User) -> None:
    """Delete what the user invented, what others put into it too."""
    for collection in rows_of(select(Collection).where(Collection.owner_id == user.id)):
        collection.lock()  # before its items, as every writer does
        record_withdrawal(collection, collection.topics)
        collection.delete()
    db.session.flush()


def forget_events(user: User) -> None:
    """Empty what this user alone was told or answered; places stay, so that no seq is missing.

    But for the ends of sessions, of which another process may still have to hear.
    """
    db.session.execute(delete(Receipt).where(Receipt.owner == user.topic))
    db.session.execute(delete(Retained).where(Retained.audience == user.topic))
    own = [one.topic_of(user) for one in (Todo, File, Folder)]
    forget_topics([user.topic, *own], SESSIONS_ENDED)
