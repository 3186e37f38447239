// The page of trimtabd. Reads the REST API and its event stream; every text that comes from outside
// (prompts, names, messages) is shown as text, never as markup. Charts are in charts.js.
'use strict';

const $ = (id) => document.getElementById(id);
const STAGES = ['REGISTERED', 'OFFLINE_EVAL', 'LOADING', 'SHADOW', 'CANARY', 'AB', 'PROMOTING', 'BAKING', 'PROMOTED'];
const KINDS = ['alarm', 'job', 'transition', 'command', 'routing', 'undo', 'reverse_shadow', 'rereference', 'retention', 'config'];
const BASE = 'the bare base';
let target = '';
let chosenTrial = '';   // shown instead of the newest
let refreshing = false;
let wanted = false;
let source = null;
let before = null;      // the last status, for rates

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'onclick') node.addEventListener('click', value);
    else if (value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null)
    .map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

function say(text) {
  $('message').textContent = text;
  $('message').hidden = !text;
}

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function problem(answer) {
  try {
    const body = await answer.json();
    return `${answer.status} ${body.detail || body.title}`;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

async function get(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  if (!answer.ok) throw new Refused(answer.status, await problem(answer));
  return answer.json();
}

function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

// A changing call: asks for confirmation and a reason, says what came of it.
async function change(title, text, path, body = {}, headers = {}, options = {}) {
  $('confirm-title').textContent = title;
  $('confirm-text').textContent = text;
  $('confirm-reason').value = '';
  $('confirm-force').checked = false;
  $('confirm-force-line').hidden = !options.force;
  $('confirm-ok').className = options.danger ? 'danger' : 'primary';
  $('confirm').returnValue = '';
  $('confirm').showModal();
  $('confirm-reason').focus();
  await new Promise((done) => $('confirm').addEventListener('close', done, { once: true }));
  if ($('confirm').returnValue !== 'ok') return;
  if ($('confirm-force').checked) body = { ...body, force: true };
  try {
    const answer = await fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Trimtab-Csrf': '1', 'Idempotency-Key': freshKey(), ...headers },
      body: JSON.stringify({ actor: 'page', reason: $('confirm-reason').value, ...body }),
    });
    say(answer.ok ? '' : `${title}: ${await problem(answer)}`);
  } catch (error) {
    say(`${title}: ${error.message}; it may have been done: look at the journal`);
  }
  refresh();
}

const fixed = (value, digits = 3) => (typeof value === 'number' && isFinite(value) ? value.toFixed(digits) : '–');
const whole = (value) => (typeof value === 'number' ? value.toLocaleString() : '–');
const percent = (value, digits = 1) => (typeof value === 'number' ? `${(100 * value).toFixed(digits)} %` : '–');

function time(ms) {
  if (!ms) return '';
  const date = new Date(ms);
  return date.toDateString() === new Date().toDateString() ? date.toLocaleTimeString() : date.toLocaleString();
}

function ago(ms, now) {
  const s = Math.max(0, (now - ms) / 1000);
  if (s < 90) return `${s.toFixed(0)} s`;
  if (s < 5400) return `${(s / 60).toFixed(0)} min`;
  return s < 172800 ? `${(s / 3600).toFixed(0)} h` : `${(s / 86400).toFixed(0)} d`;
}

// Cells are nodes, texts, or {n: text} for numbers.
function rows(id, list, empty) {
  const body = $(id).tBodies[0];
  if (!list.length) {
    body.replaceChildren(element('tr', {}, element('td', { class: 'soft', colspan: $(id).tHead.rows[0].cells.length }, empty || 'none')));
    return;
  }
  body.replaceChildren(...list.map((cells) => element('tr', {}, ...cells.map((cell) =>
    (cell !== null && typeof cell === 'object' && !(cell instanceof Node) ? element('td', { class: 'n' }, cell.n) : element('td', {}, cell))))));
}

function button(text, onclick, kind) {
  return element('button', { onclick, class: kind }, text);
}

// ------------------------------------------------------------------------------------- the loop

function loopStep(view, trial) {
  if (view.open_trial) {
    const state = trial ? trial.state : '';
    if (state === 'CANARY' || state === 'AB') return 'canary, A/B';
    if (state === 'PROMOTING' || state === 'BAKING') return 'promote, bake';
    return 'shadow';
  }
  if (view.open_job) return 'retrain';
  if (view.open_alarms > 0 && view.drift.state === 'armed') return 'change seen';
  return view.drift.state === 'armed' ? 'watch' : 'learn';
}

