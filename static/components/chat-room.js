import { Part, el, icon, keyed, notify, when } from './part.js';

const TYPING_LIFE = 3_500;
const NOTES_KEPT = 30;
const TALK = { role: 'log', 'aria-live': 'polite', 'aria-label': 'Messages', tabindex: '0' };

/** A chat room: who is here, what was and is said, who is typing. */
class ChatRoom extends Part {
  noted = 0;

  showGuest() {
    this.showLocked('Chat', 'Say hello to whoever is around. The room opens once you sign in.');
  }

  showMember(user) {
    this.user = user;
    this.build();
    this.enter(localStorage.getItem('wharf.room') ?? 'lobby');
    this.until(() => this.leave());
  }

  build() {
    this.members = el('ul', { class: 'members', 'aria-label': 'In this room', 'data-testid': 'members' });
    this.log = el('ol', { class: 'log', 'data-testid': 'messages' });
    this.waiting = el('ol', { class: 'log waiting', 'aria-label': 'Not sent yet', 'data-testid': 'unsent' });
    this.typing = el('p', { class: 'typing', 'aria-live': 'polite', 'data-testid': 'typing' });
    this.replaceChildren(
      this.head('Chat', this.roomForm()),
      this.members,
      el('div', { ...TALK, class: 'talk' }, this.log, this.waiting),
      this.typing,
      this.sayForm());
  }

  roomForm() {
    this.roomName = el('input', {
      id: 'room-name', name: 'room', maxlength: 200, required: true, autocomplete: 'off',
      'data-testid': 'room-name',
    });
    return el('form', { class: 'room', onsubmit: (event) => this.change(event) },
      el('label', { for: 'room-name' }, 'Room'), this.roomName,
      el('button', { class: 'quiet', 'data-testid': 'room-go' }, 'Go'));
  }

  sayForm() {
    this.input = el('input', {
      id: 'message', name: 'content', placeholder: 'Write a message', autocomplete: 'off', required: true,
      oninput: () => this.input.value && this.room.typing(), 'data-testid': 'chat-input',
    });
    return el('form', { class: 'entry', onsubmit: (event) => this.say(event) },
      el('label', { class: 'unseen', for: 'message' }, 'Message'), this.input,
      el('button', { class: 'primary', 'aria-label': 'Send', 'data-testid': 'chat-send' }, icon('send')));
  }

  change(event) {
    event.preventDefault();
    const name = this.roomName.value.trim();
    if (!name || name === this.room.id) return;
    this.leave();
    this.enter(name);
    this.input.focus();
  }

  enter(name) {
    localStorage.setItem('wharf.room', name);
    this.roomName.value = name;
    this.entries = new Map(); // messages, and notes of who came and went
    this.typists = new Map();
    this.present = new Set();
    this.log.replaceChildren();
    this.members.replaceChildren();
    this.room = this.wharf.room(name);
    this.room.on('message', (message) => this.hear(message));
    this.room.on('presence', (change) => this.meet(change));
    this.room.on('typing', (user) => this.watchTyping(user));
    this.room.on('unsent', () => this.render());
    this.room.on('joined', ({ resumed }) => resumed || this.recall(this.room));
    this.render();
  }

  leave() {
    this.room.leave();
    for (const timer of this.typists.values()) clearTimeout(timer);
  }

  /** The history, before what was heard since. */
  async recall(room) {
    const history = await this.attempt(() => this.wharf.messages(room.id));
    if (!history || room !== this.room) return;
    const heard = [...this.entries.values()];
    this.entries = new Map(history.map((message) => [`m${message.id}`, asEntry(message)]));
    for (const entry of heard) this.entries.set(entry.key, entry);
    this.render(true);
  }

  hear(message) {
    const entry = asEntry(message);
    this.entries.set(entry.key, entry);
    this.stopTyping(message.userId);
    this.render(message.userId === this.user.id);
  }

  meet({ joined, left, members }) {
    keyed(this.members, members, (one) => one.id, () => el('li', { 'data-testid': 'member' }), (item, one) => {
      item.textContent = one.id === this.user.id ? `${one.name} (you)` : one.name;
    });
    if (left) this.stopTyping(left.id);
    const before = this.present;
    this.present = new Set(members.map((one) => one.id));
    const who = joined ?? left;
    // A second window of someone who is here comes and goes without a note.
    const isNews = who.id !== this.user.id && before.has(who.id) !== this.present.has(who.id);
    if (isNews) this.note(`${who.name} ${joined ? 'came in' : 'left'}`);
  }

  note(text) {
    const key = `n${this.noted++}`;
    this.entries.set(key, { key, note: text });
    const notes = [...this.entries.values()].filter((entry) => entry.note);
    if (notes.length > NOTES_KEPT) this.entries.delete(notes[0].key);
    this.render();
  }

  async say(event) {
    event.preventDefault();
    const content = this.input.value.trim();
    if (!content) return;
    this.input.value = '';
    const { room } = this;
    try {
      await room.send(content);
    } catch (error) {
      if (room === this.room) this.input.value ||= content;
      notify(error.message);
    }
  }

  /** Show everything; stay at the end if the reader is there, or `toEnd`. */
  render(toEnd = false) {
    const talk = this.log.parentElement;
    const isAtEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
    keyed(this.log, [...this.entries.values()], (entry) => entry.key, (entry) => this.make(entry), (item) => item);
    this.showUnsent();
    if (toEnd || isAtEnd) talk.scrollTop = talk.scrollHeight;
  }

  make({ note, message }) {
    if (note) return el('li', { class: 'note', 'data-testid': 'note' }, note);
    const isMine = message.userId === this.user.id;
    return el('li', { class: isMine ? 'message mine' : 'message', 'data-testid': 'message' },
      el('p', { class: 'byline' }, el('b', {}, isMine ? 'You' : message.userName), ' ', when(message.createdAt)),
      el('p', { class: 'content', 'data-testid': 'message-content' }, message.content));
  }

  /** What waits to be sent; not what the room has told already, its acknowledgement still on the way. */
  showUnsent() {
    const last = [...this.entries.values()].at(-1)?.message;
    const isTold = ({ content }) => last?.userId === this.user.id && last.content === content;
    const unsent = this.room.unsent.filter((said) => !this.room.isJoined || !isTold(said));
    keyed(this.waiting, unsent, (said) => said.id, ({ content }) =>
      el('li', { class: 'message mine' },
        el('p', { class: 'byline' }, 'Waiting to be sent'),
        el('p', { class: 'content' }, content)), (item) => item);
  }

  watchTyping({ id, name }) {
    clearTimeout(this.typists.get(id)?.timer);
    this.typists.set(id, { name, timer: setTimeout(() => this.stopTyping(id), TYPING_LIFE) });
    this.showTyping();
  }

  stopTyping(id) {
    clearTimeout(this.typists.get(id)?.timer);
    if (this.typists.delete(id)) this.showTyping();
  }

  showTyping() {
    const names = [...this.typists.values()].map(({ name }) => name);
    const list = new Intl.ListFormat(undefined, { type: 'conjunction' }).format(names);
    this.typing.textContent = names.length ? `${list} ${names.length > 1 ? 'are' : 'is'} typing` : '';
  }
}

function asEntry(message) {
  return { key: `m${message.id}`, message };
}

customElements.define('chat-room', ChatRoom);
