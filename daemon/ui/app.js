// The page of trimtabd. Reads the REST API and its event stream; every text that comes from outside
// (prompts, names, messages) is shown as text, never as markup.
'use strict';

const $ = (id) => document.getElementById(id);
const COLORS = ['#c2410c', '#1d4ed8', '#15803d', '#7e22ce', '#0e7490', '#a16207', '#be185d', '#475569'];
let target = '';
let refreshing = false;
let wanted = false;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'onclick') node.addEventListener('click', value);
    else node.setAttribute(key, value);
  }
  node.append(...children.map((child) => (child instanceof Node ? child : String(child ?? ''))));
  return node;
}

function svg(name, attributes = {}, text = '') {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

function say(text) {
  $('message').textContent = text;
  $('message').hidden = !text;
}

async function get(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  if (answer.status === 401) $('sign-in').hidden = false;
  if (!answer.ok) throw new Error(await problem(answer));
  return answer.json();
}

async function problem(answer) {
  try {
    const body = await answer.json();
    return `${answer.status} ${body.detail || body.title}`;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

// A changing call: asks for confirmation and a reason, says what came of it.
async function change(title, text, path, body = {}, headers = {}) {
  $('confirm-title').textContent = title;
  $('confirm-text').textContent = text;
  $('confirm-reason').value = '';
  $('confirm').returnValue = '';
  $('confirm').showModal();
  await new Promise((done) => $('confirm').addEventListener('close', done, { once: true }));
  if ($('confirm').returnValue !== 'ok') return;
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Trimtab-Csrf': '1', 'Idempotency-Key': crypto.randomUUID(), ...headers },
    body: JSON.stringify({ actor: 'page', reason: $('confirm-reason').value, ...body }),
  });
  say(answer.ok ? '' : `${title}: ${await problem(answer)}`);
  refresh();
}

const time = (ms) => (ms ? new Date(ms).toLocaleTimeString() : '');
const fixed = (value, digits = 3) => (typeof value === 'number' ? value.toFixed(digits) : '');

function rows(id, list) {
  $(id).tBodies[0].replaceChildren(...list.map((cells) =>
    element('tr', {}, ...cells.map((cell) => element('td', {}, cell)))));
}

// Curves over a common index, oldest left; `threshold` is a dashed line.
function chart(node, legend, curves, low, high, threshold, unit) {
  const [width, height] = node.getAttribute('viewBox').split(' ').slice(2).map(Number);
  const x = (i, n) => 44 + (width - 56) * (n > 1 ? i / (n - 1) : 0);
  const y = (v) => 10 + (height - 24) * (high - Math.max(low, Math.min(high, v))) / (high - low);
  const parts = [];
  for (let k = 0; k <= 4; k++) {
    const value = low + (high - low) * k / 4;
    parts.push(svg('line', { class: 'grid', x1: 44, x2: width - 12, y1: y(value), y2: y(value) }));
    parts.push(svg('text', { x: 38, y: y(value) + 4, 'text-anchor': 'end' }, unit(value)));
  }
  parts.push(svg('line', { class: 'threshold', x1: 44, x2: width - 12, y1: y(threshold), y2: y(threshold) }));
  curves.forEach(({ name, values }, index) => {
    const path = values.map((v, i) => `${i ? 'L' : 'M'}${x(i, values.length).toFixed(1)},${y(v).toFixed(1)}`).join('');
    const line = svg('path', { d: path, fill: 'none', stroke: COLORS[index % COLORS.length], 'stroke-width': 1.6 });
    line.append(svg('title', {}, name));
    parts.push(line);
  });
  node.replaceChildren(...parts);
  legend.replaceChildren(...curves.map(({ name, values }, index) => {
    const item = element('li', {}, `${name} ${values.length ? unit(values[values.length - 1]) : ''}`);
    item.style.color = COLORS[index % COLORS.length];
    return item;
  }));
}

function showLoop(status, view) {
  const trial = view.open_trial;
  const steps = ['collecting', 'calibrating', 'armed', 'retraining', 'trial'];
  const now = trial ? 'trial' : view.open_job ? 'retraining' : view.drift.state;
  $('loop').replaceChildren(...steps.map((step) => element('li', step === now ? { class: 'now', 'aria-current': 'step' } : {}, step)));
  const facts = [
    ['champion', view.champion || 'the bare base'],
    ['routing generation', view.generation],
    ['waits for', view.waits_for],
    ['reference', `${view.drift.collected} of ${view.drift.reference_size} events${view.drift.provisional ? ' (provisional)' : ''}`],
    ['hold-out', `${view.holdout} random-labelled evaluation records`],
    ['records', `${status.records.accepted} accepted, ${status.records.dead_lettered} dead-lettered, lag ${status.source.lag_total}`],
    ['automatic jobs', view.paused ? `held back: ${view.paused}` : 'on'],
    ['quarantined corrections', view.quarantined],
    ['error budget', `${fixed(view.error_budget?.spent, 2)} of ${fixed(view.error_budget?.budget, 2)}`],
  ];
  if (status.paused) facts.unshift(['PAUSED', status.paused]);
  $('facts').replaceChildren(...facts.flatMap(([key, value]) => [element('dt', {}, key), element('dd', {}, value)]));
  const actions = element('div', { class: 'actions' },
    element('button', { onclick: () => change('Retrain', `Start a training job for ${target} now.`, `/api/v1/targets/${target}:retrain`) }, 'retrain'),
    element('button', { class: 'danger', onclick: () => change('Undo', `Route ${target} to the previous champion at once, without gates. Automatic jobs pause.`, `/api/v1/targets/${target}:rollback`, { to: 'previous' }) }, 'undo the last promotion'));
  if (view.paused) {
    actions.append(element('button', { onclick: () => change('Resume', 'Automatic jobs run again.', `/api/v1/targets/${target}:resume`) }, 'resume automatic jobs'));
  }
  $('facts').append(element('dt', {}, 'actions'), element('dd', {}, actions));
}

function showEvidence(signals, drift) {
  const curves = signals.signals.filter((s) => s.history && s.history.length)
    .sort((a, b) => (b.log10_ratio ?? -99) - (a.log10_ratio ?? -99)).slice(0, 8)
    .map((s) => ({ name: s.segment === 'all' ? s.name : `${s.name} (${s.segment})`, values: s.history }));
  chart($('evidence'), $('legend'), curves, -12, 2, 0, (v) => `1e${v.toFixed(0)}`);
  $('alarms').replaceChildren(...drift.alarms.slice(0, 5).map((alarm) => element('div', { class: 'alarm' },
    element('strong', {}, `${alarm.id} ${alarm.kind}: ${alarm.signal}`), element('span', { class: 'soft' }, ` ${time(alarm.ts_ms)} ${alarm.state || ''}`),
    element('div', {}, alarm.summary),
    element('div', { class: 'soft' }, (alarm.words_gained || []).slice(0, 8).map((w) => w.word).join(' ')))));
}

function verbButtons(trial) {
  const path = (verb) => `/api/v1/promotions/${trial.id}:${verb}`;
  const headers = { 'If-Match': `"${trial.seq}"` };
  const button = (verb, text, danger) => element('button', {
    class: danger ? 'danger' : '', onclick: () => change(`${verb} ${trial.id}`, text, path(verb), {}, headers) }, verb);
  return element('div', { class: 'actions' },
    button('approve', 'Lets the candidate go on to users.'),
    button('promote', 'Asks for the next states; all gates are kept.'),
    button('advance', 'Ends the present dwell.'),
    trial.pause && trial.pause !== 'none' ? button('resume', 'Goes on.') : button('pause', 'Holds the trial where it is.'),
    button('abort', 'Ends the trial; routing goes back to the champion.', true),
    button('rollback', 'Routes everyone back to the champion now.', true));
}

async function showTrials(promotions) {
  const open = promotions.find((p) => !p.ended);
  const shown = open || promotions[0];
  $('trial').replaceChildren();
  if (shown) {
    $('trial').append(element('p', {}, element('strong', {}, `${shown.id} ${shown.state}`), ` ${shown.candidate}: ${shown.waits_for || shown.message || ''}`));
    if (open) $('trial').append(verbButtons(open));
    const evidence = await get(`/api/v1/promotions/${shown.id}/evidence`);
    const series = new Map();
    for (const point of evidence.series || []) {
      for (const part of ['shadow', 'live']) {
        for (const [stratum, values] of Object.entries(point[part] || {})) {
          for (const side of ['superior', 'non_inferior', 'harm']) {
            const value = values[`log_e_${side}`];
            const limit = side === 'harm' ? values.log_threshold_harm : values.log_threshold;
            if (typeof value !== 'number' || typeof limit !== 'number') continue;
            const name = `${part} ${stratum} ${side}`;
            if (!series.has(name)) series.set(name, []);
            series.get(name).push(value / limit);
          }
        }
      }
    }
    const curves = [...series].map(([name, values]) => ({ name, values })).slice(0, 8);
    chart($('trial-evidence'), $('trial-legend'), curves, -1, 1.5, 1, (v) => v.toFixed(1));
  }
  rows('trials', promotions.map((p) => [p.id, p.candidate, p.state, p.reason, p.detail, p.next_step]));
}

function showJobs(jobs) {
  rows('jobs', jobs.map((job) => {
    const seen = job.result?.final_loss !== undefined ? job.result : job.heartbeat || {};
    const loss = job.result?.final_loss !== undefined ? `${fixed(seen.first_loss)} → ${fixed(seen.final_loss)}` : seen.step ? `step ${seen.step}/${seen.steps} ${fixed(seen.loss)}` : '';
    return [job.id, job.state, job.trigger, job.examples, loss, fixed(seen.tokens_per_s, 0), job.message];
  }));
}

function showRouting(routing, view, adapters) {
  const shareOf = (arm) => (arm.ranges || []).reduce((sum, [low, high]) => sum + high - low, 0);
  const arms = routing.arms || [];
  $('shares').replaceChildren(...arms.map((arm) => {
    const part = element('div', { class: `arm-${arm.role}`, title: `${arm.role} ${arm.adapter || 'the bare base'}` });
    part.style.flexGrow = shareOf(arm);
    return part;
  }));
  rows('arms', arms.map((arm) => [arm.role, arm.adapter || 'the bare base', `${(100 * shareOf(arm)).toFixed(1)} %`]));
  rows('routers', (view.routers || []).map((r) => [r.instance, `${r.generation}${r.live ? '' : ' (not live)'}`, time(r.seen_ms)]));
  rows('adapters', (adapters.adapters || []).map((a) => [a.name, a.role || '', a.job || 'by hand', a.created || '',
    element('button', { onclick: () => change('Roll to', `Route ${target} to ${a.name} at once, without gates.`, `/api/v1/targets/${target}:rollback`, { to: a.name }) }, 'make champion')]));
}

function showJournal(events) {
  rows('journal', events.slice().sort((a, b) => b.seq - a.seq).slice(0, 60).map((e) => [
    e.ts ? new Date(e.ts).toLocaleTimeString() : '', e.kind, e.subject,
    [e.from && e.to ? `${e.from} → ${e.to}` : e.to, e.reason, e.message].filter(Boolean).join(': '), e.actor]));
}

async function refresh() {
  if (refreshing) { wanted = true; return; }
  refreshing = true;
  try {
    const status = await get('/api/v1/status');
    const names = status.targets.map((t) => t.name);
    if (!names.includes(target)) target = names[0] || '';
    if ($('target').options.length !== names.length) {
      $('target').replaceChildren(...names.map((name) => element('option', {}, name)));
    }
    if (target) {
      const [view, signals, drift, promotions, jobs, routing, adapters, events] = await Promise.all([
        get(`/api/v1/targets/${target}`), get(`/api/v1/targets/${target}/signals`), get(`/api/v1/targets/${target}/drift`),
        get(`/api/v1/promotions?target=${target}&limit=20`), get(`/api/v1/jobs?target=${target}&limit=20`),
        get(`/api/v1/routing?target=${target}`), get(`/api/v1/targets/${target}/adapters`), get(`/api/v1/events?target=${target}&limit=60`)]);
      showLoop(status, view);
      showEvidence(signals, drift);
      await showTrials(promotions.promotions);
      showJobs(jobs.jobs);
      showRouting(routing, view, adapters);
      showJournal(events.events);
    }
  } catch (error) {
    say(String(error.message || error));
  } finally {
    refreshing = false;
    if (wanted) { wanted = false; setTimeout(refresh, 200); }
  }
}

function listen() {
  const source = new EventSource('/api/v1/events');
  source.onopen = () => { $('connection').textContent = 'live'; $('connection').className = 'live'; };
  source.onerror = () => { $('connection').textContent = 'reconnecting'; $('connection').className = ''; };
  source.onmessage = refresh;
  for (const kind of ['alarm', 'job', 'trial', 'transition', 'command', 'effect', 'routing', 'undo', 'rereference', 'config', 'quarantine', 'pause']) {
    source.addEventListener(kind, refresh);
  }
}

$('target').addEventListener('change', () => { target = $('target').value; refresh(); });
$('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const token = new FormData(event.target).get('token');
  const answer = await fetch('/api/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Trimtab-Csrf': '1' }, body: JSON.stringify({ token }) });
  if (!answer.ok) { say(await problem(answer)); return; }
  event.target.hidden = true;
  say('');
  refresh();
  listen();
});
refresh();
listen();
setInterval(refresh, 3000);
