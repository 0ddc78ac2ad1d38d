import { makeForm } from './form.js';
import { Part, el, icon, iconButton, keyed, when } from './part.js';
import { describeActivity, deviceName, isPhone } from './words.js';

const RECENT = 10;
const PASSWORDS = [
  { label: 'Current password', name: 'currentPassword', type: 'password', autocomplete: 'current-password' },
  { label: 'New password', name: 'newPassword', type: 'password', autocomplete: 'new-password' },
];

/** The account: its devices, its password, what happened to it; out of sight until asked for. */
class AccountPanel extends Part {
  constructor() {
    super();
    this.addEventListener('keydown', (event) => event.key === 'Escape' && this.close());
  }

  showGuest() {
    this.hidden = true;
    this.replaceChildren();
  }

  showMember(user) {
    this.user = user;
    this.showGuest();
  }

  /** Open or close; `opener` is the button that did, and tells which of the two it is. */
  toggle(opener) {
    this.opener = opener;
    if (this.hidden) this.open();
    else this.close();
  }

  open() {
    this.hidden = false;
    this.opener.setAttribute('aria-expanded', 'true');
    this.build();
    this.querySelector('h2').focus({ preventScroll: true });
    this.scrollIntoView({ block: 'nearest' });
    this.load();
  }

  close() {
    this.showGuest();
    this.opener.setAttribute('aria-expanded', 'false');
    this.opener.focus();
  }

  build() {
    this.devices = el('ul', { class: 'devices', 'aria-labelledby': 'devices-title', 'data-testid': 'devices' });
    this.said = el('p', { class: 'form-done', role: 'status', 'data-testid': 'devices-done' });
    this.others = el('button', {
      type: 'button', class: 'quiet', hidden: true, 'data-testid': 'end-others',
      onclick: () => this.endOthers(),
    }, 'Sign out all other devices');
    this.entries = el('ol', { class: 'activity', 'aria-labelledby': 'activity-title', 'data-testid': 'activity' });
    const close = iconButton('close', 'Close', { 'data-testid': 'account-close', onclick: () => this.close() });
    this.replaceChildren(
      this.head('Your account', close),
      el('p', { class: 'hint' }, this.user.email ?? this.user.username),
      el('div', { class: 'account-parts' },
        this.section('devices', 'Devices', this.devices, this.said, this.others),
        this.section('password', 'Change password', this.passwordForm()),
        this.section('activity', 'Recent activity', this.entries)));
    this.querySelector('h2').tabIndex = -1;
  }

  section(id, title, ...children) {
    const heading = el('h3', { id: `${id}-title`, tabindex: '-1' }, title);
    return el('section', { 'aria-labelledby': `${id}-title` }, heading, ...children);
  }

  passwordForm() {
    const form = makeForm({
      id: 'password', fields: PASSWORDS, action: 'Change password',
      send: async (values) => {
        await this.wharf.changePassword(values);
        this.load();
        return 'Your password is changed. All other devices are signed out.';
      },
    });
    // For password managers, which must know whose password it is.
    const login = this.user.email ?? this.user.username;
    form.prepend(el('input', { type: 'text', autocomplete: 'username', value: login, hidden: true }));
    return form;
  }

  /** Fetch and show both lists. */
  async load() {
    const { devices, entries } = this;
    const fetched = await this.attempt(() =>
      Promise.all([this.wharf.sessions.list(), this.wharf.activity({ limit: RECENT })]));
    if (!fetched || devices !== this.devices) return;
    const [sessions, activity] = fetched;
    this.others.hidden = sessions.every((session) => session.isCurrent);
    keyed(devices, sessions, (one) => one.id, (one) => this.makeDevice(one), fillDevice);
    keyed(entries, activity, (one) => one.id, makeEntry, (item) => item);
  }

  makeDevice(session) {
    const name = deviceName(session.device);
    const facts = el('small', { id: `device-${session.id}` });
    const end = () => this.end(() => this.wharf.sessions.end(session.id), `${name} is signed out.`);
    const way = session.isCurrent
      ? el('span', { class: 'badge', 'data-testid': 'device-current' }, 'This device')
      : el('button', {
        type: 'button', class: 'quiet', 'aria-label': `Sign out ${name}`, 'aria-describedby': facts.id,
        'data-testid': 'device-end', onclick: end,
      }, 'Sign out');
    return el('li', { class: 'device', 'data-testid': 'device' },
      el('span', { class: 'face' }, icon(isPhone(session.device) ? 'phone' : 'computer')),
      el('div', { class: 'file-text' },
        el('span', { class: 'device-name', title: session.device, 'data-testid': 'device-name' }, name), facts),
      way);
  }

  endOthers() {
    return this.end(() => this.wharf.sessions.endOthers(), 'All other devices are signed out.');
  }

  /** End something, say so, and stay with the list: the button is gone. */
  async end(action, words) {
    this.said.textContent = '';
    const ended = await this.attempt(action);
    await this.load();
    if (this.hidden) return;
    if (ended) this.said.textContent = words;
    this.querySelector('#devices-title').focus();
  }
}

function fillDevice(item, { address, createdAt, isCurrent, lastActive }) {
  const active = isCurrent ? ['Active now'] : ['Last active ', when(lastActive)];
  item.querySelector('small').replaceChildren(
    ...active, el('br'), 'Signed in ', when(createdAt), address && ` from ${address}`);
}

function makeEntry(entry) {
  const { title, detail } = describeActivity(entry);
  const facts = [detail, deviceName(entry.device)].filter(Boolean).join(', ');
  return el('li', { 'data-testid': 'activity-entry' },
    el('span', { class: 'activity-title' }, title), when(entry.createdAt), el('small', {}, facts));
}

customElements.define('account-panel', AccountPanel);
