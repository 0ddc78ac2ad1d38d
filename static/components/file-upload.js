import { Part, el, icon, keyed, when } from './part.js';

const UNITS = ['byte', 'kilobyte', 'megabyte'];

/** Upload with a progress bar, and the list of one's own files. */
class FileUpload extends Part {
  showGuest() {
    this.showLocked('Files', 'Pictures and PDFs up to 5 MB, kept for you. Sign in to add some.');
  }

  showMember() {
    this.files = [];
    this.progress = el('ul', { class: 'uploads', 'aria-label': 'Uploads under way' });
    this.list = el('ul', { class: 'files', 'aria-label': 'Your files', 'data-testid': 'file-items' });
    this.empty = el('p', { class: 'empty', hidden: true }, 'Nothing here yet.');
    this.replaceChildren(this.head('Files'), this.dropZone(), this.progress, this.list, this.empty);
    this.load();
  }

  dropZone() {
    const input = el('input', {
      type: 'file', id: 'file', class: 'unseen', multiple: true,
      accept: '.jpg,.jpeg,.png,.gif,.pdf', 'data-testid': 'file-input',
      onchange: () => {
        this.send([...input.files]);
        input.value = '';
      },
    });
    const zone = el('div', { class: 'drop' }, input,
      el('label', { for: 'file' }, icon('upload'),
        el('span', {}, el('b', {}, 'Choose files'), ' or drop them here'),
        el('small', {}, 'JPEG, PNG, GIF or PDF, up to 5 MB each')));
    const over = (isOver) => (event) => {
      event.preventDefault();
      zone.classList.toggle('over', isOver);
    };
    zone.addEventListener('dragover', over(true));
    zone.addEventListener('dragleave', over(false));
    zone.addEventListener('drop', (event) => {
      over(false)(event);
      this.send([...event.dataTransfer.files]);
    });
    return zone;
  }

  async load() {
    this.files = (await this.attempt(() => this.wharf.files())) ?? this.files;
    this.render();
  }

  send(files) {
    for (const file of files) this.sendOne(file);
  }

  async sendOne(file) {
    const bar = el('progress', {
      max: 1, value: 0, 'aria-label': `Uploading ${file.name}`, 'data-testid': 'upload-progress',
    });
    const line = el('li', { class: 'upload' }, el('span', {}, file.name), bar);
    this.progress.append(line);
    const stored = await this.attempt(() => this.wharf.upload(file, (part) => (bar.value = part)));
    line.remove();
    if (!stored) return;
    this.files = [stored, ...this.files];
    this.render();
  }

  render() {
    this.empty.hidden = this.files.length > 0;
    keyed(this.list, this.files, (file) => file.id, (file) => this.make(file), (item) => item);
  }

  make(file) {
    return el('li', { class: 'file', 'data-testid': 'file' },
      face(file),
      el('div', { class: 'file-text' },
        el('span', { class: 'file-name', title: file.originalName }, file.originalName),
        el('small', {}, size(file.size), ', ', when(file.createdAt))),
      el('a', {
        class: 'icon-button', href: `/api/files/${file.id}/download`, download: file.originalName,
        'aria-label': `Download ${file.originalName}`, title: 'Download', 'data-testid': 'file-download',
      }, icon('download')));
  }
}

/** A picture shows itself; other files an icon. */
function face({ mimetype, url, originalName }) {
  if (!mimetype.startsWith('image/')) return el('span', { class: 'face' }, icon('file'));
  const link = { class: 'face', href: url, target: '_blank', rel: 'noopener' };
  return el('a', { ...link, 'aria-label': `Look at ${originalName}` },
    el('img', { src: url, alt: '', loading: 'lazy', 'data-testid': 'file-preview' }));
}

/** A number of bytes for people. */
function size(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const style = { style: 'unit', unit: UNITS[power], maximumFractionDigits: power > 1 ? 1 : 0 };
  return new Intl.NumberFormat(undefined, style).format(bytes / 1000 ** power);
}

customElements.define('file-upload', FileUpload);
