"""What HTTP answers look like, for the document of openapi.py; nothing is checked by them at run
time.

A class is called as the model whose rows it describes: so a noun finds its own. What may be missing
is NotRequired, what may be empty is None.
"""

from typing import (
    Any,
    Generic,
    Literal,
    NotRequired,  # pydantic needs it before Python 3.12
    TypeVar,
)

from typing_extensions import TypedDict

AnyRow = TypeVar("AnyRow")


# Of every noun


class Page(TypedDict, Generic[AnyRow]):
    """One page of a list."""

    items: list[AnyRow]
    total: int
    page: int
    size: int
    limit: int
    pages: int
    hasMore: bool
    next: str | None


class Created(TypedDict, Generic[AnyRow]):
    """What a batch added."""

    items: list[AnyRow]


class Ok(TypedDict):
    """It is done."""

    ok: bool


class Deleted(Ok):
    """What was deleted; only for who declares JSON, else there is no content."""

    id: int | str


class DeletedAll(Ok):
    """What a batch deleted."""

    ids: list[int | str]


class Error(TypedDict):
    """A failure: three names of one text, a stable code, texts by field for wrong input."""

    error: str
    message: str
    detail: str
    code: str
    status: int
    errors: NotRequired[dict[str, list[str]]]


# Nouns


class Record(TypedDict):
    """What every noun has."""

    id: int
    created_at: str
    updated_at: str
    createdAt: str
    updatedAt: str


class Author(TypedDict):
    """Who wrote something, without their email."""

    id: int
    name: str
    email: None


class Authored(Record):
    """What somebody wrote."""

    author: Author
    author_id: int
    authorId: int


class Todo(Record):
    """A line on a list; title and text are the same."""

    title: str
    text: str
    completed: bool


class Post(Authored):
    """An article."""

    title: str
    content: str
    published: bool
    category: str | None
    category_id: int | None
    tags: list[str]


class Comment(Authored):
    """A comment on a post."""

    post_id: int
    postId: int
    content: str


class Category(Record):
    """A place for posts."""

    name: str
    slug: str
    parent_id: int | None


class Refusal(TypedDict):
    """A change that was left out."""

    position: int
    reason: str


class Collection(Record):
    """Items of a kind that an app invented."""

    name: str
    sharedName: str
    owner_id: int
    access: Literal["private", "shared", "public"]
    schema: dict[str, Any] | None
    synced: bool
    count: int


class Channel(TypedDict):
    """Where replicas meet."""

    id: str
    name: str
    owner_id: int | None
    ownerId: int | None
    role: Literal["owner", "writer", "reader"] | None
    siteId: str
    version: int
    kind: Literal["log", "cl"]
    tables: list[str] | None
    schemas: dict[str, Any] | None
    created_at: str
    createdAt: str


class ChannelMember(TypedDict):
    """With whom a channel is shared."""

    id: int
    user_id: int
    userId: int
    name: str
    role: Literal["writer", "reader"]
    created_at: str
    createdAt: str


class Invite(TypedDict):
    """A link to a channel, without the token."""

    id: int
    channel: str
    role: Literal["writer", "reader"]
    expires_at: str
    expiresAt: str
    created_at: str
    createdAt: str


class NewInvite(Invite):
    """A link to a channel; the token is told once."""

    token: str


class ReplicaPeer(TypedDict):
    """A replica: what it sent, what it is known to hold, and how much of the channel it lacks."""

    id: str
    siteId: str
    userId: int | None
    kind: Literal["log", "cl"]
    received: int
    sent: int
    lag: int
    seenAt: str


class Changes(TypedDict):
    """Changes of a channel in its order, up to `version`; each a list of nine fields."""

    channel: str
    siteId: str
    version: int
    changes: list[list[Any]]
    hasMore: bool


class Acknowledged(TypedDict):
    """Changes are committed, but for those refused by position."""

    siteId: str
    version: int
    serverVersion: int
    refused: list[Refusal]


class Restored(TypedDict):
    """A channel is what a snapshot says."""

    channel: str
    version: int


