import { Part, el } from './part.js';
import { TABLE } from './replica-panel.js';

const SIDES = ['Left', 'Right'];

/** Two replicas of one list side by side: take them offline, change both, watch them agree again. */
class ReplicaPair extends Part {
  showGuest() {
    this.showLocked('Two replicas',
      'A shopping list held twice. Take a side offline, change both, and see them agree again. '
      + 'Sign in to try it.');
  }

  showMember() {
    this.replicas = SIDES.map((side) =>
      this.wharf.replica('default', { name: side.toLowerCase(), tables: [TABLE] }));
    this.panels = SIDES.map(() => el('replica-panel', { class: 'panel' }));
    this.verdict = el('p', { class: 'verdict', role: 'status', 'data-testid': 'replica-verdict' });
    this.peers = el('replica-peers');
    this.peers.open(this.wharf, new Map(SIDES.map((side, index) => [side, this.replicas[index]])));
    this.until(() => this.peers.stop());
    this.replaceChildren(
      this.head('Two replicas', this.verdict),
      el('p', { class: 'hint' },
        'One shopping list, held twice. Take a side offline, change both, then bring it back.'),
      el('div', { class: 'pair' }, ...this.panels),
      this.peers);
    this.replicas.forEach((replica, index) => {
      replica.on('change', () => this.compare());
      this.panels[index].open(SIDES[index], replica);
    });
    this.compare();
  }

  compare() {
    const differing = differences(...this.replicas.map((replica) => replica.rows(TABLE)));
    const count = differing.size;
    this.verdict.textContent = count ? `Differs in ${count} ${count === 1 ? 'item' : 'items'}` : 'In sync';
    this.verdict.dataset.insync = String(!count);
    for (const panel of this.panels) panel.mark(differing);
  }
}

/** The keys of rows that are not the same in both lists. */
function differences(left, right) {
  const keyed = (rows) => new Map(rows.map(({ pk, ...row }) => [pk, JSON.stringify(Object.entries(row).sort())]));
  const [one, two] = [keyed(left), keyed(right)];
  const keys = [...one.keys(), ...two.keys()];
  return new Set(keys.filter((pk) => one.get(pk) !== two.get(pk)));
}

customElements.define('replica-pair', ReplicaPair);
