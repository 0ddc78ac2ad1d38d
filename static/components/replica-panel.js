import { randomId } from '../emitter.js';
import { el, iconButton, keyed, notify } from './part.js';

export const TABLE = 'shopping';
const QUANTITY = { name: 'quantity', type: 'number', min: 1, max: 999 };
const STATES = { online: 'Online', connecting: 'Connecting', offline: 'Offline' };

/** One replica of the shopping list: its rows, and its own switch between online and offline. */
class ReplicaPanel extends HTMLElement {
  /** @param {import('../replica.js').Replica} replica */
  async open(side, replica) {
    this.side = side;
    this.replica = replica;
    this.build();
    replica.on('change', () => this.render());
    replica.on('status', () => this.showStatus());
    replica.on('error', ({ message }) => notify(`${side}: ${message}`));
    await replica.ready;
    this.querySelector('fieldset').disabled = false;
    replica.goOnline();
    this.render();
    this.showStatus();
  }

  build() {
    const id = this.side.toLowerCase();
    this.dataset.testid = `replica-${id}`;
    this.switch = el('button', {
      type: 'button', class: 'switch', role: 'switch', 'aria-checked': 'false',
      'aria-label': `${this.side} replica online`, 'data-testid': 'replica-switch', onclick: () => this.flip(),
    });
    this.status = el('span', { class: 'state', 'data-testid': 'replica-state' });
    this.facts = el('p', { class: 'facts' });
    this.list = el('ul', { class: 'rows', 'aria-label': `${this.side} list`, 'data-testid': 'replica-rows' });
    this.empty = el('p', { class: 'empty' }, 'An empty list.');
    this.replaceChildren(
      el('div', { class: 'panel-head' }, el('h3', {}, this.side), this.status, this.switch),
      this.facts,
      el('fieldset', { disabled: true, 'aria-label': `${this.side} replica` },
        this.list, this.empty, this.entry(id)));
  }

  entry(id) {
    const add = (event) => {
      event.preventDefault();
      const { title, quantity } = event.target.elements;
      if (!title.value.trim()) return;
      this.add(title.value.trim(), readQuantity(quantity));
      event.target.reset();
      title.focus();
    };
    return el('form', { class: 'entry', onsubmit: add },
      el('label', { class: 'unseen', for: `${id}-item` }, 'Item'),
      el('input', {
        id: `${id}-item`, name: 'title', placeholder: 'Add an item', autocomplete: 'off', maxlength: 200,
        'data-testid': 'replica-item',
      }),
      el('label', { class: 'unseen', for: `${id}-quantity` }, 'Quantity'),
      el('input', {
        ...QUANTITY, id: `${id}-quantity`, value: 1, class: 'quantity', 'data-testid': 'replica-quantity',
      }),
      el('button', { class: 'primary', 'data-testid': 'replica-add' }, 'Add'));
  }

  /** Keys begin with the time, so that rows stand in the order they were made. */
  add(name, quantity) {
    const pk = Date.now().toString(36).padStart(9, '0') + randomId(4);
    this.replica.put(TABLE, pk, { name, quantity, done: false });
  }

  flip() {
    if (this.replica.state === 'offline') this.replica.goOnline();
    else this.replica.goOffline();
  }

  render() {
    const rows = this.replica.rows(TABLE);
    this.empty.hidden = rows.length > 0;
    keyed(this.list, rows, (row) => row.pk, (row) => this.make(row), fill);
  }

  make({ pk }) {
    const put = (values) => this.replica.put(TABLE, pk, values);
    return el('li', { class: 'row', 'data-testid': 'replica-row' },
      el('input', {
        type: 'checkbox', name: 'done', 'aria-label': 'Done', 'data-testid': 'row-done',
        onchange: (event) => put({ done: event.target.checked }),
      }),
      el('input', {
        name: 'name', class: 'bare', 'aria-label': 'Item', maxlength: 200, 'data-testid': 'row-name',
        onchange: (event) => put({ name: event.target.value }),
      }),
      el('input', {
        ...QUANTITY, class: 'bare quantity', 'aria-label': 'Quantity', 'data-testid': 'row-quantity',
        onchange: (event) => put({ quantity: readQuantity(event.target) }),
      }),
      iconButton('trash', 'Delete', {
        'data-testid': 'row-delete',
        onclick: () => this.replica.remove(TABLE, pk),
      }));
  }

  /** Mark the rows that the other replica holds differently. */
  mark(keys) {
    for (const item of this.list.children) item.classList.toggle('differs', keys.has(item.dataset.key));
  }

  showStatus() {
    const { state, pending, version, siteId } = this.replica;
    this.dataset.state = state;
    this.status.textContent = STATES[state];
    this.switch.setAttribute('aria-checked', String(state !== 'offline'));
    const fact = (label, value, testid) =>
      el('span', {}, `${label} `, el('b', { 'data-testid': testid }, String(value)));
    this.facts.replaceChildren(
      fact('pending', pending, 'replica-pending'),
      fact('version', version, 'replica-version'),
      fact('site', siteId.slice(0, 6), 'replica-site'));
  }
}

function fill(item, row) {
  const [done, name, quantity] = item.querySelectorAll('input');
  done.checked = Boolean(row.done);
  item.classList.toggle('done', Boolean(row.done));
  // What is being typed stays: it is written, and wins or loses, when it is finished.
  if (document.activeElement !== name) name.value = row.name ?? '';
  if (document.activeElement !== quantity) quantity.value = row.quantity ?? 1;
}

function readQuantity(input) {
  return Math.min(999, Math.max(1, Math.round(input.valueAsNumber) || 1));
}

customElements.define('replica-panel', ReplicaPanel);