function card(title, value, detail, kind) {
  return element('div', { class: `card ${kind || ''}` }, element('span', { class: 'soft' }, title),
    element('strong', {}, value), element('span', { class: 'detail' }, detail || ''));
}

function recordCard(status) {
  const now = Date.parse(status.now);
  let rate = '';
  if (before && now > before.now && status.records.accepted >= before.accepted) {
    rate = `${((status.records.accepted - before.accepted) * 1000 / (now - before.now)).toFixed(1)} a second, `;
  }
  before = { now, accepted: status.records.accepted };
  const lag = status.source.lag_total;
  return card('records', whole(status.records.accepted),
    `${rate}lag ${whole(lag)}, ${whole(status.records.dead_lettered)} dead-lettered`, lag > 5000 ? 'warn' : '');
}

function showLoop(status, view, trial) {
  const now = loopStep(view, trial);
  const steps = ['learn', 'watch', 'change seen', 'retrain', 'shadow', 'canary, A/B', 'promote, bake'];
  $('loop').replaceChildren(...steps.map((step) =>
    element('li', step === now ? { class: 'now', 'aria-current': 'step' } : {}, step)));
  const drift = view.drift;
  const learning = drift.state === 'collecting' || drift.state === 'calibrating';
  const waits = view.waits_for || (view.open_job ? `${view.open_job} to train` : learning ? 'a full reference' : 'a change');
  $('waits').replaceChildren(element('strong', {}, 'waits for '), waits);
  const budget = view.error_budget || {};
  const kafka = status.source.state;
  $('cards').replaceChildren(
    card('champion', view.champion || BASE, view.champion_sha256 ? `sha256 ${view.champion_sha256.slice(0, 12)}, base ${view.base}` : `base ${view.base}`),
    card('monitor', drift.state, learning ? `${whole(drift.collected)} of ${whole(drift.reference_size)} events`
      : `${whole(drift.counted)} events counted, ${whole(drift.alarms)} alarms${drift.reason ? `; ${drift.reason}` : ''}`, drift.state === 'refused' ? 'bad' : drift.state === 'armed' ? 'good' : ''),
    recordCard(status),
    card('kafka', kafka, status.source.detail || `${whole(status.source.partitions)} partitions`, kafka === 'running' ? 'good' : 'warn'),
    card('hold-out', whole(view.holdout), 'random-labelled evaluation records'),
    card('automatic jobs', view.paused ? 'held back' : 'on', view.paused ? `by ${view.paused}` : view.cooldown_until_ms > Date.parse(status.now) ? `cooling down until ${time(view.cooldown_until_ms)}` : `${whole(view.quarantined)} corrections in quarantine`, view.paused ? 'warn' : ''),
    card('error budget', `${fixed(budget.spent, 2)} of ${fixed(budget.budget, 2)}`, 'sum of alphas spent', budget.spent > budget.budget ? 'warn' : ''));
  const path = `/api/v1/targets/${encodeURIComponent(target)}`;
  $('target-actions').replaceChildren(
    button('retrain now', () => change(`Retrain ${target}`, 'Starts a training job by hand as soon as there are enough examples.', `${path}:retrain`), 'primary'),
    view.paused ? button('resume automatic jobs', () => change('Resume', 'Drift and harm start jobs again.', `${path}:resume`))
      : button('pause automatic jobs', () => change('Pause', 'Drift and harm start no job until resumed. What is open goes on.', `${path}:pause`)),
    button('new reference', () => change('New reference', 'Takes every drift reference anew from here on.', `${path}:rereference`)),
    button('undo last promotion', () => change('Undo', `Routes ${target} to the previous champion at once, without gates. Automatic jobs pause.`, `${path}:rollback`, { to: 'previous' }, {}, { danger: true }), 'danger'));
}

// ----------------------------------------------------------------------------------- the evidence