class Item(TypedDict):
    """An object of a collection, with whatever fields it was given."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]

    id: str
    created_at: str
    updated_at: str
    createdAt: str
    updatedAt: str


class Tag(TypedDict):
    """A word by which posts are found."""

    id: int
    name: str


class ContextRule(Record):
    """What a chat assistant is told of a context."""

    name: str
    content: str
    description: str
    is_active: bool
    isActive: bool
    priority: int
    context_type: str
    keywords: list[str]
    excluded_topics: list[str]
    prompt_template: str
    response_filters: dict[str, Any] | list[Any]
    version: int


# Accounts


class Permission(TypedDict):
    """What a role may do."""

    id: str
    resource: str
    action: str
    description: str


class Role(TypedDict):
    """A role as `?roles=objects` has it."""

    id: str
    name: str
    description: str
    hierarchy: int
    permissions: list[Permission]


class PublicUser(TypedDict):
    """What others may know of an account."""

    id: int
    email: None
    username: str | None
    name: str
    role: str
    is_active: bool
    createdAt: str


class User(TypedDict):
    """An account, for its user and for admins."""

    id: int
    email: str | None
    username: str | None
    name: str
    display_name: str
    role: str
    roles: list[str | Role]
    permissions: list[Permission]
    is_active: bool
    mfa_enabled: bool
    createdAt: str


class OpenSession(TypedDict):
    """The session in the token reply."""

    id: str
    token: str


class TokenReply(TypedDict):
    """What a sign-in answers; a refresh by cookie has no refresh token."""

    ok: bool
    success: bool
    accessToken: str
    access_token: str
    token: str
    refreshToken: NotRequired[str]
    refresh_token: NotRequired[str]
    token_type: str
    expiresIn: int
    expires_in: int
    user: User
    userId: int
    session: OpenSession
    sessionId: str
    createdAt: str
    expiresAt: str


class Verified(Ok):
    """The token is good."""

    valid: bool
    user: User


class Checked(Ok):
    """Whether somebody is signed in."""

    authenticated: bool
    user: User | None
    csrf_token: str


class Begun(TypedDict):
    """A CSRF token before the sign-in."""

    session_id: str
    csrf_token: str


class Ticket(TypedDict):
    """What opens one socket."""

    ticket: str
    expiresIn: int


class Mailed(Ok):
    """The answer to a wish for a new password, whoever asks."""

    message: str


class Session(TypedDict):
    """Where an account is signed in."""

    id: str
    device: str
    address: str
    location: str
    createdAt: str
    lastActive: str
    isCurrent: bool


class Ended(Ok):
    """How many sessions ended."""

    ended: int


class Activity(TypedDict):
    """An entry of the audit trail."""

    id: int
    userId: int | None
    type: str
    detail: str
    address: str
    device: str
    createdAt: str


# Rooms


class Message(TypedDict):
    """Something said in a room."""

    id: int
    roomId: str
    userId: int
    userName: str
    content: str
    createdAt: str
    editedAt: str | None
    room_id: str
    user_id: int
    created_at: str


class Peer(TypedDict):
    """Who is in a room."""

    id: int
    name: str


class ListedRoom(TypedDict):
    """A room as lists have it."""

    id: str
    kind: Literal["public", "private", "direct"]
    name: str
    ownerId: int | None
    isLocked: bool
    createdAt: str
    members: int
    unread: int
    lastMessage: Message | None


class Room(ListedRoom):
    """A room with who is there."""

    participants: list[Peer]


class Left(Ok):
    """The room that was left."""

    id: str


class ReadMarker(TypedDict):
    """How far somebody has read."""

    roomId: str
    messageId: int
    unread: int


class Member(TypedDict):
    """A user in a room."""

    userId: int
    name: str
    isMuted: bool
    isBanned: bool
    joinedAt: str


# The rest


class FileShare(TypedDict):
    """Somebody a file is shared with, to read it or to write it too."""

    userId: int
    mode: Literal["read", "write"]


class FileReader(FileShare):
    """The same, with their name."""

    name: str


class File(Record):
    """An uploaded file as it is now; `size` in bytes, `sha256` in hex."""

    filename: str
    url: str
    originalName: str
    mimetype: str
    size: int
    sha256: str | None
    version: int
    folderId: int | None
    userId: int
    metadata: Any
    sharedWith: list[FileShare]
    thumbnails: dict[str, str]


class Uploaded(File):
    """The first file of an upload, and all of them."""

    files: list[File]


class FileVersion(TypedDict):
    """What a file was or is; `size` in bytes, `sha256` in hex."""

    id: int
    version: int
    userId: int
    filename: str
    url: str
    mimetype: str
    size: int
    sha256: str | None
    createdAt: str


class FileLink(TypedDict):
    """A link that leads to a file until it ends."""

    id: int
    url: str
    expiresAt: str
    maxDownloads: int | None
    downloads: int
    hasPassword: bool
    createdAt: str


class Folder(Record):
    """A folder; `path` is the names from the top."""

    name: str
    path: str
    parentId: int | None


class Job(TypedDict):
    """Work that takes a while; `progress` is in percent."""

    id: int
    jobId: int
    type: str
    status: Literal["pending", "running", "completed", "failed"]
    progress: float
    totalItems: int
    processedItems: int
    error: str | None
    createdAt: str
    updatedAt: str


class Notification(TypedDict):
    """Something a user should know."""

    id: int
    category: Literal["info", "warning", "error"]
    title: str
    message: str
    link: str
    read: bool
    readAt: str | None
    createdAt: str


class Unread(TypedDict):
    """How many are not read."""

    unread: int


class Touched(Ok):
    """Which notifications changed, and how many are not read."""

    ids: list[int]
    unread: int


class PushKey(TypedDict):
    """The key a browser subscribes with."""

    publicKey: str


class PushSubscription(TypedDict):
    """A browser that is pushed to."""

    id: int
    endpoint: str
    createdAt: str


class Published(Ok):
    """The id of the message."""

    id: str | int


class PublishedAll(Ok):
    """The ids of the messages."""

    ids: list[str | int]


class Told(TypedDict):
    """A message on a topic."""

    topic: str
    data: Any
    retain: NotRequired[bool]
    id: NotRequired[str | int]
    ts: int


class PageSettings(TypedDict):
    """Where the sockets are, empty for the page's own origin; what may be uploaded."""

    socketUrl: str
    uploadTypes: list[str]
    maxUploadBytes: int


