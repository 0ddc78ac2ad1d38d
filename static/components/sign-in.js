import { makeForm } from './form.js';
import { Part, el } from './part.js';

const NAME = { label: 'Name', name: 'name', autocomplete: 'name', placeholder: 'What others call you' };
const EMAIL = { label: 'Email', name: 'email', type: 'email', autocomplete: 'username' };
const PASSWORD = { label: 'Password', name: 'password', type: 'password' };

const MODES = {
  login: {
    title: 'Welcome aboard',
    action: 'Sign in',
    text: 'Sign in for your own todos, chat, files and offline lists.',
    fields: [EMAIL, { ...PASSWORD, autocomplete: 'current-password' }],
    other: ['forgot', 'Forgot your password?'],
  },
  register: {
    title: 'Make an account',
    action: 'Create account',
    text: 'An email and a password of at least 8 characters are enough.',
    fields: [NAME, EMAIL, { ...PASSWORD, autocomplete: 'new-password' }],
  },
  forgot: {
    title: 'Forgot your password?',
    action: 'Send me a link',
    text: 'Give the email of your account, and we mail you a link to set a new password.',
    fields: [EMAIL],
    other: ['login', 'Back to sign in'],
  },
};

/** Sign in, register, or ask for a new password; out of sight while signed in. */
class SignIn extends Part {
  mode = 'login';

  showMember() {
    this.hidden = true;
    this.mode = 'login';
    this.replaceChildren();
  }

  showGuest() {
    this.hidden = false;
    const { title, text, fields, action, other } = MODES[this.mode];
    this.form = makeForm({ id: 'auth', fields, action, send: (values) => this.send(values) });
    if (other) this.form.append(this.way('link', ...other));
    this.replaceChildren(this.head(title), this.choice(), el('p', { class: 'hint' }, text), this.form);
  }

  /** Bring the form into view and put the cursor in it. */
  start(mode = this.mode === 'forgot' ? 'login' : this.mode) {
    if (mode !== this.mode) this.choose(mode);
    this.scrollIntoView({ block: 'center' });
    this.form?.elements.email.focus({ preventScroll: true });
  }

  choice() {
    const ways = [['login', 'Sign in'], ['register', 'Register']].map(([mode, text]) => {
      const button = this.way(null, mode, text);
      button.setAttribute('aria-pressed', String(this.mode === mode));
      return button;
    });
    return el('div', { class: 'choice', role: 'group', 'aria-label': 'Sign in or register' }, ...ways);
  }

  /** A button that leads to another mode, its own group keeping the focus. */
  way(style, mode, text) {
    const testid = style ? `to-${mode}` : `mode-${mode}`;
    const go = () => {
      this.choose(mode);
      if (style) this.form.elements.email.focus();
      else this.querySelector(`[data-testid="${testid}"]`).focus();
    };
    return el('button', { type: 'button', class: style, 'data-testid': testid, onclick: go }, text);
  }

  /** Show another form; what was typed is kept. */
  choose(mode) {
    const typed = new FormData(this.form);
    this.mode = mode;
    this.showGuest();
    for (const [name, value] of typed) {
      const input = this.form.elements[name];
      if (input) input.value = value;
    }
  }

  async send(values) {
    if (this.mode === 'forgot') return `${(await this.wharf.requestReset(values)).message}.`;
    if (!values.name) delete values.name;
    await this.wharf[this.mode](values);
    return undefined;
  }
}

customElements.define('sign-in', SignIn);
