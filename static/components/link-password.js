import { makeForm } from './form.js';
import { el } from './part.js';

const FIELD = { label: 'Password', name: 'password', type: 'password', autocomplete: 'off' };

/**
 * Asks for the password of a link to a file, and saves the file, or says that the link has ended; out of
 * sight until there is one.
 */
class LinkPassword extends HTMLElement {
  /** @param {import('../wharf.js').Wharf} wharf @param {string} token */
  async open(wharf, token) {
    this.wharf = wharf;
    this.action = `/links/${token}`;
    const status = await wharf.server.fetch('HEAD', this.action).then(() => 200, (error) => error.status);
    if (status === 404) this.show('This link has ended. Whoever sent it to you can make another.', this.closeButton('Close'));
    else this.ask();
  }

  show(words, ...parts) {
    this.hidden = false;
    this.replaceChildren(
      el('header', { class: 'card-head' }, el('h2', {}, 'A file for you')),
      el('p', { class: 'hint', 'data-testid': 'follow-words' }, words), ...parts);
  }

  closeButton(words) {
    const attributes = { type: 'button', class: 'quiet', 'data-testid': 'follow-close', onclick: () => this.close() };
    return el('button', attributes, words);
  }

  ask() {
    const form = makeForm({
      id: 'follow', fields: [FIELD], action: 'Download', send: (values) => this.send(values),
    });
    form.method = 'post';
    form.action = this.action;
    form.append(this.closeButton('Not now'));
    this.show('Whoever sent you this link knows its password.', form);
    form.elements.password.focus();
  }

  /** Here rather than by the browser, which would show a refusal as bare JSON. */
  async send(values) {
    const answer = await this.wharf.server.fetch('POST', this.action, { body: new URLSearchParams(values) });
    const name = nameIn(answer.headers.get('Content-Disposition') ?? '');
    const href = URL.createObjectURL(await answer.blob());
    el('a', { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    return `${name} is downloaded.`;
  }

  close() {
    history.replaceState(null, '', location.pathname + location.search);
    this.hidden = true;
    this.replaceChildren();
  }
}

/** The file's name in an answer's header (RFC 6266). */
function nameIn(disposition) {
  const coded = disposition.match(/filename\*=UTF-8''([^;]+)/i)?.[1];
  if (coded) return decodeURIComponent(coded);
  return disposition.match(/filename="?([^";]+)/i)?.[1] ?? 'file';
}

customElements.define('link-password', LinkPassword);
