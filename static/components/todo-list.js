import { Part, el, iconButton, keyed, when } from './part.js';

const POLL = 5_000;

/** Todos: live for those signed in; the public list, asked for now and then, for guests. */
class TodoList extends Part {
  todos = new Map();
  early = null; // changes that came while the list was being fetched

  showMember() {
    this.build('Your todos', 'Changes from your other windows appear by themselves.');
    this.until(this.wharf.watch('todos', (change) => this.hear(change), () => this.load()));
  }

  showGuest() {
    this.build('Public todos', 'Anyone here can change this list. Sign in for one of your own.');
    this.load();
    const timer = setInterval(() => document.hidden || this.load(true), POLL);
    this.until(() => clearInterval(timer));
  }

  build(title, hint) {
    this.todos.clear();
    this.count = el('p', { class: 'count', 'data-testid': 'todo-count' });
    this.list = el('ul', { class: 'todos', 'aria-label': title, 'data-testid': 'todo-items' });
    this.empty = el('p', { class: 'empty', hidden: true }, 'All clear. Add the first one above.');
    const input = el('input', {
      id: 'new-todo', name: 'title', placeholder: 'What needs doing?', autocomplete: 'off',
      maxlength: 500, required: true, 'data-testid': 'todo-input',
    });
    const form = el('form', { class: 'entry', onsubmit: (event) => this.add(event) },
      el('label', { class: 'unseen', for: 'new-todo' }, 'New todo'), input,
      el('button', { class: 'primary', 'data-testid': 'todo-add' }, 'Add'));
    const about = el('p', { class: 'hint' }, hint);
    this.replaceChildren(this.head(title, this.count), about, form, this.list, this.empty);
  }

  /** Fetch the list; what changes meanwhile is applied on top of it. */
  async load(isQuiet = false) {
    this.early = [];
    const list = () => this.wharf.todos.list();
    const todos = await (isQuiet ? list().catch(() => null) : this.attempt(list));
    const early = this.early ?? [];
    this.early = null;
    if (todos) this.todos = new Map(todos.map((todo) => [todo.id, todo]));
    for (const change of early) this.apply(change);
    this.render();
  }

  hear(change) {
    if (this.early) {
      this.early.push(change);
      return;
    }
    this.apply(change);
    this.render();
  }

  apply({ event, row }) {
    if (event === 'DELETE') this.todos.delete(row.id);
    else this.todos.set(row.id, row);
  }

  render() {
    const todos = [...this.todos.values()].sort((one, two) => two.id - one.id);
    const done = todos.filter((todo) => todo.completed).length;
    this.count.textContent = todos.length ? `${done} of ${todos.length} done` : '';
    this.empty.hidden = todos.length > 0;
    keyed(this.list, todos, (todo) => todo.id, (todo) => this.make(todo), (item, todo) => this.fill(item, todo));
  }

  make({ id }) {
    const box = el('input', {
      type: 'checkbox', 'data-testid': 'todo-done',
      onchange: () => this.change(() => this.wharf.todos.update(id, { completed: box.checked })),
    });
    return el('li', { class: 'todo', 'data-testid': 'todo' },
      el('label', {}, box, el('span', { class: 'todo-title' }), el('span', { class: 'todo-time' })),
      iconButton('pencil', 'Rename', { 'data-testid': 'todo-edit', onclick: () => this.edit(id) }),
      iconButton('trash', 'Delete', {
        'data-testid': 'todo-delete',
        onclick: () => this.change(() => this.wharf.todos.delete(id)),
      }));
  }

  fill(item, todo) {
    item.querySelector('input[type="checkbox"]').checked = todo.completed;
    item.classList.toggle('done', todo.completed);
    item.querySelector('.todo-title').textContent = todo.title;
    item.querySelector('.todo-time').replaceChildren(when(todo.createdAt));
    for (const button of item.querySelectorAll('.icon-button')) {
      button.setAttribute('aria-label', `${button.title} ${todo.title}`);
    }
  }

  async add(event) {
    event.preventDefault();
    const input = event.target.elements.title;
    const title = input.value.trim();
    if (!title) return;
    input.value = ''; // at once: the next one may be typed before the answer is here
    input.focus();
    if (!(await this.change(() => this.wharf.todos.create({ title })))) input.value ||= title;
  }

  edit(id) {
    const item = this.list.querySelector(`[data-key="${id}"]`);
    if (item.querySelector('form')) return;
    const { title } = this.todos.get(id);
    const close = () => {
      form.remove();
      item.querySelector('[data-testid="todo-edit"]').focus();
    };
    const save = (event) => {
      event.preventDefault();
      const text = form.elements.title.value.trim();
      if (text && text !== title) this.change(() => this.wharf.todos.update(id, { title: text }));
      close();
    };
    const form = el('form', { class: 'entry rename', onsubmit: save },
      el('input', { name: 'title', 'aria-label': 'New title', maxlength: 500, 'data-testid': 'todo-title' }),
      el('button', { class: 'primary' }, 'Save'),
      el('button', { type: 'button', class: 'quiet', onclick: close }, 'Cancel'));
    form.addEventListener('keydown', (event) => event.key === 'Escape' && close());
    form.elements.title.value = title;
    item.append(form);
    form.elements.title.select();
  }

  /** Change something: true when it worked. Our own change is shown at once, not only when told. */
  async change(action) {
    const isDone = await this.attempt(async () => {
      await action();
      return true;
    });
    if (!isDone || !this.wharf.user || this.wharf.socket.state !== 'online') await this.load();
    return Boolean(isDone);
  }
}

customElements.define('todo-list', TodoList);
