import { el } from './part.js';

/**
 * A button that asks before it does something that cannot be undone: the second press does it.
 * @param {string} label
 * @param {string} question what it says then
 * @param {Record<string, any> & {onconfirm: () => void}} attributes
 */
export function confirmButton(label, question, { onconfirm, ...attributes }) {
  const ask = (isAsking) => {
    button.classList.toggle('asking', isAsking);
    button.textContent = isAsking ? question : label;
  };
  const press = () => {
    const isSure = button.classList.contains('asking');
    ask(!isSure);
    if (isSure) onconfirm();
  };
  const calm = () => ask(false);
  const button = el('button', { type: 'button', ...attributes, onclick: press, onblur: calm }, label);
  return button;
}
