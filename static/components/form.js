import { el } from './part.js';

/**
 * A form that says what is wrong beside the field it is about, and what was done below.
 * @param {object} options
 * @param {string} options.id begins the names of all that is in it
 * @param {{label: string, name: string}[]} options.fields with further attributes of the inputs
 * @param {string} options.action what its button says
 * @param {(values: Record<string, string>) => Promise<string | void>} options.send gives the words
 *   that say it worked; a form that stays is then empty again
 * @returns {HTMLFormElement}
 */
export function makeForm({ id, fields, action, send }) {
  return el('form', { class: 'stack', novalidate: true, onsubmit: (event) => submit(event, send) },
    ...fields.map((field) => makeField(id, field)),
    el('p', { class: 'form-error', role: 'alert', 'data-testid': `${id}-error` }),
    el('p', { class: 'form-done', role: 'status', 'data-testid': `${id}-done` }),
    el('button', { class: 'primary', 'data-testid': `${id}-submit` }, action));
}

function makeField(form, { label, name, ...attributes }) {
  const id = `${form}-${name}`;
  const shown = { ...attributes, id, name, required: true, 'aria-describedby': `${id}-error` };
  return el('div', { class: 'field' },
    el('label', { for: id }, label),
    el('input', { ...shown, 'data-testid': id }),
    el('p', { class: 'field-error', id: `${id}-error` }));
}

async function submit(event, send) {
  event.preventDefault();
  const form = event.currentTarget;
  const button = form.querySelector('.primary');
  explain(form, {});
  button.disabled = true;
  try {
    const done = await send(Object.fromEntries(new FormData(form)));
    if (done) form.reset();
    form.querySelector('.form-done').textContent = done ?? '';
  } catch (error) {
    explain(form, error);
  } finally {
    button.disabled = false;
  }
}

/** Say what is wrong; without a word of it, clear what was said before. */
function explain(form, { message = '', errors = {} }) {
  for (const input of form.querySelectorAll('.field input')) {
    const [text = ''] = errors[input.name] ?? [];
    input.setAttribute('aria-invalid', String(Boolean(text)));
    input.parentElement.querySelector('.field-error').textContent = text;
  }
  const isShown = Object.keys(errors).some((name) => name in form.elements);
  form.querySelector('.form-error').textContent = isShown ? '' : message;
  form.querySelector('.form-done').textContent = '';
  form.querySelector('[aria-invalid="true"]')?.focus();
}