function showEvidence(signals, drift) {
  const named = (s) => (s.segment === 'all' ? s.name : `${s.name} [${s.segment}]`);
  const armed = signals.signals.filter((s) => s.history && s.history.length > 0);
  const top = armed.slice().sort((a, b) => Math.max(...b.history) - Math.max(...a.history)).slice(0, PALETTE);
  const curves = top.map((s, i) => ({ name: named(s), color: i, points: s.history.map((v, k) => [k - s.history.length + 1, v]) }));
  const low = Math.max(-12, Math.floor(Math.min(0, ...top.flatMap((s) => s.history))));
  lineChart($('evidence'), curves, { low: Math.min(low, -2), high: Math.max(1, Math.min(6, Math.ceil(Math.max(0, ...top.flatMap((s) => s.history))) + 1)), threshold: 0, thresholdText: 'alarm',
    label: 'log10 of evidence over threshold', empty: 'no signal is armed yet', yText: (v) => (Number.isInteger(v) ? v.toString() : v.toFixed(2)) });
  $('legend').replaceChildren(...top.map((s, i) => element('li', {}, element('i', { class: `swatch c${i}` }), `${named(s)} ${fixed(s.log10_ratio, 1)}`)));
  rows('signals', signals.signals.map((s) => [s.name, s.segment, element('span', { class: s.state === 'latched' ? 'bad' : '' }, s.state + (s.reason ? `: ${s.reason}` : '')),
    { n: fixed(s.log10_ratio, 2) }, sparkline(s.history || [], -8, 2), { n: whole(s.events) }, { n: whole(s.reference_size) }]), 'no signals yet');
  $('harm').replaceChildren(...(signals.harm.length ? signals.harm.map(harmRow) : [element('p', { class: 'soft' }, 'no outcome metric yet')]));
  $('alarms').replaceChildren(...(drift.alarms.length ? drift.alarms.slice(0, 6).map(alarmCard) : [element('p', { class: 'soft' }, 'none so far')]));
}

function harmRow(metric) {
  const armed = metric.state === 'armed' || metric.state === 'latched';
  const most = Math.max(0.02, metric.rate || 0, (metric.baseline || 0) + metric.tolerance) * 1.25;
  const worse = metric.rate > metric.baseline + metric.tolerance;
  return element('div', { class: 'harm' }, element('strong', {}, metric.metric),
    element('span', { class: metric.state === 'latched' ? 'bad' : 'soft' }, ` ${metric.state}, ${whole(metric.outcomes)} outcomes`),
    armed ? meter(metric.rate / most, `${percent(metric.rate)} now; baseline ${percent(metric.baseline)} + ${percent(metric.tolerance)}`, worse ? 'bad' : 'good')
      : meter(0, `${whole(metric.reference_size)} outcomes for the baseline so far`, 'good'));
}

function alarmCard(alarm) {
  const words = (list) => (list || []).slice(0, 10).map((w) => w.word).join(', ');
  const lines = [element('div', {}, element('strong', {}, `${alarm.id} ${alarm.kind}: ${alarm.signal}`), alarm.segment && alarm.segment !== 'all' ? ` in ${alarm.segment}` : ''),
    element('div', { class: 'soft' }, `${time(alarm.ts_ms)}, ${alarm.state || ''}, after ${whole(alarm.delay_events)} events`),
    element('div', {}, alarm.summary)];
  if (words(alarm.words_gained)) lines.push(element('div', { class: 'soft' }, `new words: ${words(alarm.words_gained)}`));
  lines.push(element('div', {}, button('explain', () => explain(alarm.id), 'link')));
  return element('article', { class: `alarm ${alarm.kind}` }, ...lines);
}

// -------------------------------------------------------------------------------------- the trial

function trialButtons(trial) {
  const path = (verb) => `/api/v1/promotions/${encodeURIComponent(trial.id)}:${verb}`;
  const headers = { 'If-Match': `"${trial.seq}"` };
  const verb = (name, text, kind, options = {}) => button(name, () =>
    change(`${name} ${trial.id}`, text, path(name), {}, headers, { ...options, danger: kind === 'danger' }), kind);
  const paused = trial.pause && trial.pause !== 'none';
  return [
    trial.state === 'AWAIT_APPROVAL' ? verb('approve', 'Lets the candidate go on to users.', 'primary') : undefined,
    verb('promote', 'Asks for the next states; all gates are kept.', trial.state === 'AWAIT_APPROVAL' ? '' : 'primary', { force: true }),
    verb('advance', 'Ends the present dwell.', '', { force: true }),
    paused ? verb('resume', `Goes on (paused: ${trial.pause_message || trial.pause}).`) : verb('pause', 'Holds the trial where it is.'),
    verb('abort', 'Ends the trial; routing goes back to the champion.', 'danger'),
    verb('rollback', 'Routes everyone back to the champion now.', 'danger')].filter(Boolean);
}

