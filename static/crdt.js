/**
 * What replicas and the server must agree on to the letter (docs/sync.md); tests/crdt_vectors.json
 * checks both.
 *
 * A change is `[table, pk, cid, val, col_version, db_version, site_id, cl, seq]`.
 */

/** The cid that stands for the row itself: deleted with an even `cl`, made with an odd one. */
export const ROW = '-1';

/**
 * The one text of a value; values are equal when their texts are.
 * @param {string | number | boolean | null} value
 * @returns {string} JSON in ASCII, with numbers as JavaScript spells them
 */
export function canonical(value) {
  return JSON.stringify(value).replace(/[\x7f-\uffff]/g, escape);
}

/**
 * Whether a change is taken over what is held, each as `[cl, col_version]`. A greater `cl` is another
 * life of the row, of which nothing before it counts.
 * @param {[number, number]} change
 * @param {[number, number]} held
 */
export function takes([cl, version], [heldCl, heldVersion]) {
  return cl > heldCl || (cl === heldCl && version > heldVersion);
}

function escape(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
