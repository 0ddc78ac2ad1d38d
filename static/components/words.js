/** Words for what components show: devices, what happened to an account, sizes of files. */

const BROWSERS = [
  [/Edg/, 'Edge'],
  [/OPR\//, 'Opera'],
  [/Firefox|FxiOS/, 'Firefox'],
  [/Chrom|CriOS/, 'Chrome'],
  [/Safari\//, 'Safari'],
];
const SYSTEMS = [
  [/iPhone/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/Android/, 'Android'],
  [/Windows/, 'Windows'],
  [/CrOS/, 'ChromeOS'],
  [/Mac OS X|Macintosh/, 'macOS'],
  [/Linux|X11/, 'Linux'],
];
const EVENTS = {
  registered: 'Account made',
  'signed-in': 'Signed in',
  'sign-in-failed': 'Sign-in refused',
  'session-ended': 'A device was signed out',
  'refresh-reused': 'A token was used twice',
  'password-changed': 'Password changed',
  'password-change-failed': 'Password change refused',
  'password-reset-asked': 'New password link requested',
  'role-changed': 'Role changed',
};
const SIGNED_OUT = 'signed out';

const find = (pairs, text) => pairs.find(([pattern]) => pattern.test(text))?.[1];

/** What a User-Agent is, as people say it: `Firefox on Windows`, `curl`. */
export function deviceName(text) {
  const [browser, system] = [find(BROWSERS, text), find(SYSTEMS, text)];
  if (browser && system) return `${browser} on ${system}`;
  const program = text.match(/^([^/]+)\//)?.[1];
  return browser ?? system ?? (program || text || 'Unknown device');
}

/** Whether a User-Agent is one that is carried about. */
export function isPhone(text) {
  return /iPhone|iPad|Android|Mobile/.test(text);
}

/** What happened, and what else is known of it. */
export function describeActivity({ type, detail }) {
  if (type === 'session-ended' && detail === SIGNED_OUT) return { title: 'Signed out', detail: '' };
  return { title: EVENTS[type] ?? type.replaceAll('-', ' '), detail };
}

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];

/** A number of bytes for people. */
export function fileSize(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const style = { style: 'unit', unit: UNITS[power], maximumFractionDigits: power > 1 ? 1 : 0 };
  return new Intl.NumberFormat(undefined, style).format(bytes / 1000 ** power);
}
