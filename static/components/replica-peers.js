import { el, keyed, when } from './part.js';

const SHOWN = 6;
const WAIT = 300; // for what was merged to be acknowledged too
const TRIES = 4; // while a replica here is not in step yet, each after twice the wait

/** The replicas of a channel as the server knows them: when they were seen, and how far they lag. */
class ReplicaPeers extends HTMLElement {
  #timer = null;
  #isAsking = false;

  /**
   * @param {import('../wharf.js').Wharf} wharf
   * @param {Map<string, import('../replica.js').Replica>} replicas those of this page, by their names
   */
  open(wharf, replicas) {
    this.wharf = wharf;
    this.replicas = replicas;
    this.channel = [...replicas.values()][0].channel;
    this.list = el('ul', { 'aria-labelledby': 'peers-head', 'data-testid': 'peers' });
    this.more = el('p', { class: 'hint' });
    this.hidden = true;
    this.replaceChildren(el('h3', { id: 'peers-head' }, 'As the server sees them'), this.list, this.more);
    for (const replica of replicas.values()) {
      let before = '';
      replica.on('change', () => this.plan());
      replica.on('status', () => {
        const now = `${replica.state} ${replica.version}`;
        if (now !== before) this.plan();
        before = now;
      });
    }
  }

  /** Ask no more. */
  stop() {
    clearTimeout(this.#timer);
    this.replicas = new Map();
  }

  /** Ask soon, once for all that happens until then; alone there is nothing new, or no channel yet. */
  plan(tries = TRIES) {
    clearTimeout(this.#timer);
    if (![...this.replicas.values()].some(({ state }) => state === 'online')) return;
    this.#timer = setTimeout(() => this.ask(tries), WAIT * 2 ** (TRIES - tries));
  }

  async ask(tries) {
    if (this.#isAsking) {
      this.plan(tries);
      return;
    }
    this.#isAsking = true;
    const path = `/api/channels/${encodeURIComponent(this.channel)}/peers?limit=${SHOWN}`;
    const page = await this.wharf.json('GET', path).catch(() => null); // the next merge asks again
    this.#isAsking = false;
    if (!page || !this.replicas.size) return;
    this.render(page);
    if (tries > 1 && page.items.some((peer) => this.isLate(peer))) this.plan(tries - 1);
  }

  /** Whether a replica of this page is online, and yet not known to hold all. */
  isLate({ siteId, lag }) {
    return lag > 0 && [...this.replicas.values()].some((one) => one.siteId === siteId && one.state === 'online');
  }

  render({ items, total }) {
    this.hidden = !items.length;
    keyed(this.list, items, (peer) => peer.siteId, () => el('li', { 'data-testid': 'peer' }), (item, peer) => {
      const behind = peer.lag ? `${peer.lag} behind` : 'in step';
      item.dataset.lag = String(peer.lag);
      item.replaceChildren(
        el('b', {}, this.nameOf(peer)), el('span', {}, behind), el('span', {}, 'seen ', when(peer.seenAt)));
    });
    this.more.textContent = total > items.length ? `And ${total - items.length} more.` : '';
  }

  nameOf({ siteId }) {
    const own = [...this.replicas].find(([, replica]) => replica.siteId === siteId);
    return own ? own[0] : siteId.slice(0, 6);
  }
}

customElements.define('replica-peers', ReplicaPeers);
