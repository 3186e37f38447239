// Runs the page's own scripts against a live daemon, without a browser: a small document stands in,
// and every JSON answer is wrapped so that reading a key which the daemon did not send is noted.
//   node page_check.mjs URL        exits 1 when a script fails, or reads what is not there
// What a browser alone can show - layout, colors, clicks - is looked at by hand (docs/UI notes).
import vm from 'node:vm';

const url = process.argv[2];
const missing = new Set();
const failures = [];
// Keys that are legitimately absent: parts of evidence by state, results of jobs by outcome, and
// what an unattested record does not say.
const OPTIONAL = /^(shadow|live|bake|preflight|offline|heartbeat|step|steps|loss|tokens_per_s|final_loss|first_loss|words_gained|words_lost|toJSON|then|detail|registered_by|role|content|exposed|title|log_e_.*|harm|segment|evidence|arm|adapter)$/;

function strict(value, path) {
  if (value === null || typeof value !== 'object') return value;
  return new Proxy(value, {
    get(object, key) {
      if (typeof key === 'symbol' || key in object) {
        const found = object[key];
        return typeof found === 'function' ? found : strict(found, Array.isArray(object) ? `${path}[]` : `${path}.${String(key)}`);
      }
      if (!Array.isArray(object) && !OPTIONAL.test(key)) missing.add(`${path}.${key}`);
      return undefined;
    },
  });
}

class Node {
  constructor(name) {
    Object.assign(this, { name, children: [], attributes: {}, listeners: {}, style: {}, text: '', hidden: false, value: '', className: '', clientWidth: 800, open: true, options: [] });
    this.returnValue = '';
  }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  addEventListener(kind, call) { this.listeners[kind] = call; }
  append(...parts) { this.children.push(...parts); if (this.id === 'target') this.options = this.children; }
  replaceChildren(...parts) { this.children = parts; this.options = parts; }
  set textContent(text) { this.text = String(text); this.children = []; }
  get textContent() { return this.text + this.children.map((c) => (c instanceof Node ? c.textContent : String(c))).join(''); }
  get tBodies() { return [this.body ??= new Node('tbody')]; }
  get tHead() { return { rows: [{ cells: { length: 7 } }] }; }
  get parentElement() { return this.parent ??= new Node('div'); }
  getBoundingClientRect() { return { left: 0, width: 800 }; }
  showModal() {}
  focus() {}
  reset() {}
  set innerHTML(_) { failures.push('innerHTML was set'); }
  set outerHTML(_) { failures.push('outerHTML was set'); }
  insertAdjacentHTML() { failures.push('insertAdjacentHTML was called'); }
}

const html = await (await fetch(`${url}/`)).text();
const known = new Set([...html.matchAll(/\bid="([^"]+)"/g)].map((m) => m[1]));
const nodes = new Map();
const document = {
  body: new Node('body'),
  createElement: (name) => new Node(name),
  createElementNS: (_, name) => new Node(name),
  createTextNode: (text) => String(text),
  querySelector: (query) => document.getElementById(query === 'main' ? 'target' : query),
  getElementById(id) {
    if (!known.has(id)) failures.push(`the page has no element '${id}'`);
    if (!nodes.has(id)) nodes.set(id, Object.assign(new Node(id), { id }));
    return nodes.get(id);
  },
};
class EventSource { addEventListener() {} close() {} }
const asked = [];
const context = vm.createContext({
  document, Node, EventSource, console, URL, Date, Math, Intl, Uint8Array, FormData: class {},
  crypto: globalThis.crypto, encodeURIComponent, isFinite,
  window: { addEventListener() {} },
  setTimeout: () => 0, clearTimeout() {}, setInterval: () => 0,
  async fetch(path, options) {
    asked.push(path.replace(/(trial|job|al)-\d+/, '$1-N'));
    const answer = await fetch(url + path, options);
    const where = path.replace(/\?.*/, '').replace(/(trial|job|al)-\d+/, '$1-N');
    return { ok: answer.ok, status: answer.status, statusText: answer.statusText, json: async () => strict(await answer.json(), where) };
  },
});
for (const script of [...html.matchAll(/<script src="([^"]+)"/g)].map((m) => m[1])) {
  const answer = await fetch(url + script);
  if (!answer.ok) failures.push(`${script}: ${answer.status}`);
  new vm.Script(await answer.text(), { filename: script }).runInContext(context);
}
const idle = () => vm.runInContext('!refreshing', context);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function settled() {
  for (let i = 0; i < 300 && !idle(); i++) await pause(100);
  if (!idle()) failures.push('a refresh did not end within 30 s');
}
await settled();
await vm.runInContext('refresh()', context);
await vm.runInContext('showRecords()', context);
const trials = await (await fetch(`${url}/api/v1/promotions`)).json();
for (const { id } of trials.promotions) {
  await settled();
  await vm.runInContext(`chosenTrial = ${JSON.stringify(id)}; refresh()`, context);
  await vm.runInContext(`explain(${JSON.stringify(id)})`, context);
}
await settled();
const message = document.getElementById('message');
if (!message.hidden && message.text) failures.push(`the page complains: ${message.text}`);
const text = (id) => document.getElementById(id).textContent + document.getElementById(id).tBodies[0].textContent;
for (const [id, wanted] of [['trials', 'trial-1'], ['stages', 'REGISTERED'], ['journal', 'transition'], ['arms', 'champion'], ['cards', 'champion'], ['signals', 'all'], ['records', '<b>'], ['jobs', 'job-1']]) {
  if (!text(id).includes(wanted)) failures.push(`#${id} does not show '${wanted}': ${text(id).slice(0, 200)}`);
}
for (const field of missing) failures.push(`the page reads ${field}, which the daemon does not send`);
for (const failure of failures) console.log(failure);
console.log(`${new Set(asked).size} addresses asked, ${failures.length} failures`);
process.exit(failures.length ? 1 : 0);
