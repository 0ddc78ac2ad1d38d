/** What the components share: building elements, lists with keys, icons, notices, signed in or not. */

const SVG = 'http://www.w3.org/2000/svg';
const NOTICE_LIFE = 7_000;
const ICONS = {
  check: 'M4 12.5l5 5L20 6.5',
  close: 'M6 6l12 12M18 6L6 18',
  computer: 'M4 5h16v11H4zM2 20h20',
  down: 'M6 9l6 6 6-6',
  download: 'M12 4v11m-5-5l5 5 5-5M5 20h14',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  file: 'M7 3h7l4 4v14H7zM14 3v5h4',
  folder: 'M3 6h6l2 2.500h10V19H3z',
  more: 'M4.500 12a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0M11.500 12a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0M18.500 12a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0',
  pause: 'M9 6v12M15 6v12',
  pencil: 'M4 20l1-4.500L16 4.500l3.500 3.500L8.500 19zM14 6.500L17.500 10',
  phone: 'M8 3h8v18H8zM11 18h2',
  play: 'M8 5l11 7-11 7z',
  plus: 'M12 5v14M5 12h14',
  send: 'M4 12l16-8-5 16-3.500-6.500z',
  share: 'M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3 20c0-4 2.500-6 6-6s6 2 6 6M18 8v6M15 11h6',
  trash: 'M4 7h16M9 7V4h6v3M6.500 7l1 13h9l1-13M10 11v5M14 11v5',
  upload: 'M12 16V5m-5 5l5-5 5 5M5 20h14',
};

/**
 * Build an element. Attributes named on… take listeners; true and false set and omit an attribute.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null)} children
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A decorative icon. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and says its name to those who do not see it. */
export function iconButton(name, label, attributes) {
  const all = { type: 'button', class: 'icon-button', 'aria-label': label, title: label };
  return el('button', { ...all, ...attributes }, icon(name));
}

/**
 * Make the children of `list` show `items`, keeping the elements (and the focus) of those that stay.
 * @param {Element} list
 * @param {object[]} items
 * @param {(item: object) => string} keyOf
 * @param {(item: object) => Element} make
 * @param {(element: Element, item: object) => void} update
 */
export function keyed(list, items, keyOf, make, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let next = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const element = old.get(key) ?? make(item);
    element.dataset.key = key;
    old.delete(key);
    update(element, item);
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
  for (const gone of old.values()) gone.remove();
}

/** Tell the reader something, for a while. */
export function notify(text, kind = 'error') {
  const close = iconButton('close', 'Dismiss', { onclick: () => notice.remove() });
  const notice = el('div', { class: `notice ${kind}`, 'data-testid': 'notice' }, el('p', {}, text), close);
  document.getElementById('notices').append(notice);
  setTimeout(() => notice.remove(), NOTICE_LIFE);
}

/** A date and time as the reader writes them; only the time for today. */
export function when(iso) {
  const date = new Date(iso);
  const isToday = date.toDateString() === new Date().toDateString();
  const style = isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' };
  return el('time', { datetime: iso }, new Intl.DateTimeFormat(undefined, style).format(date));
}

/** A component: it shows one thing to those signed in and another to those who are not. */
export class Part extends HTMLElement {
  #cleanups = [];

  /** Given by app.js once it knows who is signed in. */
  connect(wharf) {
    this.wharf = wharf;
    wharf.on('user', () => this.show());
    this.show();
  }

  /** Build anew for the current user. */
  show() {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    if (this.wharf.user) this.showMember(this.wharf.user);
    else this.showGuest();
  }

  /** Run this before building anew. */
  until(cleanup) {
    this.#cleanups.push(cleanup);
  }

  /**
   * Do something that may fail; the reader is told why. Gives undefined then. That the session ended
   * meanwhile is told once, for all that was under way.
   */
  async attempt(action) {
    const { user } = this.wharf;
    try {
      return await action();
    } catch (error) {
      const hasExpired = error.status === 401 && user && !this.wharf.user;
      if (!hasExpired) notify(error.message);
      return undefined;
    }
  }

  /** The head of the card: its name, and what else belongs there. */
  head(title, ...more) {
    return el('header', { class: 'card-head' }, el('h2', {}, title), ...more);
  }

  /** A polite request to sign in. */
  showLocked(title, text) {
    const open = () => document.querySelector('sign-in').start();
    this.replaceChildren(
      this.head(title),
      el('div', { class: 'locked' },
        el('p', {}, text),
        el('button', { type: 'button', class: 'quiet', onclick: open }, 'Sign in')),
    );
  }
}