// Where it stands, with the time it came there.
function showStages(trial, events) {
  const reached = new Map();
  for (const event of events) if (event.to && !reached.has(event.to)) reached.set(event.to, Date.parse(event.ts));
  const stages = STAGES.filter((s) => s !== 'PROMOTED' || !trial.ended || trial.state === 'PROMOTED');
  if (reached.has('AWAIT_APPROVAL')) stages.splice(4, 0, 'AWAIT_APPROVAL');
  for (const state of ['ROLLING_BACK', trial.ended ? trial.state : '']) if (state && reached.has(state) && !stages.includes(state)) stages.push(state);
  $('stages').replaceChildren(...stages.map((state) => {
    const now = state === trial.state;
    const bad = ['REJECTED', 'ABORTED', 'ROLLED_BACK', 'ROLLING_BACK', 'INCONCLUSIVE', 'SUPERSEDED'].includes(state);
    const kind = now ? (bad ? 'now bad' : 'now') : reached.has(state) ? 'done' : '';
    const step = state === 'CANARY' && now ? ` ${percent(trial.share, 0)}` : '';
    return element('li', { class: kind, 'aria-current': now ? 'step' : undefined }, state.replace('_', ' ') + step, element('small', {}, reached.has(state) ? time(reached.get(state)) : ''));
  }));
}

function seriesCurves(series) {
  const curves = new Map();
  for (const point of series) {
    for (const part of ['shadow', 'live']) {
      for (const [metric, row] of Object.entries(point[part] || {})) {
        for (const side of ['superior', 'non_inferior', 'harm']) {
          const limit = side === 'harm' ? row.log_threshold_harm : row.log_threshold;
          const value = row[`log_e_${side}`];
          if (typeof value !== 'number' || typeof limit !== 'number' || limit <= 0) continue;
          const name = `${part} ${metric} ${side.replace('_', '-')}`;
          if (!curves.has(name)) curves.set(name, { name, dashed: side === 'harm', points: [] });
          curves.get(name).points.push([point.ts_ms, value / limit]);
        }
      }
    }
  }
  // Those that said most, however briefly.
  const weight = (c) => Math.max(...c.points.map((p) => p[1]));
  return [...curves.values()].sort((a, b) => weight(b) - weight(a)).slice(0, PALETTE).map((c, i) => ({ ...c, color: i }));
}

function stateMarks(series) {
  const marks = [];
  let last = '';
  for (const point of series) {
    if (point.state !== last) marks.push({ x: point.ts_ms, text: point.state.replace('_', ' ') });
    last = point.state;
  }
  return marks;
}

function metricRows(evidence) {
  const list = [];
  const parts = [['shadow', (evidence.shadow || {}).strata], ['live', (evidence.live || {}).metrics], ['bake', (evidence.bake || {}).metrics]];
  for (const [where, found] of parts) {
    for (const row of found || []) {
      const part = (value, limit) => (limit > 0 ? value / limit : 0);
      list.push([where, row.metric, { n: whole(row.pairs) },
        element('span', { class: 'pair' }, interval(row.mean_d, row.mean_lower, row.mean_upper, 0.5), fixed(row.mean_d, 4)),
        meter(part(row.log_e_superior, row.log_threshold), row.superior ? 'shown' : fixed(row.log_e_superior, 1), row.superior ? 'good' : 'plain'),
        meter(part(row.log_e_non_inferior, row.log_threshold), row.non_inferior ? 'shown' : fixed(row.log_e_non_inferior, 1), row.non_inferior ? 'good' : 'plain'),
        meter(part(row.log_e_harm, row.log_threshold_harm), row.harm ? 'shown' : fixed(row.log_e_harm, 1), row.harm ? 'bad' : 'plain')]);
    }
  }
  return list;
}

function trialNotes(evidence) {
  const notes = [];
  const live = evidence.bake || evidence.live;
  if (evidence.preflight && !evidence.preflight.passed) notes.push(`preflight: ${evidence.preflight.message}`);
  if (evidence.shadow && evidence.shadow.message) notes.push(`shadow: ${evidence.shadow.message}`);
  if (live) {
    notes.push(`units closed: ${whole(live.closed_candidate)} candidate, ${whole(live.closed_control)} control; open ${whole(live.open_units)}`);
    const srm = live.exposed;
    if (srm) notes.push(`candidate's share of the exposed between ${percent(srm.lower)} and ${percent(srm.upper)}${srm.mismatch ? ': SAMPLE RATIO MISMATCH' : ' (50 % is right)'}`);
    if (live.message) notes.push(`live: ${live.message}`);
  }
  return notes.join('. ');
}

