/** The console page: one client, shared by the components. */
import { Wharf } from './wharf.js';
import { el, icon, notify } from './components/part.js';
import './components/account-panel.js';
import './components/password-reset.js';
import './components/sign-in.js';
import './components/todo-list.js';
import './components/chat-room.js';
import './components/file-browser.js';
import './components/link-password.js';
import './components/replica-panel.js';
import './components/replica-peers.js';
import './components/replica-pair.js';

const PARTS = 'account-panel, sign-in, todo-list, chat-room, file-browser, replica-pair';
const STATES = { online: 'Live', connecting: 'Reconnecting', offline: 'Offline' };

const wharf = new Wharf();
const account = document.getElementById('account');
const resetToken = takeResetToken();

/** The token of the link that led here; it leaves the address at once, so that none keeps it. */
function takeResetToken() {
  const token = location.hash.match(/^#reset=(.+)/)?.[1];
  if (token) history.replaceState(null, '', location.pathname + location.search);
  return token;
}

function openReset(token) {
  if (token) document.querySelector('password-reset').open(wharf, token);
}

/** The form of a link with a password; its address stays, so that it may be opened again. */
function openLink() {
  const token = location.hash.match(/^#link=(.+)/)?.[1];
  if (token) document.querySelector('link-password').open(wharf, token);
}

/** A file that is dropped beside its place would take the page's. */
function keepPage(event) {
  if ([...event.dataTransfer.types].includes('Files')) event.preventDefault();
}

/** Who is signed in, how the connection is, and the way out. */
function showAccount(user) {
  document.body.classList.toggle('member', Boolean(user));
  account.replaceChildren();
  if (!user) return;
  const pill = el('span', { class: 'pill', role: 'status', 'data-testid': 'connection' });
  const showState = () => {
    pill.dataset.state = wharf.socket.state;
    pill.textContent = STATES[wharf.socket.state];
  };
  wharf.socket.on('state', showState);
  wharf.live.on('error', ({ message }) => notify(message));
  showState();
  const signOut = () => wharf.logout().catch((error) => notify(error.message));
  account.append(pill, panelButton(user),
    el('button', { type: 'button', class: 'quiet', onclick: signOut, 'data-testid': 'sign-out' }, 'Sign out'));
}

/** One's name, which opens and closes the account panel. */
function panelButton({ name, email }) {
  const panel = document.getElementById('account-panel');
  const button = el('button', {
    type: 'button', class: 'who', title: email, 'aria-expanded': 'false', 'aria-controls': panel.id,
    'data-testid': 'account-open', onclick: () => panel.toggle(button),
  },
  el('span', { 'data-testid': 'user-name' }, name), el('span', { class: 'unseen' }, '(account)'), icon('down'));
  return button;
}

async function start() {
  await wharf.check().catch((error) => notify(error.message));
  showAccount(wharf.user);
  wharf.on('user', showAccount);
  wharf.on('expired', () => notify('Your session has ended. Please sign in again.', 'info'));
  for (const part of document.querySelectorAll(PARTS)) part.connect(wharf);
  document.body.classList.add('ready');
  openReset(resetToken);
  openLink();
  addEventListener('dragover', keepPage);
  addEventListener('drop', keepPage);
  addEventListener('hashchange', () => {
    openReset(takeResetToken());
    openLink();
  });
}

start();