class Checks(TypedDict):
    """What a process knows of itself and of what it needs."""

    timestamp: str
    version: str
    uptime: float
    environment: str
    websocket: bool
    databaseConnected: bool
    supabaseConnected: bool
    mysqlConnected: bool
    bus: bool
    storage: bool | None


class Health(Checks):
    """Whether a process can do its work."""

    status: Literal["ok", "degraded"]


class Down(Error, Checks):
    """The same, and a failure: the database does not answer."""

    status: Literal["down"]  # type: ignore[misc]


# The table API


class Resources(TypedDict):
    """`x=list_resources`."""

    Resources: list[str]


class TableField(TypedDict):
    """A column as MySQL describes it."""

    Field: str
    Type: str
    Null: Literal["YES", "NO"]
    Key: Literal["PRI", ""]
    Default: None
    Extra: str


class TableFields(TypedDict):
    """`x=list_fields`."""

    Resource: str
    PrimaryKey: str
    Fields: list[TableField]


class TableRows(TypedDict):
    """`x=get`: the rows have the columns that `list_fields` names, or those of `fields`."""

    total: int
    start: int
    count: int
    pages: int
    page: int
    results: list[dict[str, Any]]


class TableDone(TypedDict):
    """`x=save` and `x=delete`."""

    status: Literal["success"]
    id: int


class TableError(TypedDict):
    """What was wrong, with status 200: these pages look no further."""

    error: str
    message: str
    detail: str
    code: str
    status: Literal["error"]
    errors: NotRequired[dict[str, list[str]]]
    msg: str


class Document(TypedDict):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
