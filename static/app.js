/** The console page: one client, shared by the components. */
import { Wharf } from './wharf.js';
import { el, notify } from './components/part.js';
import './components/sign-in.js';
import './components/todo-list.js';
import './components/chat-room.js';
import './components/file-upload.js';
import './components/replica-panel.js';
import './components/replica-pair.js';

const PARTS = 'sign-in, todo-list, chat-room, file-upload, replica-pair';
const STATES = { online: 'Live', connecting: 'Reconnecting', offline: 'Offline' };

const wharf = new Wharf();
const account = document.getElementById('account');

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
  account.append(pill,
    el('span', { class: 'who', title: user.email, 'data-testid': 'user-name' }, user.name),
    el('button', { type: 'button', class: 'quiet', onclick: signOut, 'data-testid': 'sign-out' }, 'Sign out'));
}

async function start() {
  await wharf.check().catch((error) => notify(error.message));
  showAccount(wharf.user);
  wharf.on('user', showAccount);
  wharf.on('expired', () => notify('Your session has ended. Please sign in again.', 'info'));
  for (const part of document.querySelectorAll(PARTS)) part.connect(wharf);
  document.body.classList.add('ready');
}

start();
