import { makeForm } from './form.js';
import { el } from './part.js';

const FIELD = { label: 'New password', name: 'password', type: 'password', autocomplete: 'new-password' };
const DONE = 'From now on, sign in with the new password. Every device has been signed out.';

/** Sets a new password by the token of a link; out of sight until there is one. */
class PasswordReset extends HTMLElement {
  /** @param {import('../wharf.js').Wharf} wharf @param {string} token */
  open(wharf, token) {
    this.wharf = wharf;
    const send = (values) => this.send(token, values);
    const form = makeForm({ id: 'reset', fields: [FIELD], action: 'Set password', send });
    form.append(this.button('Not now', 'reset-close', () => this.close()));
    this.show('Set a new password', 'At least 8 characters. The link works once.', form);
    form.elements.password.focus();
  }

  async send(token, { password }) {
    try {
      await this.wharf.reset({ token, password });
    } catch (error) {
      if (error.code !== 'invalid_token') throw error;
      this.finish('This link does not work', `${error.message}.`, 'Ask for a new link', 'forgot');
      return;
    }
    this.finish('Your password is set', DONE, 'Sign in', 'login');
  }

  /** Say how it went, and lead on to the form that comes next. */
  finish(title, text, action, mode) {
    const go = () => {
      this.close();
      if (!this.wharf.user) document.querySelector('sign-in').start(mode);
    };
    this.show(title, text, this.button(this.wharf.user ? 'Close' : action, 'reset-next', go));
    this.querySelector('h2').focus();
  }

  show(title, text, ...children) {
    this.hidden = false;
    this.replaceChildren(
      el('header', { class: 'card-head' }, el('h2', { tabindex: '-1' }, title)),
      el('p', { class: 'hint', role: 'status', 'data-testid': 'reset-text' }, text),
      ...children);
  }

  close() {
    this.hidden = true;
    this.replaceChildren();
  }

  button(text, testid, onclick) {
    return el('button', { type: 'button', class: 'quiet', 'data-testid': testid, onclick }, text);
  }
}

customElements.define('password-reset', PasswordReset);