async function showTrials(promotions) {
  const open = promotions.find((p) => !p.ended);
  const trial = promotions.find((p) => p.id === chosenTrial) || open || promotions[0];
  rows('trials', promotions.map((p) => [button(p.id, () => { chosenTrial = p.id; refresh(); }, 'link'), p.candidate,
    element('span', { class: p.state === 'PROMOTED' ? 'good' : p.ended ? 'bad' : '' }, p.state), [p.reason, p.detail].filter(Boolean).join(': '), p.next_step]), 'no candidate has been tried yet');
  for (const id of ['stages', 'trial-actions', 'trial-legend', 'trial-notes']) $(id).replaceChildren();
  $('metrics').parentElement.hidden = $('trial-evidence').hidden = !trial;
  if (!trial) {
    $('trial').replaceChildren(element('p', { class: 'soft' }, 'No trial yet: a candidate comes from a training job, or from POST /api/v1/promotions.'));
    return;
  }
  const id = encodeURIComponent(trial.id);
  const [evidence, history] = await Promise.all([get(`/api/v1/promotions/${id}/evidence`), get(`/api/v1/promotions/${id}/events`)]);
  const paused = trial.pause && trial.pause !== 'none';
  $('trial').replaceChildren(
    element('p', {}, element('strong', {}, trial.id), ` tries ${trial.candidate} against ${trial.champion || BASE}; it serves ${percent(trial.share, 0)} of the units. `,
      button('explain', () => explain(trial.id), 'link')),
    paused ? element('p', { class: 'warning' }, `paused (${trial.pause}): ${trial.pause_message}`) : '',
    element('p', {}, trial.ended ? `${trial.state}: ${[trial.reason, trial.detail, trial.message].filter(Boolean).join('; ')}. ${trial.next_step}` : `waits for ${trial.waits_for}`));
  showStages(trial, history.events);
  if (!trial.ended) $('trial-actions').replaceChildren(...trialButtons(trial));
  const curves = seriesCurves(evidence.series || []);
  const high = Math.max(1.2, Math.min(4, ...curves.flatMap((c) => c.points.map((p) => p[1]))));
  lineChart($('trial-evidence'), curves, { low: -1, high: Math.max(1.2, high), threshold: 1, thresholdText: 'decided', time: true, marks: stateMarks(evidence.series || []),
    label: 'log evidence over its threshold', empty: 'no pairs yet', yText: (v) => v.toFixed(1) });
  $('trial-legend').replaceChildren(...curves.map((c) => element('li', {}, element('i', { class: `swatch c${c.color}${c.dashed ? ' dashed' : ''}` }), c.name)));
  rows('metrics', metricRows(evidence.evidence || {}), 'nothing compared yet');
  $('trial-notes').textContent = trialNotes(evidence.evidence || {});
}

// -------------------------------------------------------------------------- routing, jobs, journal

function showRouting(routing, view, adapters, now) {
  const arms = routing.arms || [];
  const shareOf = (arm) => (arm.ranges || []).reduce((sum, [low, high]) => sum + high - low, 0);
  $('routing-line').textContent = `generation ${routing.generation}, ${routing.reason || ''}${routing.actor ? ` by ${routing.actor}` : ''}; units are ${routing.hash ? routing.hash.unit_key : view.unit_key}s`;
  const pieces = arms.flatMap((arm) => (arm.ranges || []).map(([low, high]) => ({ arm, low, high }))).sort((a, b) => a.low - b.low);
  $('shares').replaceChildren(...pieces.filter((p) => p.high > p.low).map(({ arm, low, high }) => {
    const part = element('div', { class: `arm-${arm.role}`, title: `${arm.role}: ${percent(low)} to ${percent(high)}, ${arm.adapter || BASE}` }, high - low > 0.12 ? arm.role : '');
    part.style.flexGrow = high - low;
    return part;
  }));
  rows('arms', arms.map((arm) => [element('span', {}, element('i', { class: `swatch arm-${arm.role}` }), arm.role), arm.adapter || BASE, { n: percent(shareOf(arm)) }]));
  rows('routers', (view.routers || []).map((r) => [r.instance, { n: `${r.generation}${r.generation < routing.generation ? ' (behind)' : ''}` }, `${ago(r.seen_ms, now)} ago${r.live ? '' : ', not live'}`]), 'no router has reported');
  rows('endpoints', (view.endpoints || []).map((e) => [e.name, element('span', { class: e.ok ? 'good' : 'bad' }, e.ok ? 'up' : e.message || 'down'), (e.adapters || []).join(', ')]), 'none (routing documents only)');
  rows('adapters', (adapters.adapters || []).map((a) => [a.name, a.role || '', a.job || (a.registered_by ? `registered by ${a.registered_by}` : 'by hand'), time(a.created_ms),
    a.role === 'kept' ? button('make champion', () => change('Roll to', `Routes ${target} to ${a.name} at once, without gates.`, `/api/v1/targets/${encodeURIComponent(target)}:rollback`, { to: a.name }, {}, { danger: true })) : '']), 'none yet');
}

