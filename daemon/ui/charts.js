// Small charts of trimtabd's page, in SVG: lines over time or order, with a threshold and a reading
// under the pointer. Every text is set as text, never as markup.
'use strict';

const PALETTE = 8;  // classes c0..c7 of style.css

function svg(name, attributes = {}, text = '') {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

// Round steps of 1, 2 or 5 times a power of ten, at most `most` of them within [low, high].
function ticks(low, high, most) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw);
  const list = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) list.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return list;
}

function clockText(ms, span) {
  const date = new Date(ms);
  return span > 2 * 86400000 ? date.toLocaleDateString([], { month: 'short', day: 'numeric' })
    : date.toLocaleTimeString([], span > 3600000 ? { hour: '2-digit', minute: '2-digit' } : {});
}

// curves: [{name, color 0..7, dashed, points: [[x, y], ..]}]; options: {low, high, threshold,
// thresholdText, time (x is ms), yText, xText, marks: [{x, text}]}.
function lineChart(box, curves, options) {
  const width = Math.max(280, box.clientWidth || 600);
  const xs = curves.flatMap((c) => c.points.map((p) => p[0]));
  const height = !xs.length ? 70 : width < 480 ? 190 : 240;
  const left = 46, right = 12, top = 12, bottom = 24;
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': options.label });
  if (!xs.length) {
    root.append(svg('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle', class: 'empty' }, options.empty || 'no evidence yet'));
    box.replaceChildren(root);
    return;
  }
  const x0 = Math.min(...xs), x1 = Math.max(...xs);
  const { low, high } = options;
  const x = (v) => left + (width - left - right) * (x1 > x0 ? (v - x0) / (x1 - x0) : 1);
  const y = (v) => top + (height - top - bottom) * (high - Math.max(low, Math.min(high, v))) / (high - low);
  if (options.threshold !== undefined) {
    root.append(svg('rect', { class: 'beyond', x: left, y: top, width: width - left - right, height: Math.max(0, y(options.threshold) - top) }));
  }
  for (const value of ticks(low, high, 5)) {
    root.append(svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    root.append(svg('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, options.yText(value)));
  }
  if (options.time && x1 > x0) {
    const count = width < 480 ? 3 : 6;
    for (let k = 0; k <= count; k++) {
      const at = x0 + (x1 - x0) * k / count;
      root.append(svg('text', { x: x(at), y: height - 6, 'text-anchor': k === 0 ? 'start' : k === count ? 'end' : 'middle' }, clockText(at, x1 - x0)));
    }
  } else {
    root.append(svg('text', { x: left, y: height - 6 }, 'older'));
    root.append(svg('text', { x: width - right, y: height - 6, 'text-anchor': 'end' }, 'now'));
  }
  for (const mark of options.marks || []) {
    if (mark.x < x0 || mark.x > x1) continue;
    root.append(svg('line', { class: 'mark', x1: x(mark.x), x2: x(mark.x), y1: top, y2: height - bottom }));
    const flip = x(mark.x) > width - 90;
    root.append(svg('text', { class: 'mark-text', x: x(mark.x) + (flip ? -4 : 4), y: top + 10, 'text-anchor': flip ? 'end' : 'start' }, mark.text));
  }
  if (options.threshold !== undefined) {
    root.append(svg('line', { class: 'threshold', x1: left, x2: width - right, y1: y(options.threshold), y2: y(options.threshold) }));
    root.append(svg('text', { class: 'threshold-text', x: width - right - 4, y: y(options.threshold) - 5, 'text-anchor': 'end' }, options.thresholdText));
  }
  for (const curve of curves) {
    const d = curve.points.map(([px, py], i) => `${i ? 'L' : 'M'}${x(px).toFixed(1)},${y(py).toFixed(1)}`).join('');
    root.append(svg('path', { d, class: `line c${curve.color}${curve.dashed ? ' dashed' : ''}` }));
    const [lx, ly] = curve.points[curve.points.length - 1];
    root.append(svg('circle', { cx: x(lx), cy: y(ly), r: 2.6, class: `dot c${curve.color}` }));
  }
  addReading(box, root, curves, { x, y, x0, x1, left, right, top, bottom, width, height, options });
}

// The crosshair: the nearest point of every curve under the pointer.
function addReading(box, root, curves, g) {
  const line = svg('line', { class: 'cross', y1: g.top, y2: g.height - g.bottom, visibility: 'hidden' });
  root.append(line);
  const note = document.createElement('div');
  note.className = 'reading';
  note.hidden = true;
  root.addEventListener('pointermove', (event) => {
    const rect = root.getBoundingClientRect();
    const px = (event.clientX - rect.left) * g.width / rect.width;
    const at = g.x0 + (g.x1 - g.x0) * Math.max(0, Math.min(1, (px - g.left) / (g.width - g.left - g.right)));
    line.setAttribute('x1', g.x(at));
    line.setAttribute('x2', g.x(at));
    line.setAttribute('visibility', 'visible');
    const nearest = curves.map((curve) => {
      const point = curve.points.reduce((best, p) => (Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best));
      return { curve, point };
    }).sort((a, b) => b.point[1] - a.point[1]);
    const rows = nearest.map(({ curve, point }) => {
      const row = document.createElement('div');
      const dot = document.createElement('i');
      dot.className = `swatch c${curve.color}`;
      row.append(dot, `${curve.name}  ${g.options.yText(point[1])}`);
      return row;
    });
    if (g.options.time && nearest.length) rows.unshift(document.createTextNode(new Date(nearest[0].point[0]).toLocaleString()));
    note.replaceChildren(...rows);
    note.hidden = false;
    const half = px > g.width / 2;
    note.style.left = half ? '' : `${(px + 14) * rect.width / g.width}px`;
    note.style.right = half ? `${(g.width - px + 14) * rect.width / g.width}px` : '';
  });
  root.addEventListener('pointerleave', () => {
    note.hidden = true;
    line.setAttribute('visibility', 'hidden');
  });
  box.replaceChildren(root, note);
}

// A bar from 0 to 1 with a text; `kind` colors it.
function meter(share, text, kind) {
  const node = document.createElement('span');
  node.className = `meter ${kind}`;
  const fill = document.createElement('i');
  fill.style.width = `${100 * Math.max(0, Math.min(1, share || 0))}%`;
  const label = document.createElement('b');
  label.textContent = text;
  node.append(fill, label);
  return node;
}

// The running mean of D with its bounds on [-span, span].
function interval(mean, lower, upper, span) {
  const width = 150, height = 18;
  const x = (v) => width / 2 + (width / 2 - 3) * Math.max(-1, Math.min(1, v / span));
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, class: 'interval', role: 'img', 'aria-label': `${mean.toFixed(4)}, between ${lower.toFixed(4)} and ${upper.toFixed(4)}` });
  root.append(svg('line', { class: 'grid', x1: x(0), x2: x(0), y1: 0, y2: height }));
  root.append(svg('line', { class: 'range', x1: x(lower), x2: x(upper), y1: height / 2, y2: height / 2 }));
  root.append(svg('circle', { class: mean < 0 ? 'worse' : 'better', cx: x(mean), cy: height / 2, r: 4 }));
  return root;
}

function sparkline(values, low, high) {
  const width = 110, height = 22;
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, class: 'spark', 'aria-hidden': 'true' });
  if (values.length < 2) return root;
  const y = (v) => 2 + (height - 4) * (high - Math.max(low, Math.min(high, v))) / (high - low);
  root.append(svg('line', { class: 'threshold', x1: 0, x2: width, y1: y(0), y2: y(0) }));
  root.append(svg('path', { class: 'line c1', d: values.map((v, i) => `${i ? 'L' : 'M'}${(width * i / (values.length - 1)).toFixed(1)},${y(v).toFixed(1)}`).join('') }));
  return root;
}
