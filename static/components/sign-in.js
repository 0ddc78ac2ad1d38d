import { Part, el } from './part.js';

const MODES = {
  login: {
    title: 'Welcome aboard',
    action: 'Sign in',
    text: 'Sign in for your own todos, chat, files and offline lists.',
    password: 'current-password',
  },
  register: {
    title: 'Make an account',
    action: 'Create account',
    text: 'An email and a password of at least 8 characters are enough.',
    password: 'new-password',
  },
};

/** Sign in or register; out of sight while signed in. */
class SignIn extends Part {
  mode = 'login';

  showMember() {
    this.hidden = true;
    this.replaceChildren();
  }

  showGuest() {
    this.hidden = false;
    const { title, text, action } = MODES[this.mode];
    this.form = el('form', { novalidate: true, onsubmit: (event) => this.submit(event) },
      ...this.fields(),
      el('p', { class: 'form-error', role: 'alert', 'data-testid': 'auth-error' }),
      el('button', { class: 'primary', 'data-testid': 'auth-submit' }, action));
    this.replaceChildren(this.head(title), this.choice(), el('p', { class: 'hint' }, text), this.form);
  }

  /** Bring the form into view and put the cursor in it. */
  start() {
    this.scrollIntoView({ block: 'center' });
    this.form?.elements.email.focus({ preventScroll: true });
  }

  choice() {
    const button = (mode, text) => el('button', {
      type: 'button',
      'aria-pressed': String(this.mode === mode),
      'data-testid': `mode-${mode}`,
      onclick: () => this.choose(mode),
    }, text);
    return el('div', { class: 'choice', role: 'group', 'aria-label': 'Sign in or register' },
      button('login', 'Sign in'), button('register', 'Register'));
  }

  choose(mode) {
    const { email, password } = this.form.elements;
    const kept = { email: email.value, password: password.value };
    this.mode = mode;
    this.showGuest();
    for (const [name, value] of Object.entries(kept)) this.form.elements[name].value = value;
    this.querySelector(`[data-testid="mode-${mode}"]`).focus();
  }

  fields() {
    const { password } = MODES[this.mode];
    const fields = [
      this.field('Email', { name: 'email', type: 'email', autocomplete: 'username', required: true }),
      this.field('Password', { name: 'password', type: 'password', autocomplete: password, required: true }),
    ];
    if (this.mode === 'register') {
      const name = { name: 'name', autocomplete: 'name', placeholder: 'What others call you' };
      fields.unshift(this.field('Name', name));
    }
    return fields;
  }

  field(label, attributes) {
    const { name } = attributes;
    const id = `auth-${name}`;
    return el('div', { class: 'field' },
      el('label', { for: id }, label),
      el('input', { ...attributes, id, 'aria-describedby': `${id}-error`, 'data-testid': id }),
      el('p', { class: 'field-error', id: `${id}-error` }));
  }

  async submit(event) {
    event.preventDefault();
    this.explain({});
    const form = Object.fromEntries(new FormData(this.form));
    if (!form.name) delete form.name;
    const button = this.form.querySelector('.primary');
    button.disabled = true;
    try {
      await this.wharf[this.mode](form);
    } catch (error) {
      this.explain(error);
    } finally {
      button.disabled = false;
    }
  }

  /** Say what is wrong, beside the field it is about. */
  explain({ message = '', errors = {} }) {
    for (const input of this.form.querySelectorAll('input')) {
      const [text = ''] = errors[input.name] ?? [];
      input.setAttribute('aria-invalid', String(Boolean(text)));
      document.getElementById(`auth-${input.name}-error`).textContent = text;
    }
    const isShown = Object.keys(errors).some((name) => name in this.form.elements);
    this.form.querySelector('.form-error').textContent = isShown ? '' : message;
    this.form.querySelector('[aria-invalid="true"]')?.focus();
  }
}

customElements.define('sign-in', SignIn);