function showJobs(jobs) {
  rows('jobs', jobs.map((job) => {
    const beat = job.heartbeat || {};
    const done = job.result || {};
    const running = job.state === 'running' || job.state === 'saved';
    const loss = typeof done.final_loss === 'number' ? `${fixed(done.first_loss)} → ${fixed(done.final_loss)}` : fixed(beat.loss);
    const progress = running && beat.steps ? meter(beat.step / beat.steps, `step ${whole(beat.step)} of ${whole(beat.steps)}`, 'plain')
      : [job.reason, job.message].filter(Boolean).join(': ');
    const state = job.state === 'ok' ? 'good' : ['failed', 'cancelled'].includes(job.state) ? 'bad' : '';
    return [job.id, element('span', { class: state }, job.state), [job.trigger, job.alarm].filter(Boolean).join(' '), { n: whole(job.examples) }, progress, loss,
      { n: fixed(running ? beat.tokens_per_s : done.tokens_per_s, 0) },
      running || job.state === 'waiting' ? button('cancel', () => change(`Cancel ${job.id}`, 'Ends the worker.', `/api/v1/jobs/${encodeURIComponent(job.id)}:cancel`, {}, {}, { danger: true }), 'danger') : button('explain', () => explain(job.id), 'link')];
  }), 'no job yet');
}

function showJournal(events) {
  const explained = /^(al|trial|job)-/;
  rows('journal', events.slice().sort((a, b) => b.seq - a.seq).map((e) => [time(Date.parse(e.ts)), e.kind, e.subject,
    [e.from && e.to ? `${e.from} → ${e.to}` : e.to, e.reason, e.message].filter(Boolean).join(': '), e.actor,
    explained.test(e.subject) ? button('explain', () => explain(e.subject), 'link') : '']), 'nothing yet');
}

function textOf(value) {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map((turn) => (turn && turn.role ? `${turn.role}: ${textOf(turn.content)}` : textOf(turn))).join('\n');
  return value === null || value === undefined ? '' : JSON.stringify(value);
}

async function showRecords() {
  if (!$('records-box').open || !target) return;
  const { records } = await get(`/api/v1/targets/${encodeURIComponent(target)}/records?sample=20`);
  $('records').replaceChildren(...(records.length ? records.map((r) => element('article', { class: 'record' },
    element('div', { class: 'soft' }, [typeof r.ts === 'number' ? time(r.ts) : r.ts, r.id, r.arm, r.adapter || BASE, r.status].filter(Boolean).join('  ')),
    element('pre', {}, textOf(r.input)), element('pre', { class: 'answer' }, textOf(r.output)),
    ...(r.feedback || []).map((f) => element('div', { class: 'feedback' }, [f.name, f.score === null ? '' : f.score, f.label, f.correction ? `should be: ${f.correction}` : '', f.selection, f.quarantined ? 'in quarantine' : ''].filter((x) => x !== '').join(' '))))) : [element('p', { class: 'soft' }, 'no record is stored yet')]));
}

async function explain(id) {
  try {
    const answer = await get(`/api/v1/explain/${encodeURIComponent(id)}`);
    $('explain-title').textContent = `${id}: what it rests on`;
    $('explain-verdict').textContent = answer.agrees ? 'Derived again from the journal: every decision agrees.' : 'Derived again from the journal: NOT every decision agrees.';
    $('explain-verdict').className = answer.agrees ? 'good' : 'bad';
    $('explain-rows').replaceChildren(...answer.decisions.map((d) => element('details', {},
      element('summary', {}, [d.ts ? time(Date.parse(d.ts)) : '', d.from || d.to ? `${d.from || ''} → ${d.to || ''}` : '', d.reason, d.message, d.agrees ? '' : `DIFFERS: ${d.difference}`].filter(Boolean).join('  ')),
      element('pre', {}, JSON.stringify(d.evidence ?? d, null, 2)))));
    $('explain').showModal();
  } catch (error) {
    say(`explain ${id}: ${error.message}`);
  }
}

// ------------------------------------------------------------------------------------ keeping up

async function refresh() {
  if (refreshing) { wanted = true; return; }
  refreshing = true;
  try {
    const [status, me] = await Promise.all([get('/api/v1/status'), get('/api/v1/session')]);
    $('sign-in').hidden = true;
    $('sign-out').hidden = !me.signed_in;
    $('sign-out').textContent = `sign out ${me.name}`;
    document.body.className = me.role;
    document.querySelector('main').hidden = false;
    const names = status.targets.map((t) => t.name);
    if (!names.includes(target)) target = names[0] || '';
    if ($('target').options.length !== names.length) {
      $('target').replaceChildren(...names.map((name) => element('option', {}, name)));
      $('target').value = target;
    }
    if (target) await refreshTarget(status);
    say(status.paused ? `PAUSED: ${status.paused}` : '');
    $('footer').textContent = `trimtabd ${status.version}, up since ${time(Date.parse(status.started))}, configuration ${(status.config_hash || '').slice(0, 12)}; seen ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    if (error.status === 401) {
      $('sign-in').hidden = false;
      $('sign-out').hidden = true;
      document.querySelector('main').hidden = true;
      say('sign in with a viewer or operator token');
    } else {
      say(error.message);
    }
  } finally {
    refreshing = false;
    if (wanted) { wanted = false; setTimeout(refresh, 250); }
  }
}

async function refreshTarget(status) {
  const name = encodeURIComponent(target);
  const kind = $('kind').value ? `&kind=${encodeURIComponent($('kind').value)}` : '';
  const [view, signals, drift, promotions, jobs, routing, adapters, events] = await Promise.all([
    get(`/api/v1/targets/${name}`), get(`/api/v1/targets/${name}/signals`), get(`/api/v1/targets/${name}/drift?limit=20`),
    get(`/api/v1/promotions?target=${name}&limit=30`), get(`/api/v1/jobs?target=${name}&limit=20`),
    get(`/api/v1/routing?target=${name}`), get(`/api/v1/targets/${name}/adapters`), get(`/api/v1/events?target=${name}&limit=80${kind}`)]);
  showLoop(status, view, promotions.promotions.find((p) => !p.ended));
  showEvidence(signals, drift);
  await showTrials(promotions.promotions);
  showRouting(routing, view, adapters, Date.parse(status.now));
  showJobs(jobs.jobs);
  showJournal(events.events);
}

// The stream says that something happened; what it is, the API tells.
let soon = 0;
function happened() {
  clearTimeout(soon);
  soon = setTimeout(refresh, 150);
}

function listen() {
  if (source) source.close();
  source = new EventSource('/api/v1/events');
  source.onopen = () => { $('connection').textContent = 'live'; $('connection').className = 'live'; };
  source.onerror = () => { $('connection').textContent = 'reconnecting'; $('connection').className = ''; };
  source.onmessage = happened;
  for (const kind of KINDS) source.addEventListener(kind, happened);
}

$('kind').append(...KINDS.map((kind) => element('option', {}, kind)));
$('kind').addEventListener('change', refresh);
$('target').addEventListener('change', () => { target = $('target').value; chosenTrial = ''; before = null; refresh(); });
$('records-box').addEventListener('toggle', () => showRecords().catch((error) => say(error.message)));
$('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const token = new FormData(event.target).get('token');
  const answer = await fetch('/api/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Trimtab-Csrf': '1' }, body: JSON.stringify({ token }) });
  event.target.reset();
  if (!answer.ok) { say(await problem(answer)); return; }
  say('');
  refresh();
  listen();
});
$('sign-out').addEventListener('click', async () => {
  await fetch('/api/v1/session', { method: 'DELETE', headers: { 'X-Trimtab-Csrf': '1' } });
  if (source) source.close();
  refresh();
});
let resized = 0;
window.addEventListener('resize', () => { clearTimeout(resized); resized = setTimeout(refresh, 200); });
refresh();
listen();
setInterval(refresh, 3000);
